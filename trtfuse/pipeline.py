"""The way of a model: read, rewrite to a fixed point, write, check, report."""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from onnx import ModelProto

from trtfuse.check.inputs import Search
from trtfuse.check.model import Verification, verify_models
from trtfuse.check.rewrite import RewriteCheck
from trtfuse.errors import ModelError, UsageError, nothing_else_raised
from trtfuse.groups.emit import emit, takes_functions
from trtfuse.groups.find import find_groups
from trtfuse.groups.mark import mark
from trtfuse.groups.target import shared_memory
from trtfuse.ir.claims import refusal, refused_already, settle_claims
from trtfuse.ir.growth import FOLD_LIMIT
from trtfuse.ir.model import (
    Model,
    ModelLike,
    Objective,
    collector_paused,
    read_model,
)
from trtfuse.ir.operators import NOT_UTF_8
from trtfuse.ir.save import save_model
from trtfuse.ir.tensor import ExternalData
from trtfuse.report.data import Census, Fusion, NearMiss, Report
from trtfuse.report.trace import Trace
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.rule import AnyRule, GroupRule, selected

if TYPE_CHECKING:
    import onnx_graphsurgeon
    import onnx_ir

VerifyLevel = Literal["none", "rewrite", "model"]
GroupsAs = Literal["functions", "flat", "off"]
#: Called with a stage ("rewrite" or "verify"), how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FusionResult:
    """What `fuse` made of a model.

    Attributes:
        model: the fused model. External data stays where the original has it: write the model
            with `save`, which copies it.
        report: what was done to it and what was not.
        source: the path of the original, or None if it came without one.
        data: the files that the original has its external data in.
        folder: the folder of the original, where its external data is, or None if it came
            without one.
    """

    model: ModelProto
    report: Report
    source: Path | None = None
    data: tuple[Path, ...] = ()
    folder: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether the check agreed, as far as there was one."""
        return self.report.verification.ok

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from trtfuse.report.page import notebook

        return notebook(self.report.to_dict(details=False))

    @nothing_else_raised
    def save(self, path: str | Path) -> None:
        """Writes the model: whole or not at all, and with its external data if it has any.

        Args:
            path: where to; a file that is there is replaced. External data goes to `PATH.data`.

        Raises:
            UsageError: this is the path of the original, or of its external data.
            ModelError: it cannot be written.
        """
        if self.source is not None and same_file(self.source, Path(path)):
            raise UsageError(f"'{path}' is the original; write the fused model to another path")
        if any(same_file(data, Path(path)) for data in self.data):
            raise UsageError(f"'{path}' holds weights of the original; write to another path")
        save_model(self.model, path, self.folder)

    @nothing_else_raised
    def to_graphsurgeon(self) -> onnx_graphsurgeon.Graph:
        """The fused model as a GraphSurgeon graph, which shares nothing with `model`.

        External weights become arrays that are mapped into memory, copy on write. Metadata and
        doc strings of nodes are lost, as always with GraphSurgeon.

        Raises:
            UsageError: GraphSurgeon is not installed.
            ModelError: external weights cannot be found, or the model has what GraphSurgeon cannot
                hold and computes with it: overloads of functions, attributes of rare kinds.
        """
        from trtfuse.ir.graphsurgeon import to_graphsurgeon

        return to_graphsurgeon(self.model, self.folder)

    @nothing_else_raised
    def to_onnx_ir(self) -> onnx_ir.Model:
        """The fused model as an onnx-ir model, which shares nothing with `model`.

        External weights stay external, in the files of the original.

        Raises:
            UsageError: onnx-ir is not installed.
            ModelError: the model has sparse initializers, which onnx-ir does not have.
        """
        from trtfuse.ir.onnx_ir import to_onnx_ir

        return to_onnx_ir(self.model, self.folder)


@nothing_else_raised
def fuse(
    model: ModelLike,
    *,
    rules: Iterable[str | AnyRule] | None = None,
    skip: Iterable[str] = (),
    groups: GroupsAs = "functions",
    objective: Objective = "safe",
    verify: VerifyLevel = "rewrite",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fold_limit: int = FOLD_LIMIT,
    seed: int = 0,
    target: str | None = None,
    progress: Progress | None = None,
) -> FusionResult:
    """Applies TensorRT's documented fusions to a model, and checks that it computes the same.

    Args:
        model: a path, the bytes of a model, a `ModelProto`, an `onnx_graphsurgeon.Graph` or an
            `onnx_ir.Model`; never modified.
        rules: names of rules, or rules; None for all of the catalogue.
        skip: names of rules to leave out.
        groups: what becomes of nodes that one kernel runs: "functions", each group is one call of
            a model-local function, from IR 4 on; "flat", the nodes stay, and say in their metadata
            which group they are in, from IR 10 on; or "off", no groups are looked for.
        objective: "safe", every documented rewrite but where one is known to cost the engine; or
            "graph", all of them, whatever TensorRT makes of the result.
        verify: "none"; "rewrite", which checks each rewrite in float64 before it is committed; or
            "model", which does that and compares the whole model on ONNX Runtime.
        input_shapes: shapes of inputs by name for `verify="model"`, where they are not to be drawn.
        fold_limit: by how many bytes a constant may be larger than what the model stores of those
            that it is made from, 64 KiB if left out; 0 makes only constants that do not grow. All
            of them together may add 256 times as much to the model, or as much as its own
            constants take if that is more.
        seed: of the numbers that checks draw.
        target: the compute capability of the GPU, like "8.9", which decides how large the weights
            in an MLP may be; the least of those that TensorRT supports if left out.
        progress: called from time to time with the stage, how much of it is done, and of how much.

    Returns:
        The fused model with its report. `ok` is False if the whole model did not agree.

    Raises:
        UsageError: an unknown rule or level, or a shape that fits no input.
        ModelError: the model cannot be read, or no runtime could make sense of it.
        InternalError: a mistake in trtfuse, or in a rule of yours.
        VerifyError: the whole model cannot be compared, since ONNX Runtime does not run it.
    """
    if verify not in get_args(VerifyLevel):
        raise UsageError(f"unknown level '{verify}'; there are {', '.join(get_args(VerifyLevel))}")
    if groups not in get_args(GroupsAs):
        raise UsageError(f"unknown groups '{groups}'; there are {', '.join(get_args(GroupsAs))}")
    if objective not in get_args(Objective):
        listed = ", ".join(get_args(Objective))
        raise UsageError(f"unknown objective '{objective}'; there are {listed}")
    shared_memory(target)
    if fold_limit < 0:
        raise UsageError(f"the limit of folding is {fold_limit} bytes; it cannot be negative")
    chosen = selected(rules, skip)
    try:
        with collector_paused():
            shapes_given = _shapes(input_shapes)
            return _fuse(
                model,
                chosen,
                groups,
                objective,
                verify,
                shapes_given,
                fold_limit,
                seed,
                target,
                progress,
            )
    except UnicodeDecodeError:
        # Of a name that is not that of a value.
        raise ModelError(NOT_UTF_8) from None


def _fuse(
    model: ModelLike,
    rules: tuple[AnyRule, ...],
    groups: GroupsAs,
    objective: Objective,
    verify: VerifyLevel,
    input_shapes: dict[str, tuple[int, ...]],
    fold_limit: int,
    seed: int,
    target: str | None,
    progress: Progress | None,
    *,
    refused: str | None = None,
) -> FusionResult:
    """As `fuse`; where no runtime would load the result, which `refused` says, without changes."""
    check = None if verify == "none" else RewriteCheck(seed)
    seconds: dict[str, float] = {}
    with _timed(seconds, "read"):
        read = read_model(model)
        read.growth.limit = fold_limit
        read.objective = objective
        before, trace = Census.of(read), Trace(read)
        if input_shapes:
            # Shapes that fit no input are refused before the work, whether it needs them or not.
            Search(read, input_shapes)
    with _timed(seconds, "rewrite"):
        driver = Driver(read, rules, check, staged(progress, "rewrite"))
        if refused is None:
            driver.run()
        else:
            read.notes.append(
                f"the model is left as it was, since no runtime would load the result: {refused}"
            )
        left = driver.declined
        declined = [NearMiss.of(each) for each in left]
        fusions = [Fusion.of(each) for each in driver.fused]
        trace.done(driver.fused, left)
    why_not = refusal(read) if fusions else None
    if why_not is not None and not refused_already(read_model(model)):
        return _fuse(
            model, (), "off", objective, verify, input_shapes, fold_limit, seed, target, progress,
            refused=why_not,
        )  # fmt: skip
    if groups != "off":
        with _timed(seconds, "group"):
            if driver.fused and any(isinstance(rule, GroupRule) for rule in rules):
                # A second run is to find the same groups, and knows no more than the file says.
                read.infer_shapes_afresh()
            found = find_groups(read, rules, target)
            declined += [NearMiss.of(each) for each in found.declined]
            called = groups == "functions" and takes_functions(read)
            fusions += [Fusion.of_group(each, called) for each in found.groups]
            trace.grouped((group.nodes for group in found.groups), found.declined)
            if called:
                emit(read, found.groups)
            else:
                mark(read, found.groups)
    with _timed(seconds, "write"):
        if fusions:
            read.embed_lists()
        fused = read.to_proto()
        note = settle_claims(read, fused, correct=bool(fusions))
        if note is not None:
            read.notes.append(note)
    verification = Verification("none") if check is None else check.verification()
    if verify == "model":
        with _timed(seconds, "verify"):
            original, result = Model(read.proto, read.folder), Model(fused, read.folder)
            stage = staged(progress, "verify")
            verification = verify_models(original, result, input_shapes, seed, stage)
    path = Path(model) if isinstance(model, (str, Path)) else None
    report = Report(
        model=named(model, read),
        before=before,
        after=Census.of(read),
        fused=fusions,
        declined=declined,
        verification=verification,
        seconds=seconds,
        versions=_versions(),
        notes=read.notes,
        trace=trace,
    )
    data = {t.folder / ExternalData.of(t.proto).file for t in read.external if t.folder is not None}
    return FusionResult(fused, report, path, tuple(sorted(data)), read.folder)


@nothing_else_raised
def verify(
    original: ModelLike,
    result: ModelLike,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Compares two models on ONNX Runtime, with its own optimizations off.

    Args:
        original: what the other is compared to; the tolerance is measured on it. A model in any
            form that `fuse` takes.
        result: a model with the same inputs and outputs.
        input_shapes: shapes of inputs by name, where they are not to be drawn.
        seed: of the inputs that are drawn.
        progress: called from time to time with "verify", how much is done, and of how much.

    Raises:
        ModelError: a model cannot be read or is not valid.
        VerifyError: they have different inputs or outputs, or one cannot be run.
        UsageError: a shape fits no input.
    """
    before, after = read_model(original), read_model(result)
    return verify_models(before, after, _shapes(input_shapes), seed, staged(progress, "verify"))


def named(model: ModelLike, read: Model) -> str:
    """What to call a model: its path, or the name of its graph."""
    return str(model) if isinstance(model, (str, Path)) else read.graph.proto.name


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _shapes(given: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]]:
    listed = {name: tuple(shape) for name, shape in (given or {}).items()}
    for name, shape in listed.items():
        if not all(isinstance(size, (int, np.integer)) for size in shape):
            raise UsageError(
                f"the shape of input '{name}' is {list(shape)}; sizes are whole numbers"
            )
    return {name: tuple(int(size) for size in shape) for name, shape in listed.items()}


def staged(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """What a stage tells how far it is."""
    return None if progress is None else functools.partial(progress, stage)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 4)


def _versions() -> dict[str, str]:
    packages = ("trtfuse", "onnx", "onnxruntime", "numpy")
    return {package: _version(package) for package in packages}


#: Looking for a package takes longer than fusing a small model.
_version = functools.cache(importlib.metadata.version)
