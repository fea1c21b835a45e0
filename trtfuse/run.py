"""One run: a model is read, rewritten to a fixed point, grouped, written, checked and reported."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from onnx import ModelProto

from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.analysis.shapes import contradiction
from trtfuse.check.rewrite import RewriteCheck
from trtfuse.check.verification import Verification
from trtfuse.errors import ModelError, UsageError, nothing_else_raised
from trtfuse.groups.emit import emit, takes_functions
from trtfuse.groups.find import find_groups
from trtfuse.groups.inline import inline_groups
from trtfuse.groups.mark import mark
from trtfuse.groups.members import note_members, noted_members
from trtfuse.groups.partition import Group
from trtfuse.groups.target import capability, shared_memory
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.ir.graph import Node
from trtfuse.ir.operators import NOT_UTF_8
from trtfuse.ir.tensor import ExternalData
from trtfuse.model.claims import refusal, refused_already, settle_claims
from trtfuse.model.collector import collector_paused
from trtfuse.model.fixed import (
    Fixed,
    ShapesLike,
    agree_on_sizes,
    declared_shapes,
    fix_shapes,
    fixed_shapes,
    read_shapes,
)
from trtfuse.model.model import Model, Objective
from trtfuse.progress import Progress, staged
from trtfuse.report.wording import counted
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.model_file import OriginalFile
from trtfuse.result.not_fused import NotFused
from trtfuse.result.report import Census, Fusion, Report
from trtfuse.result.trace import Trace
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.refusal import Refusal
from trtfuse.rewrite.rule import CATALOGUE, AnyRule, GroupRule, selected

if TYPE_CHECKING:
    from trtfuse.check.samples import Inputs, Samples

_log = logging.getLogger("trtfuse")

VerifyLevel = Literal["none", "rewrite", "model"]
GroupsAs = Literal["flat", "functions", "off"]


@nothing_else_raised
def fuse(
    model: ModelLike,
    *,
    rules: Iterable[str | AnyRule] | None = None,
    skip: Iterable[str] = (),
    groups: GroupsAs = "flat",
    objective: Objective = "safe",
    shapes: ShapesLike | None = None,
    verify: VerifyLevel | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: Inputs | None = None,
    fold_limit: int = FOLD_LIMIT,
    seed: int = 0,
    target: str | float | None = None,
    progress: Progress | None = None,
) -> FusionResult:
    """Applies TensorRT's documented fusions to a model, and checks that it computes the same.

    Args:
        model: a path, the bytes of a model, a `ModelProto`, an `onnx_graphsurgeon.Graph` or an
            `onnx_ir.Model`; never modified.
        rules: rules, or their names; None for the whole catalogue.
        skip: names of rules not to apply.
        groups: what to do with nodes that TensorRT is expected to run as one kernel: "flat" lists
            each group in the report, and names it in the metadata of its nodes (from IR 10 on);
            "functions" replaces each group by a call of a model-local function (from IR 4 on);
            "off" disables grouping. Unless it is "functions", calls of groups in the model become
            nodes again.
        objective: "safe" applies every documented rewrite except where it is known to cost the
            engine; "graph" applies all of them, whatever TensorRT makes of the result.
        shapes: sizes of inputs to fix, by input, `{"x": (1, 3, 640, 640)}`, or by symbol,
            `{"batch": 1}`. The result has these sizes, and whatever they allow is fused.
        verify: "none"; "rewrite", which checks each rewrite in float64 before it is committed; or
            "model", which does that and compares the whole model on ONNX Runtime. "rewrite" if
            omitted, or "model" with `inputs`.
        input_shapes: shapes of inputs for `verify="model"` only, while the model stays open; random
            if omitted. Replaced by `shapes` in 0.2.
        inputs: your own data to compare the whole model on, random if omitted: arrays by input
            name, a .npz, .npy or Polygraphy .json file, a folder of those, or a list of them.
        fold_limit: by how many bytes a folded constant may be larger than the constants it is
            computed from, 64 KiB if omitted; 0 folds only constants that do not grow. All of them
            together may add 256 times this to the model, or as much as its own constants take if
            that is more.
        seed: for the random numbers of the checks.
        target: the compute capability of the GPU, 8.9, "8.9" or "sm_89", which limits the
            weights in an MLP; the smallest limit from 8.0 on if omitted.
        progress: called from this thread with the stage, how much of it is done, and of how much:
            when a stage begins and at each of its steps, so at least every half second unless a
            single step takes longer, such as shape inference in a large model. The stages are
            "read", "rewrite", "load" (would a runtime load the result?), "group", "write" and
            "verify".

    Returns:
        The fused model with its report. `ok` is False if the whole model did not agree.

    Raises:
        UsageError: an unknown rule or level, or a shape or array that fits no input.
        ModelError: the model cannot be read, or no runtime could run it.
        InternalError: a bug in trtfuse, or in a rule of yours.
        VerifyError: the whole model cannot be compared, because ONNX Runtime cannot run it.
    """
    options = Options(
        selected(rules, skip),
        groups=groups,
        objective=objective,
        shapes=read_shapes(shapes),
        verify=_level(verify, inputs),
        input_shapes=_deprecated(input_shapes),
        inputs=inputs,
        fold_limit=fold_limit,
        seed=seed,
        target=target,
        progress=progress,
    )
    with running():
        run = Run(model, options)
        run.fuse()
        return run.result()


@nothing_else_raised
def verify(
    original: ModelLike,
    result: ModelLike,
    *,
    shapes: ShapesLike | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: Inputs | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Compares two models on ONNX Runtime, with its own optimizations off.

    Args:
        original: what the other is compared to; the tolerance is measured on it. A model in any
            form that `fuse` takes.
        result: a model with the same inputs and outputs.
        shapes: sizes of inputs to run at, by input, `{"x": (1, 3, 640, 640)}`, or by symbol,
            `{"batch": 1}`; random if omitted.
        input_shapes: what `shapes` was called before 0.2.
        inputs: your own data to compare them on, as `fuse` takes it; random if omitted.
        seed: for the random inputs.
        progress: called with "read" or "verify", how much of it is done, and of how much.

    Raises:
        ModelError: a model cannot be read or is not valid.
        VerifyError: they have different inputs or outputs, or one cannot be run.
        UsageError: a shape or array fits no input, or a file of `inputs` cannot be read.
    """
    from trtfuse.check.model import verify_models

    if progress is not None:
        progress("read", 0, 2)
    before = read_model(original)
    if progress is not None:
        progress("read", 1, 2)
    after = read_model(result)
    if progress is not None:
        progress("verify", 0, 1)
    fixed = read_shapes(shapes) or _deprecated(input_shapes)
    fix_shapes(before, fixed)
    agree_on_sizes(before, after)
    samples = None if inputs is None else _samples(before, inputs)
    told = staged(progress, "verify")
    return verify_models(before, after, seed, told, samples)


