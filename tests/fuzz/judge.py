"""Fuses a mutant, compares the result with the original on ONNX Runtime, and says what that was."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto

import trtfuse
from trtfuse.model.model import Objective

from .comparing import Difference, agrees
from .feeds import CannotFeed, feeds
from .making import Made

#: Why a model that ONNX Runtime loads may be refused: what the message matches, and the reason.
STATED: tuple[tuple[str, str], ...] = (
    (r"outside the folder of the model", "external data is not read from outside the folder"),
    (r"sparse initializer .* has the dimensions", "a sparse tensor that contradicts itself"),
    (r"entries in \w+, but its dimensions", "it loads, and cannot run: numbers are missing"),
    (r"holds \d+ bytes, but .* takes \d+", "a tensor that contradicts itself"),
    (r"are in the external file .* (but|missing)", "weights that are missing, though none reads"),
    (r"sizes cannot be negative", "a tensor that contradicts itself, though nothing reads it"),
    (r"not UTF-8", "protobuf requires UTF-8"),
    (r"declared without a type", "an input of which nothing is known, though nothing reads it"),
    (r"names no operator", "ONNX Runtime leaves out what nothing reads before it looks"),
    (r"No Op registered for Constant", "ONNX Runtime takes Constants of any domain"),
    (r"reads '.*', which nothing computes", "a function that reads what is outside of it"),
    (
        r"appeared multiple times|Required attribute .* missing|Mismatched attribute type",
        "a node that ONNX does not have",
    ),
    (r"a name that is taken", "one name of two values"),
    (r"which runtimes read as 0 or as another", "ONNX Runtime is of two minds about it"),
    (r"which ONNX does not have", "an element type that nothing has, of what nothing computes"),
)

#: What is told of a stage before it begins.
STAGES = ("make", "load original", "run original", "fuse", "load result", "run result", "after")

#: So many inputs a model is compared on, of those that it runs on.
_COMPARED = 2


@dataclass(frozen=True)
class Verdict:
    """What came of a mutant.

    Attributes:
        kind: "right", "right-to-load" (it runs on nothing that was tried), "unstable" (it computes
            another thing each time), "refused-both", "refused-stated", "refused-only-us",
            "taken-only-us", "bug".
        reason: what is alike in all bugs or refusals of one class.
        detail: the whole of it.
    """

    kind: str
    reason: str = ""
    detail: str = ""


class Bug(Exception):  # noqa: N818 - it is one
    """What must not be."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def judge(made: Made, folder: Path, stage: Callable[[str], None]) -> Verdict:
    """Says what comes of a mutant.

    Args:
        made: the mutant.
        folder: an empty folder, to be written to and left empty.
        stage: told what is done next, so that somebody can say where the process died.
    """
    try:
        return _judged(made, _Case(made, folder), stage)
    except Bug as bug:
        return Verdict("bug", bug.reason, bug.detail)
    finally:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


