"""From a model to an engine, with TensorRT or TensorRT for RTX."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto

from trtfuse.engine.backend import Backend, find_backend
from trtfuse.engine.cancel import cancellable, monitor, stop_if_asked
from trtfuse.engine.engine import Engine, Sizes
from trtfuse.engine.log import Capture, Log, logged
from trtfuse.engine.parse import parse
from trtfuse.engine.shapes import ShapeLike, check_names, profiles, set_shapes
from trtfuse.errors import EngineError, UsageError, nothing_else_raised
from trtfuse.ir.model import ModelLike, read_model
from trtfuse.ir.save import written
from trtfuse.ir.tensor import ExternalData, StoredTensor
from trtfuse.pipeline import FusionResult, Progress

#: The optimization levels that TensorRT knows.
LEVELS = range(6)
#: A build has the logger and the streams of the process to itself.
_ONE_AT_A_TIME = threading.Lock()


@nothing_else_raised
def build(
    model: ModelLike | FusionResult,
    *,
    shapes: Mapping[str, ShapeLike] | None = None,
    targets: Sequence[str | float] = (),
    workspace: int | None = None,
    level: int | None = None,
    timing_cache: str | Path | None = None,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Builds an engine with TensorRT, in the precision that the model says (strongly typed).

    With TensorRT for RTX no GPU is needed. The builds of a process run one after the other. What
    the process prints to stdout and stderr meanwhile goes to `Engine.messages`, since TensorRT
    prints some of its reasons there; what `progress` prints is let through.

    Args:
        model: a path, the bytes of a model, a `ModelProto`, or what `fuse` returned; never
            modified.
        shapes: by name, for every input whose sizes vary: one shape, which the engine is then
            fixed to, or three, the smallest, the one to be fastest at, and the largest. For an
            input that is itself a shape these are its values.
        targets: compute capabilities to build for, like "8.6" (TensorRT for RTX only); if left
            out, the package's own choice, which is all from Ampere on.
        workspace: the most scratch memory that a layer may use, in bytes; TensorRT's own limit if
            left out.
        level: how hard the builder looks for a faster engine, 0 to 5; 3 if left out.
        timing_cache: a file that keeps measurements from build to build; made if it is not there
            (full TensorRT only).
        backend: "tensorrt" or "tensorrt_rtx"; the first of them that is installed if left out.
        progress: called from time to time with the phase of the build, how much of it is done,
            and of how much. What it raises cancels the build, and so does Ctrl-C.

    Returns:
        The engine, with sizes and messages.

    Raises:
        EngineError: TensorRT is not installed, cannot take the model, or failed to build it.
        ModelError: the model cannot be read or is not valid.
        UsageError: an argument fits neither the model nor the backend.
    """
    chosen = find_backend(backend)
    capabilities = chosen.chosen((targets,) if isinstance(targets, str) else targets)
    given = profiles(shapes)
    cache = _cache_path(chosen, timing_cache)
    if level is not None and level not in LEVELS:
        raise UsageError(f"the optimization level is {level}; it goes from 0 to {LEVELS[-1]}")
    if workspace is not None and workspace < 0:
        raise UsageError(f"the workspace is {workspace} bytes; it cannot be negative")
    proto, folder, where, origins = _read(model)
    check_names(given, proto, where)
    log = Log()
    with (
        _ONE_AT_A_TIME,
        cancellable() as cancel,
        Capture(log) as capture,
        logged(chosen.trt, log) as logger,
    ):
        trt = chosen.trt
        # All of these have to live until the build is done.
        builder = _builder(chosen, logger, log)
        network = builder.create_network(_flags(trt))
        parser = trt.OnnxParser(network, logger)
        parse(chosen, network, parser, proto, log, folder=folder, where=where, origins=origins)
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.progress_monitor = monitor(trt, cancel, _through(capture, progress))
        set_shapes(chosen, builder, network, config, proto, given, where)
        if capabilities:
            config.num_compute_capabilities = len(capabilities)
            for index, capability in enumerate(capabilities):
                config.set_compute_capability(chosen.targets[capability], index)
        if workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        if level is not None:
            config.builder_optimization_level = level
        if cache is not None:
            _use_cache(config, cache)
        stop_if_asked(cancel)
        start = time.perf_counter()
        built = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - start
        if built is None and chosen.rtx:
            _forget(trt, logger)
        stop_if_asked(cancel)
        if built is None:
            raise EngineError(f"{chosen.title} cannot build {where}: {_why(log)}")
        plan = bytes(built)
        if cache is not None:
            with written(cache) as file:
                file.write(bytes(config.get_timing_cache().serialize()))
    messages = tuple(log.messages)
    return Engine(
        plan=plan,
        backend=chosen.name,
        version=chosen.version,
        targets=capabilities,
        profiles=given,
        sizes=Sizes.of(plan, messages),
        seconds=round(seconds, 4),
        messages=messages,
    )