@dataclass(frozen=True)
class Options:
    """How a model is fused; each as `fuse` has it.

    Raises:
        UsageError: one of them cannot be.
    """

    rules: tuple[AnyRule, ...]
    groups: GroupsAs = "flat"
    objective: Objective = "safe"
    shapes: Fixed = field(default_factory=dict)
    verify: VerifyLevel = "rewrite"
    input_shapes: Fixed = field(default_factory=dict)
    inputs: Inputs | None = None
    fold_limit: int = FOLD_LIMIT
    seed: int = 0
    target: str | float | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for what, given, known in (
            ("level", self.verify, get_args(VerifyLevel)),
            ("groups", self.groups, get_args(GroupsAs)),
            ("objective", self.objective, get_args(Objective)),
        ):
            if given not in known:
                raise UsageError(f"unknown {what} '{given}'; there are {', '.join(known)}")
        shared_memory(self.target)
        if self.fold_limit < 0:
            raise UsageError(
                f"the limit of folding is {self.fold_limit} bytes; it cannot be negative"
            )

    def told(self) -> dict[str, Any]:
        """The options as a report has them: the rules by the shorter list, what can be written."""
        chosen = [rule.name for rule in self.rules]
        skipped = [name for name in CATALOGUE if name not in chosen]
        some = {"skip": skipped} if len(skipped) < len(chosen) else {"rules": chosen}
        return {
            **some,
            "groups": self.groups,
            "objective": self.objective,
            "verify": self.verify,
            "shapes": _listed(self.shapes),
            "input_shapes": _listed(self.input_shapes),
            "fold_limit": self.fold_limit,
            "seed": self.seed,
            "target": None if self.target is None else capability(self.target),
        }