class _Case:
    """A mutant as ONNX Runtime and `fuse` take it."""

    def __init__(self, made: Made, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.source: bytes | str = made.content
        if made.given == "path":
            inside = folder / "model"
            inside.mkdir()
            (folder / "outside.bin").write_bytes(bytes(4096))
            for name, content in made.files.items():
                if content is None:
                    os.symlink("../outside.bin", inside / name)
                else:
                    (inside / name).write_bytes(content)
            (inside / "model.onnx").write_bytes(made.content)
            self.source = str(inside / "model.onnx")

    def fused(self, model: Any) -> trtfuse.FusionResult:
        made = self.made
        # Half of them with every documented rewrite, whatever the engine makes of it.
        objective: Objective = "graph" if made.number % 2 else "safe"
        return trtfuse.fuse(model, groups=made.groups, objective=objective, verify=made.verify)

    def scalars(self) -> set[str]:
        """The inputs that are declared as scalars."""
        model = self.parsed()
        infos = () if model is None else model.graph.input
        types = {info.name: info.type.tensor_type for info in infos}
        return {name for name, t in types.items() if t.HasField("shape") and not t.shape.dim}

    def parsed(self) -> ModelProto | None:
        try:
            return ModelProto.FromString(self.made.content)
        except Exception:  # noqa: BLE001 - bytes that are no model
            return None


def _judged(made: Made, case: _Case, stage: Callable[[str], None]) -> Verdict:
    stage("load original")
    original = _loaded(case.source)
    runs: list[_Run] = []
    if isinstance(original, ort.InferenceSession):
        stage("run original")
        runs = _runs(original, made, case.scalars())
    stage("fuse")
    try:
        result = _fused(case)
    except trtfuse.TrtfuseError as error:
        return _refused(error, original)
    except Bug as bug:
        can = "runs" if runs else "refuses" if isinstance(original, str) else "loads"
        raise Bug(bug.reason, f"{bug.detail}\nONNX Runtime {can} the original") from None
    stage("load result")
    content: bytes | str = result.model.SerializeToString(deterministic=True)
    if isinstance(case.source, str) and made.files:
        target = case.folder / "model" / "result.onnx"
        try:
            result.save(target)
        except trtfuse.TrtfuseError as error:
            raise Bug(f"cannot save: {_alike(str(error))}", str(error)) from None
        content = str(target)
    after = _loaded(content)
    if isinstance(original, str):
        stage("after")
        _check_result(case, result, full_check=False)
        return Verdict("taken-only-us", _alike(original), original)
    if isinstance(after, str):
        if not runs:
            return Verdict("refused-after-where-nothing-runs", _alike(after), after)
        raise Bug(f"ONNX Runtime refuses the result: {_alike(after)}", f"{after}\n{_told(result)}")
    _check_interface(original, after, result)
    stage("run result")
    unstable = 0
    for run in runs:
        try:
            found = after.run(None, run.feeds)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises types of its own
            message = f"the result does not run: {_alike(str(error))}"
            raise Bug(message, f"{error}\n{_told(result)}") from None
        model = case.parsed()
        assert isinstance(original, ort.InferenceSession)
        again = functools.partial(original.run, None, run.feeds)
        difference = agrees(run.outputs, again, found, model, run.feeds, _sessions(case))
        if difference is Difference.UNSTABLE:
            unstable += 1
        elif isinstance(difference, str):
            rules = ", ".join(sorted({each.rule for each in result.report.fused}))
            raise Bug(f"{difference.split(':')[0]} [{rules}]", f"{difference}\n{_told(result)}")
    stage("after")
    _check_result(case, result)
    if unstable:
        return Verdict("unstable")
    return Verdict("right" if runs else "right-to-load")


def _fused(case: _Case) -> trtfuse.FusionResult:
    given: Any = case.source
    before = None
    if case.made.given == "proto" and (proto := case.parsed()) is not None:
        given, before = proto, proto.SerializeToString(deterministic=True)
    try:
        result = case.fused(given)
    except trtfuse.TrtfuseError as error:
        if type(error).__name__ == "InternalError":
            raise _escaped(error.__cause__ or error) from None
        if "\n" in str(error):
            raise Bug("a message of several lines", str(error)) from None
        raise
    except Exception as error:  # noqa: BLE001 - any is a bug
        raise _escaped(error) from None
    if before is not None and given.SerializeToString(deterministic=True) != before:
        raise Bug("the model that was given has changed")
    if not result.ok:
        raise Bug("the result is not ok", _told(result))
    return result


def _escaped(error: BaseException) -> Bug:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if f"{os.sep}trtfuse{os.sep}" in f.filename] or list(frames)
    where = "?"
    if inside:
        where = f"{'/'.join(Path(inside[-1].filename).parts[-2:])} {inside[-1].name}"
    message = f"{type(error).__name__} in {where}: {_alike(str(error))}"
    return Bug(message, "".join(traceback.format_exception(error)))


def _refused(error: trtfuse.TrtfuseError, original: Any) -> Verdict:
    message = str(error)
    if isinstance(original, str):
        return Verdict("refused-both", _alike(message), message)
    if any(re.search(pattern, message) for pattern, _ in STATED):
        return Verdict("refused-stated", _alike(message), message)
    return Verdict("refused-only-us", _alike(message), message)