def _read(
    model: ModelLike | FusionResult,
) -> tuple[ModelProto, Path | None, str, dict[str, str]]:
    """The model, the folder of its external data, its name, and what nodes were fused from."""
    origins = {}
    if isinstance(model, FusionResult):
        read = read_model(model.model)
        folder = None if model.source is None else model.source.parent
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
        # TensorRT would look in the working folder where there is no telling.
        ExternalData.of(tensor.proto).file_of(StoredTensor(tensor.proto, folder))
    return read.proto, folder, where, origins


def _through(capture: Capture, progress: Progress | None) -> Progress | None:
    """Progress that may print."""
    if progress is None:
        return None

    def told(phase: str, done: int, total: int) -> None:
        with capture.paused():
            progress(phase, done, total)

    return told


def _builder(backend: Backend, logger: Any, log: Log) -> Any:
    trt = backend.trt
    try:
        if not backend.rtx:
            # The plugins that come with TensorRT. TensorRT for RTX has none.
            trt.init_libnvinfer_plugins(logger, "")
        return trt.Builder(logger)
    except (RuntimeError, TypeError) as error:
        # Without a driver, pybind11 has nothing but a null pointer to report.
        reason = log.reason() or " ".join(str(error).split())
        raise EngineError(f"{backend.title} cannot start its builder: {reason}") from None


def _forget(trt: Any, logger: Any) -> None:
    """Lets TensorRT for RTX forget a build that failed, by one of a single layer.

    A failure for compute capability 7.5 leaves something behind in 1.7.1: the next build of the
    process, whatever its targets, gives another engine, with more kernels.
    """
    logger.sink = None
    builder = trt.Builder(logger)
    network = builder.create_network(_flags(trt))
    layer = network.add_identity(network.add_input("x", trt.float32, (1,)))
    network.mark_output(layer.get_output(0))
    builder.build_serialized_network(network, builder.create_builder_config())


def _flags(trt: Any) -> int:
    """Strongly typed: each tensor keeps the type that the model gives it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    # From TensorRT 11 on there is nothing else.
    return 0 if flag is None else 1 << int(flag)


def _cache_path(backend: Backend, path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if backend.rtx:
        raise UsageError(f"{backend.title} has no timing cache; leave it out")
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot keep the timing cache in '{path}': it is no regular file")
    if not path.parent.is_dir():
        raise UsageError(
            f"cannot keep the timing cache in '{path}': there is no folder '{path.parent}'"
        )
    return path


def _use_cache(config: Any, path: Path) -> None:
    try:
        stored = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"cannot read the timing cache '{path}': {error.strerror}") from None
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        raise UsageError(
            f"'{path}' is no timing cache of this TensorRT and GPU; name another file, or delete it"
        )


def _why(log: Log) -> str:
    reason = log.reason() or "its builder gave no reason"
    if "workspace" in reason.lower():
        reason += "; allow it more with --workspace or workspace="
    return reason