class Run:
    """A model on its way, which `fuse` and `explain` read.

    Args:
        model: in any form that `fuse` takes.
        options: what is done to it.

    Attributes:
        model: as it is now.
        name: its path, or the name of its graph.
        driver: what rewrites it, with all that it has rewritten.
        refused: what was not rewritten and why, in the order of the graph.
        inlined: how many calls of groups it came with, which are nodes again.
        fixed: whether sizes of its inputs were fixed.
        groups: what one kernel is expected to run each, in the order of the graph.
        ungrouped: what was not grouped and why.
    """

    def __init__(self, model: ModelLike, options: Options) -> None:
        self.options = options
        self.told = options.told()
        self.seconds: dict[str, float] = {}
        self._given = model
        self._read()

    def _read(self) -> None:
        with self._timed("read"):
            self.model = read_model(self._given, staged(self.options.progress, "read"))
            self.model.growth.limit = self.options.fold_limit
            self.model.objective = self.options.objective
            self.inlined = 0 if self.options.groups == "functions" else inline_groups(self.model)
            self.fixed = fix_shapes(self.model, self.options.shapes)
            if self.fixed:
                self._check_sizes()
            self.before = Census.of(self.model)
            self.trace = Trace(self.model)
            if self.options.input_shapes:
                # Those that fit no input are refused before the work, whether it needs them or not.
                fixed_shapes(declared_shapes(self.model), self.options.input_shapes)
            given = self.options.inputs
            self.samples = None if given is None else _samples(self.model, given)
        self.check = None if self.options.verify == "none" else RewriteCheck(self.options.seed)
        progress = staged(self.options.progress, "rewrite")
        self.driver = Driver(self.model, self.options.rules, self.check, progress)
        self.refused: list[Refusal] = []
        self.groups: list[Group] = []
        self.ungrouped: list[Refusal] = []

    def _check_sizes(self) -> None:
        """Refuses sizes at which the model does not run, though it does at others."""
        why_not = contradiction(self.model)
        if why_not is not None and contradiction(read_model(self._given)) is None:
            raise UsageError(f"the model does not run at the sizes given: {why_not}")

    @property
    def name(self) -> str:
        """What to call the model."""
        named = isinstance(self._given, (str, Path))
        return str(self._given) if named else self.model.graph.proto.name

    @property
    def original(self) -> list[Node]:
        """The nodes that the model was read with."""
        return self.trace.original

    def fuse(self) -> None:
        """Rewrites and groups; leaves the model as it is where no runtime would load the result."""
        self._rewrite()
        if self.driver.fused:
            self._tell("load")
        why_not = refusal(self.model) if self.driver.fused else None
        if why_not is not None and not refused_already(read_model(self._given)):
            # With "functions", calls of groups that it came with stay.
            self.options = replace(self.options, rules=(), groups="functions")
            self._read()
            self.model.notes.append(
                f"the model is left as it was, since no runtime would load the result: {why_not}"
            )
        elif self.options.groups != "off":
            self._group()

    def _rewrite(self) -> None:
        with self._timed("rewrite"):
            self.driver.run()
            self.refused = self.driver.refused
            self.trace.done(self.driver.fused, self.refused)
        if _log.isEnabledFor(logging.INFO):
            for fused in self.driver.fused:
                nodes = " + ".join(node.label for node in fused.nodes)
                _log.info("Fused %s by %s", nodes, fused.rule)
            for miss in self.refused:
                _log.info("Not fused by %s at %s: %s", miss.rule, miss.at.label, miss.because)

    def _group(self) -> None:
        rules, model = self.options.rules, self.model
        with self._timed("group"):
            if self.driver.fused and any(isinstance(rule, GroupRule) for rule in rules):
                # A second run is to find the same groups, and knows no more than the file says.
                model.infer_shapes_afresh()
            progress = staged(self.options.progress, "group")
            grouping = find_groups(model, rules, self.options.target, progress)
            self.groups, self.ungrouped = grouping.groups, grouping.refused
            self.trace.grouped((group.nodes for group in self.groups), self.ungrouped)

    def result(self) -> FusionResult:
        """Writes the model, checks it, and reports."""
        fusions = [Fusion.of(fused) for fused in self.driver.fused]
        called = self.options.groups == "functions" and takes_functions(self.model)
        fusions += [Fusion.of_group(group, called) for group in self.groups]
        model = self._write(called, changed=bool(fusions or self.inlined or self.fixed))
        verification = self._verify(model)
        report = Report(
            model=self.name,
            before=self.before,
            after=Census.of(self.model),
            fused=fusions,
            declined=[NotFused.of_refusal(miss) for miss in (*self.refused, *self.ungrouped)],
            verification=verification,
            seconds=self.seconds,
            versions=_versions(),
            notes=self.model.notes,
            also=self._also(),
            options=self.told,
            date=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            trace=self.trace,
        )
        external = ((t.folder, t.proto) for t in self.model.external)
        data = {folder / ExternalData.of(t).file for folder, t in external if folder is not None}
        path = Path(self._given) if isinstance(self._given, (str, Path)) else None
        if path is not None:
            report.original = OriginalFile.of(path, data)
        return FusionResult(model, report, path, tuple(sorted(data)), self.model.folder)

    def _also(self) -> list[str]:
        """What was changed besides fusing."""
        calls = f"{counted(self.inlined, 'call')} of groups turned back into nodes"
        return [
            *([calls] if self.inlined else []),
            *(["sizes of inputs fixed"] if self.fixed else []),
        ]

    def _write(self, called: bool, changed: bool) -> ModelProto:
        with self._timed("write"):
            functions = self.options.groups == "functions"
            members = dict(noted_members(self.model.proto)) if functions else {}
            if called:
                members |= emit(self.model, self.groups)
            elif self.options.groups != "off":
                mark(self.model, self.groups)
            if changed:
                self.model.embed_lists()
            written = self.model.to_proto()
            note_members(written, members)
            note = settle_claims(self.model, written, correct=changed, static=self.fixed)
            if note is not None:
                self.model.notes.append(note)
        return written

    def _verify(self, written: ModelProto) -> Verification:
        if self.options.verify == "model":
            # What compares whole models takes time to load, and most runs need none of it.
            from trtfuse.check.model import verify_models

            with self._timed("verify"):
                original = Model(self.model.proto, self.model.folder)
                result = Model(written, self.model.folder)
                fix_shapes(original, self.options.input_shapes)
                agree_on_sizes(original, result)
                progress = staged(self.options.progress, "verify")
                seed = self.options.seed
                return verify_models(original, result, seed, progress, self.samples)
        return Verification("none") if self.check is None else self.check.verification()

    def _tell(self, stage: str) -> None:
        """Says that a stage begins."""
        if self.options.progress is not None:
            self.options.progress(stage, 0, 1)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self._tell(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 4)


