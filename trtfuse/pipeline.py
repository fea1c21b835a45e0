"""The way of a model: read, rewrite to a fixed point, write, check, report."""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto

from trtfuse.check.inputs import shapes
from trtfuse.check.model import Verification, verify_models
from trtfuse.check.rewrite import RewriteCheck
from trtfuse.errors import ModelError, UsageError
from trtfuse.ir.model import FOLD_LIMIT, Model, collector_paused, read_model
from trtfuse.ir.save import save_model
from trtfuse.ir.tensor import ExternalData
from trtfuse.report.data import Census, Fusion, NearMiss, Report
from trtfuse.report.trace import Trace
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.rule import AnyRule, selected

#: What `fuse` and `verify` take for a model.
ModelLike = str | Path | bytes | ModelProto
VerifyLevel = Literal["none", "rewrite", "model"]
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
    """

    model: ModelProto
    report: Report
    source: Path | None = None
    data: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the check agreed, as far as there was one."""
        return self.report.verification.ok

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from trtfuse.report.page import notebook

        # The details, which take their time, are not shown.
        return notebook(asdict(replace(self.report, trace=None)))

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
        save_model(self.model, path, None if self.source is None else self.source.parent)


def fuse(
    model: ModelLike,
    *,
    rules: Iterable[str | AnyRule] | None = None,
    skip: Iterable[str] = (),
    verify: VerifyLevel = "rewrite",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fold_limit: int = FOLD_LIMIT,
    seed: int = 0,
    progress: Progress | None = None,
) -> FusionResult:
    """Applies TensorRT's documented fusions to a model, and checks that it computes the same.

    Args:
        model: a path, the bytes of a model, or a `ModelProto`; never modified.
        rules: names of rules, or rules; None for all of the catalogue.
        skip: names of rules to leave out.
        verify: "none"; "rewrite", which checks each rewrite in float64 before it is committed; or
            "model", which does that and compares the whole model on ONNX Runtime.
        input_shapes: shapes of inputs by name for `verify="model"`, where they are not to be drawn.
        fold_limit: by how many bytes a constant may be larger than those that it is folded from,
            64 KiB if left out; 0 folds only what does not grow.
        seed: of the numbers that checks draw.
        progress: called from time to time with the stage, how much of it is done, and of how much.

    Returns:
        The fused model with its report. `ok` is False if the whole model did not agree.

    Raises:
        UsageError: an unknown rule or level, or a shape that fits no input.
        ModelError: the model cannot be read or is not valid.
        VerifyError: the whole model cannot be compared, since ONNX Runtime does not run it.
    """
    if verify not in get_args(VerifyLevel):
        raise UsageError(f"unknown level '{verify}'; there are {', '.join(get_args(VerifyLevel))}")
    if fold_limit < 0:
        raise UsageError(f"the limit of folding is {fold_limit} bytes; it cannot be negative")
    chosen = selected(rules, skip)
    try:
        with collector_paused():
            return _fuse(model, chosen, verify, _shapes(input_shapes), fold_limit, seed, progress)
    except UnicodeDecodeError:
        raise ModelError("the model has a text that is not UTF-8, as protobuf wants it") from None


def _fuse(
    model: ModelLike,
    rules: tuple[AnyRule, ...],
    verify: VerifyLevel,
    input_shapes: dict[str, tuple[int, ...]],
    fold_limit: int,
    seed: int,
    progress: Progress | None,
) -> FusionResult:
    check = None if verify == "none" else RewriteCheck(seed)
    seconds: dict[str, float] = {}
    with _timed(seconds, "read"):
        read = read_model(model)
        read.fold_limit = fold_limit
        before, trace = Census.of(read), Trace(read)
        if input_shapes:
            # Shapes that fit no input are refused before the work, whether it needs them or not.
            next(shapes(read, 1, input_shapes))
    with _timed(seconds, "rewrite"):
        driver = Driver(read, rules, check, staged(progress, "rewrite"))
        driver.run()
        left = driver.declined
        declined = [NearMiss.of(each) for each in left]
        trace.done(driver.fused, left)
    with _timed(seconds, "write"):
        fused = read.to_proto()
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
        fused=[Fusion.of(each) for each in driver.fused],
        declined=declined,
        verification=verification,
        seconds=seconds,
        versions=_versions(),
        trace=trace,
    )
    data = {t.folder / ExternalData.of(t.proto).file for t in read.external if t.folder is not None}
    return FusionResult(fused, report, path, tuple(sorted(data)))


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
        original: what the other is compared to; the tolerance is measured on it.
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