def _check_result(case: _Case, result: trtfuse.FusionResult, *, full_check: bool = True) -> None:
    """The checker passes what it passed before, and a second run changes nothing."""
    if full_check and not case.made.files and (wrong := _not_valid(result.model)):
        original = case.parsed()
        if original is not None and not _not_valid(original):
            raise Bug(f"the full check fails: {_alike(wrong)}", f"{wrong}\n{_told(result)}")
    if case.made.files:
        return
    content = result.model.SerializeToString(deterministic=True)
    try:
        again = case.fused(content)
    except trtfuse.TrtfuseError as error:
        message = f"the result is refused: {_alike(str(error))}"
        raise Bug(message, f"{error}\n{_told(result)}") from None
    except Exception as error:  # noqa: BLE001 - any is a bug
        bug = _escaped(error)
        raise Bug(f"second run: {bug.reason}", bug.detail) from None
    if again.model.SerializeToString(deterministic=True) != content:
        rules = ", ".join(
            sorted({each.rule for each in again.report.fused if each.kind == "rewrite"})
        )
        raise Bug(f"a second run changes the result [{rules}]", _told(again))


def _check_interface(before: Any, after: Any, result: trtfuse.FusionResult) -> None:
    for what in ("get_inputs", "get_outputs"):
        one, other = ([(i.name, i.type) for i in getattr(s, what)()] for s in (before, after))
        if one != other:
            raise Bug(f"other {what[4:]}", f"{one}\n{other}\n{_told(result)}")


def _not_valid(model: ModelProto) -> str | None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # noqa: BLE001 - it raises types of its own
        return str(error)
    return None


def _told(result: trtfuse.FusionResult) -> str:
    return "\n".join(f"{each.rule}: {each.name}" for each in result.report.fused)


# ONNX Runtime


@dataclass(frozen=True)
class _Run:
    """Inputs that the original runs on, and what it computes."""

    feeds: dict[str, Any]
    outputs: list[Any]


def session(source: bytes | str) -> ort.InferenceSession:
    """A session with none of ONNX Runtime's own optimizations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    return ort.InferenceSession(source, options, ["CPUExecutionProvider"])


def _loaded(source: bytes | str) -> ort.InferenceSession | str:
    """A session, or why there is none."""
    try:
        return session(source)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises types of its own
        return str(error) or type(error).__name__


def _sessions(case: _Case) -> Callable[[ModelProto], ort.InferenceSession | None]:
    """Loads other models in the place of the original, as far as they have no files."""

    def load(model: ModelProto) -> ort.InferenceSession | None:
        if case.made.files:
            return None
        loaded = _loaded(model.SerializeToString())
        return None if isinstance(loaded, str) else loaded

    return load


def _runs(loaded: ort.InferenceSession, made: Made, scalars: set[str]) -> list[_Run]:
    rng = np.random.default_rng(made.number % 2**32)
    runs: list[_Run] = []
    overridable = loaded.get_overridable_initializers()
    for given in _tried(loaded.get_inputs(), made.seed.feeds, rng, scalars):
        if runs and overridable:
            # Weights that are inputs as well take other numbers in the second run.
            with contextlib.suppress(CannotFeed):
                given |= next(iter(feeds(overridable, (), rng)))
        try:
            outputs = loaded.run(None, given)
        except Exception:  # noqa: BLE001 - ONNX Runtime raises types of its own
            continue
        runs.append(_Run(given, outputs))
        if len(runs) == _COMPARED:
            break
    return runs


def _tried(
    inputs: Any,
    given: Iterable[Mapping[str, Any]],
    rng: np.random.Generator,
    scalars: set[str],
) -> Iterable[dict[str, Any]]:
    try:
        yield from feeds(inputs, tuple(given), rng, scalars)
    except CannotFeed:
        return


def _alike(message: str) -> str:
    """A message without what is of this model alone."""
    text = " ".join(message.split())
    text = re.sub(r"<[\w. ]+ object at 0x\w+>|/[\w./-]+/", "", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "_", text)
    text = re.sub(r"(?<![\w])-?\d[\d.]*", "N", text)
    return text[:160]
