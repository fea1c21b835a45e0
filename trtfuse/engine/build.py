"""From a model to an engine, with TensorRT or TensorRT for RTX."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto

from trtfuse.analysis.wording import shown
from trtfuse.analysis.wording import written as sized
from trtfuse.check.model import running_shapes
from trtfuse.engine.backend import Backend, find_backend
from trtfuse.engine.engine import Engine, Sizes
from trtfuse.engine.mistaken import beyond_rank, in_doubt, mistaken
from trtfuse.engine.native.log import Log
from trtfuse.engine.native.session import Job
from trtfuse.engine.parse import dims, inputs, prepared, refusal, refuse
from trtfuse.engine.process import in_a_child, in_this_process
from trtfuse.engine.profiles import Profile, ShapeLike, by_input, check_names, profiles
from trtfuse.errors import EngineError, ModelError, UsageError, nothing_else_raised, one_line
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.ir.tensor import ExternalData, StoredTensor
from trtfuse.model.fixed import declared_shapes, is_static
from trtfuse.model.model import Model
from trtfuse.model.saving import save_model, written
from trtfuse.progress import Progress
from trtfuse.result.fusion_result import FusionResult

#: The optimization levels that TensorRT knows.
LEVELS = range(6)


@nothing_else_raised
def build(
    model: ModelLike | FusionResult,
    *,
    shapes: Mapping[str, int | ShapeLike] | None = None,
    targets: str | float | Sequence[str | float] = (),
    workspace: int | None = None,
    level: int | None = None,
    timing_cache: str | Path | None = None,
    backend: str | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Engine:
    """Builds an engine with TensorRT, in the precision of the model (strongly typed).

    TensorRT for RTX needs no GPU. TensorRT runs in a child process, so a crash becomes an
    `EngineError`, and Ctrl-C stops the build at once.

    Args:
        model: a path, the bytes of a model, a `ModelProto`, or what `fuse` returned; never
            modified.
        shapes: for every input with open sizes, by its name: one shape, to which the engine is
            fixed, or three: the smallest, the one to be fastest at, and the largest. For an input
            that is itself a shape, these are its values. Or by the name of a dimension: one size,
            `{"batch": 1}`, or three, `{"batch": (1, 4, 8)}`.
        targets: compute capabilities to build for, like "8.6" (TensorRT for RTX only);
            the package's default, all from Ampere on, if omitted.
        workspace: the most scratch memory that a layer may use, in bytes; TensorRT's own limit if
            omitted.
        level: how hard the builder looks for a faster engine, 0 to 5; 3 if omitted.
        timing_cache: a file that keeps measurements from build to build; created if missing (full
            TensorRT only).
        backend: "tensorrt" or "tensorrt_rtx"; the first that is installed if omitted.
        in_process: run TensorRT in this process, for debuggers and profilers. Then a crash ends the
            process, Ctrl-C waits for the builder's next step, builds run one after the other, and
            what the process prints meanwhile goes to `Engine.messages`, except what `progress`
            prints.
        progress: called now and then with the phase of the build, how much of it is done, and of
            how much. Raising an exception in it cancels the build, and so does Ctrl-C.

    Returns:
        The engine, with sizes and messages.

    Raises:
        EngineError: TensorRT is not installed, does not support the model, failed to build it, or
            crashed.
        ModelError: the model cannot be read or is not valid.
        UsageError: an argument fits neither the model nor the backend.
    """
    chosen = find_backend(backend)
    capabilities = chosen.chosen((targets,) if isinstance(targets, (str, float)) else targets)
    cache = _cache_path(chosen, timing_cache)
    if level is not None and level not in LEVELS:
        raise UsageError(f"the optimization level is {level}; it goes from 0 to {LEVELS[-1]}")
    if workspace is not None and workspace < 0:
        raise UsageError(f"the workspace is {workspace} bytes; it cannot be negative")
    read, folder, where, origins = _read(model)
    proto = read.proto
    given = profiles(by_input(shapes, proto))
    check_names(given, proto, where)
    refuse(chosen, where, beyond_rank(read, origins))
    log = Log()
    job = Job(
        model=prepared(chosen, proto, where, origins),
        where=where,
        title=chosen.title,
        folder=None if folder is None else str(folder),
        operators=in_doubt(proto),
        declared={value.name: tuple(dims(value) or ()) for value in inputs(proto)},
        given=given,
        capabilities=tuple(chosen.targets[capability].name for capability in capabilities),
        workspace=workspace,
        level=level,
        cache=None if cache is None else _stored_cache(cache),
        plugins=not chosen.rtx,
    )
    _check_open(read, given, where)

    def tell(kind: str, content: Any) -> None:
        if kind == "supported":
            refuse(chosen, where, mistaken(proto, content, origins))
        elif progress is not None:
            progress(*content)

    if in_process:
        outcome = in_this_process(chosen, job, log, tell)
    else:
        outcome = in_a_child(chosen, job, log, tell, lambda: _kept(model, job))
    if not outcome.parsed:
        raise refusal(chosen, proto, outcome.errors, log, where, origins)
    if outcome.plan is None:
        raise EngineError(f"{chosen.title} cannot build {where}: {_why(log)}")
    if cache is not None and outcome.cache is not None:
        with written(cache) as file:
            file.write(outcome.cache)
    messages = tuple(log.messages)
    return Engine(
        plan=outcome.plan,
        backend=chosen.name,
        version=chosen.version,
        targets=capabilities,
        profiles=given,
        sizes=Sizes.of(outcome.plan, messages),
        seconds=round(outcome.seconds, 4),
        messages=messages,
    )


def _check_open(model: Model, given: Mapping[str, Profile], where: str) -> None:
    """Refuses a model with open sizes, and proposes some at which it runs."""
    declared = declared_shapes(model)
    open_ = {
        name: shape
        for name, shape in declared.items()
        if name not in given and shape is not None and not is_static(shape)
    }
    if not open_:
        return
    best = {name: profile[1] for name, profile in given.items()}
    varied = {name: shape for name, shape in best.items() if not is_static(declared[name])}
    sizes = running_shapes(model, varied)
    listed = ", ".join(f"'{name}' {shown(shape or ())}" for name, shape in open_.items())
    example = " ".join(f"--shapes {name}:{sized(sizes[name])}" for name in open_)
    raise EngineError(
        f"{where} leaves sizes open: {'inputs' if len(open_) > 1 else 'input'} {listed}; say what "
        f"to build for with --shapes or shapes=, for example {example}"
    )


def _read(
    model: ModelLike | FusionResult,
) -> tuple[Model, Path | None, str, dict[str, str]]:
    """The model, the folder of its external data, its name, and what nodes were fused from."""
    origins = {}
    if isinstance(model, FusionResult):
        read = read_model(model.model)
        folder = model.folder
        where = "the model" if model.source is None else f"the fused '{model.source}'"
        origins = {
            name: f"fused from {fusion.name} by {fusion.rule}"
            for fusion in model.report.fused
            # The nodes of a group that stay are what they were.
            if fusion.into != fusion.nodes
            for name in fusion.into
        }
        origins |= {
            miss.at: f"a constant that is not folded, since {miss.because}"
            for miss in model.report.declined
            if miss.rule == "fold-constants" and miss.guard == "bounded-growth"
        }
    else:
        read = read_model(model)
        folder = read.folder
        where = f"'{model}'" if isinstance(model, (str, Path)) else "the model"
    for tensor in read.external:
        # TensorRT would look in the working folder if the folder is not known.
        ExternalData.of(tensor.proto).file_of(StoredTensor(tensor.proto, folder))
    return read, folder, where, origins


def _kept(model: ModelLike | FusionResult, job: Job) -> str:
    """Where the model is for who looks into a crash: its own file, or a copy that is made here.

    The copy has its external data with it: what the model says of files holds in its own folder.
    """
    if isinstance(model, (str, Path)):
        return f"the model is '{model}'"
    try:
        path = Path(tempfile.mkdtemp(prefix="trtfuse-crash-")) / "model.onnx"
        external = None if job.folder is None else Path(job.folder)
        save_model(ModelProto.FromString(job.model), path, external)
    except (OSError, ModelError) as error:
        # The crash is what matters.
        return f"the model could not be kept: {one_line(error)}"
    return f"the model is kept in '{path}'"


def _cache_path(backend: Backend, path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if backend.rtx:
        raise UsageError(f"{backend.title} has no timing cache; leave it out")
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot keep the timing cache in '{path}': it is not a regular file")
    if not path.parent.is_dir():
        raise UsageError(
            f"cannot keep the timing cache in '{path}': there is no folder '{path.parent}'"
        )
    return path


def _stored_cache(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"cannot read the timing cache '{path}': {error.strerror}") from None


def _why(log: Log) -> str:
    reason = log.reason() or "its builder gave no reason"
    if "workspace" in reason.lower():
        reason += "; allow it more with --workspace or workspace="
    return reason