@contextmanager
def running() -> Iterator[None]:
    """With the garbage collector off, and a name that is none told in a line."""
    try:
        with collector_paused():
            yield
    except UnicodeDecodeError:
        # Of a name that is not that of a value.
        raise ModelError(NOT_UTF_8) from None


def _listed(shapes: Fixed) -> dict[str, int | list[int | None]]:
    """Shapes as JSON has them."""
    return {name: s if isinstance(s, int) else list(s) for name, s in shapes.items()}


def _deprecated(input_shapes: Mapping[str, Sequence[int]] | None) -> Fixed:
    if input_shapes is None:
        return {}
    warnings.warn("`input_shapes` is now `shapes`", DeprecationWarning, stacklevel=4)
    return read_shapes(input_shapes)


def _level(given: VerifyLevel | None, inputs: Inputs | None) -> VerifyLevel:
    """The level of verification: what is asked for, or what the other arguments imply."""
    if inputs is not None and given not in (None, "model"):
        raise UsageError(
            "inputs are compared by the check of the whole model: leave verify out or make it "
            f"'model', not '{given}'"
        )
    if given is None:
        return "rewrite" if inputs is None else "model"
    return given


def _samples(model: Model, inputs: Inputs) -> Samples:
    from trtfuse.check.samples import Samples

    return Samples(model, inputs)


def _versions() -> dict[str, str]:
    packages = ("trtfuse", "onnx", "onnxruntime", "numpy")
    return {package: _version(package) for package in packages}


#: Looking for a package takes longer than fusing a small model.
_version = functools.cache(importlib.metadata.version)
