"""What each rule does to the engine where it stands: both spellings built, side by side.

    python benchmarks/contexts.py
    python benchmarks/contexts.py --rules mean-pool,l2-norm --types float16 --objectives graph
    python benchmarks/contexts.py --json rows.json --markdown table.md
    python benchmarks/contexts.py --read rows.json more.json --markdown table.md

A rule is tried alone, on small models: something before the pattern, the pattern, something after.
It needs TensorRT for RTX, and no GPU. A row is worse if it has more kernels, or 0.2 % more traffic.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper, parser
from subjects import Array, Shape, Subject, listed, subjects

import trtfuse
from trtfuse.engine.backend import find_backend

#: A row as it stands in a file.
Data = dict[str, Any]

#: More traffic than this, relative to the original, is worse.
MORE = 1.002
#: Unless it is no more than so many bytes: a constant is read that was computed.
FEW_BYTES = 1024

#: What stands before the pattern: from `x0` to `x`. PADS keep the sizes of a 3-wide kernel.
BEFORE = {
    "input": "",
    "convolution": "x = Conv<pads = PADS>(x0, before)",
    "conv + relu": "q0 = Conv<pads = PADS>(x0, before) x = Relu(q0)",
    "pointwise": "x = Sigmoid(x0)",
    "product": "x = MatMul(x0, before)",
    "quantized": "q8 = QuantizeLinear(x0, step, point) x = DequantizeLinear(q8, step, point)",
}
#: What stands after it: from `y` to `z`.
AFTER = {
    "output": "",
    "pointwise": "z = Sigmoid(y)",
    "convolution": "z = Conv(y, after)",
    "product": "z = MatMul(y, after)",
    "gate": "g0 = Sigmoid(y) z = Mul(x, g0)",
    "beside max": "z0 = GlobalMaxPool(x) z = Add(y, z0)",
    "quantized": "q9 = QuantizeLinear(y, step, point) z = DequantizeLinear(q9, step, point)",
}
#: What is worth quantizing.
LAYERS = ("convolution", "product")
#: What is tried with the first shape of a pattern only.
FIRST_SHAPE = ("conv + relu", "pointwise", "quantized")
#: What is tried with the fusion list only, and not with what cleans up.
OF_FUSIONS = ("conv + relu", "gate")
#: Float16 is quantized from this opset on.
FLOAT16_STEPS = 19

TYPES = {"float": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
OBJECTIVES = ("safe", "graph")


def _draw(shape: Shape, rng: np.random.Generator) -> Array:
    numbers = rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5
    # None so near to 0 that float16 would not hold what it scales.
    return (numbers + np.copysign(0.05, numbers)).astype(np.float32)


def _model(
    text: str, names: tuple[str, str], shape: Shape, weights: Mapping[str, Array], opset: int,
    element: str,
) -> ModelProto:  # fmt: skip
    source, target = names
    text = text.replace("TYPE", str(TYPES[element])).replace("ELEMENT", element)
    header = f'<ir_version: {10 if opset > 21 else 8}, opset_import: ["": {opset}]>'
    signature = f"({element}{listed(shape)} {source}) => ({element} {target})"
    made = parser.parse_model(f"{header} context {signature} {{ {text} }}")
    read = {name for node in made.graph.node for name in node.input}
    for name in sorted(read & weights.keys()):
        numbers = weights[name]
        if numbers.dtype == np.float32 and element == "float16":
            numbers = numbers.astype(np.float16)
        made.graph.initializer.append(numpy_helper.from_array(numbers, name))
    for index, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{index}"
    # Its shape is what inference finds.
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


@functools.cache
def _entries() -> dict[str, str]:
    """The entry of each rule in the fusion list."""
    return {rule.name: rule.entry.label for rule in trtfuse.rules()}


def contexts(subject: Subject, shape: Shape, element: str) -> Iterator[tuple[str, str, ModelProto]]:
    """The models to try a pattern in, each with what is before and after it."""
    rng = np.random.default_rng(0)
    weights = {
        name: _draw(tuple(shape[1] if size == -1 else size for size in given), rng)
        if isinstance(given, tuple)
        else given
        for name, given in subject.weights.items()
    }
    alone = _model(subject.text, ("x", "y"), shape, weights, subject.opset, element)
    out = tuple(dim.dim_value for dim in alone.graph.output[0].type.tensor_type.shape.dim)
    spatial = subject.spatial or len(shape) >= 4
    axes = len(shape) - 2
    cleans = _entries()[subject.rule] in ("Cleanup", "C4")
    broadcasts = len(out) == len(shape) and all(
        a in (1, b) for a, b in zip(out, shape, strict=True)
    )
    quantizes = element == "float" or subject.opset >= FLOAT16_STEPS
    fits_before = {
        "convolution": spatial,
        "conv + relu": spatial,
        "product": not spatial,
        "quantized": quantizes,
    }
    fits_after = {
        "convolution": len(out) == len(shape) if spatial else len(out) == 4,
        "product": not spatial and len(out) == len(shape) and out[-1] > 1,
        "gate": broadcasts,
        "beside max": spatial and out == (*shape[:2], *(1,) * axes),
        "quantized": quantizes,
    }
    steps = {"step": np.array(0.1, np.float32), "point": np.array(0, np.int8)}
    for (before, head), (after, tail) in itertools.product(BEFORE.items(), AFTER.items()):
        if not fits_before.get(before, True) or not fits_after.get(after, True):
            continue
        if shape != subject.shapes[0] and not {before, after}.isdisjoint(FIRST_SHAPE):
            continue
        if cleans and not {before, after}.isdisjoint(OF_FUSIONS):
            continue
        if "quantized" in (before, after) and {before, after}.isdisjoint(LAYERS):
            continue
        around = weights | steps
        kernel = (shape[1], shape[1], *(3,) * axes)
        around["before"] = _draw(kernel if spatial else (shape[-1],) * 2, rng)
        if after in ("convolution", "product"):
            ones = (1,) * (len(out) - 2)
            around["after"] = _draw(
                (16, out[1], *ones) if after == "convolution" else (out[-1], 24), rng
            )
        names = ("x0" if head else "x", "z" if tail else "y")
        text = f"{head} {subject.text} {tail}".replace("PADS", listed((1,) * 2 * axes))
        yield before, after, _model(text, names, shape, around, subject.opset, element)


@dataclass(frozen=True)
class Engine:
    """What is compared of an engine; a model that TensorRT refuses has none."""

    kernels: int
    traffic: int


@dataclass(frozen=True)
class Row:
    """Both spellings of one pattern in one context, and whether the rule was applied."""

    subject: Subject
    shape: Shape
    element: str
    objective: str
    before: str
    after: str
    original: Engine | None
    result: Engine | None
    made: bool

    @property
    def verdict(self) -> str:
        old, new = self.original, self.result
        if old is None or new is None:
            return "better" if new is not None else "worse" if old is not None else "unbuilt"
        more = new.traffic > MORE * old.traffic
        if new.kernels > old.kernels or (more and new.traffic > old.traffic + FEW_BYTES):
            return "worse"
        if more and new.kernels == old.kernels:
            return "constant"
        if not self.made:
            # What it needs may be made all the same.
            return "held"
        fewer = new.kernels < old.kernels or new.traffic * MORE < old.traffic
        return "better" if fewer else "same"

    def __str__(self) -> str:
        old, new = ("-" if each is None else f"{each.kernels:2} {each.traffic / 1e6:7.3f}"
                    for each in (self.original, self.result))  # fmt: skip
        where = f"{self.before} / {self.after}"
        return (
            f"{self.verdict:8} {self.objective:5} {self.subject.rule:18} {where:25} "
            f"{self.element:8} {listed(self.shape):19} {old} -> {new}  {self.subject.text}"
        )

    def data(self) -> Data:
        """All of it, for JSON."""
        return {
            "rule": self.subject.rule,
            "about": self.subject.about,
            "nodes": self.subject.text,
            "opset": self.subject.opset,
            "shape": list(self.shape),
            "type": self.element,
            "objective": self.objective,
            "before": self.before,
            "after": self.after,
            "kernels": [each and each.kernels for each in (self.original, self.result)],
            "traffic": [each and each.traffic for each in (self.original, self.result)],
            "verdict": self.verdict,
        }


#: Engines by what was built, so that a model of several rows is built once in a process.
_BUILT: dict[bytes, Engine | None] = {}


def _engine(model: ModelProto) -> Engine | None:
    content = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
    if content not in _BUILT:
        try:
            built = trtfuse.build(model, in_process=True)
            _BUILT[content] = Engine(built.kernels, built.traffic)
        except trtfuse.EngineError:
            _BUILT[content] = None
    return _BUILT[content]


def rows(subject: Subject, element: str, *objectives: str) -> list[Row]:
    """The rows of a pattern, for each objective."""
    tried = []
    for shape in subject.shapes:
        for before, after, model in contexts(subject, shape, element):
            for objective in objectives:
                result = trtfuse.fuse(
                    model,
                    rules=subject.rules.split(),
                    groups="off",
                    verify="none",
                    objective=objective,
                )
                made = {fusion.rule for fusion in result.report.fused}
                engines = _engine(model), _engine(result.model if made else model)
                applied = subject.rule in made
                tried.append(
                    Row(subject, shape, element, objective, before, after, *engines, applied)
                )
    return tried


VERDICTS = ("better", "same", "constant", "held", "worse")
#: What sets the patterns of a rule apart in the table.
TELLING = frozenset((objective, verdict) for objective in OBJECTIVES for verdict in VERDICTS[3:])


def _variants(rows: Iterable[Data]) -> Iterator[tuple[str, str, list[Data]]]:
    """The rows of each rule, apart by what its patterns are about where that decides."""
    for rule, of_rule in itertools.groupby(rows, lambda row: row["rule"]):
        by_about: dict[str, list[Data]] = {}
        for row in of_rule:
            by_about.setdefault(row["about"], []).append(row)
        telling = {
            frozenset((row["objective"], row["verdict"]) for row in of_variant) & TELLING
            for of_variant in by_about.values()
        }
        if len(telling) == 1:
            yield rule, "", [row for of_variant in by_about.values() for row in of_variant]
        else:
            yield from ((rule, about, of_variant) for about, of_variant in by_about.items())


def _cell(of_variant: list[Data], objective: str, element: str) -> str:
    counts = Counter(
        row["verdict"]
        for row in of_variant
        if (row["objective"], row["type"]) == (objective, element)
    )
    return " / ".join(str(counts[verdict]) for verdict in VERDICTS) if counts else ""


def _worst(of_variant: list[Data]) -> str:
    """What the rewrite costs at worst where nothing is held back: kernels, and traffic."""
    built = [
        (*row["kernels"], *row["traffic"])
        for row in of_variant
        if row["objective"] == "graph" and None not in row["kernels"]
    ]
    if not built:
        return " | "
    before, after, *_ = max(built, key=lambda each: (each[1] - each[0], each[1] / each[0]))
    traffic = max(then / now for _, _, now, then in built)
    return f"{before} → {after} | {traffic:.2f}"


def table(rows: Iterable[Data]) -> str:
    """How many rows came out how, rule by rule, as Markdown."""
    columns = [(objective, element) for objective in OBJECTIVES for element in TYPES]
    named = " | ".join(f"{o}, {'fp16' if e == 'float16' else 'fp32'}" for o, e in columns)
    lines = [
        f"| rule | pattern | contexts | {named} | kernels at worst | traffic at worst |",
        f"| --- | --- | --: |{' --: |' * (len(columns) + 2)}",
    ]
    order = {name: index for index, name in enumerate(_entries())}
    for rule, about, of_variant in _variants(sorted(rows, key=lambda row: order[row["rule"]])):
        cells = " | ".join(_cell(of_variant, *column) for column in columns)
        tried = Counter((row["objective"], row["type"]) for row in of_variant)
        most = max(tried.values())
        lines.append(f"| {rule} | {about} | {most} | {cells} | {_worst(of_variant)} |")
    return "\n".join(lines)


def _work(job: tuple[Subject, str, tuple[str, ...]]) -> list[Row]:
    subject, element, objectives = job
    return rows(subject, element, *objectives)


def main() -> None:
    """Prints every row, and the table."""
    assert __doc__ is not None
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rules", default="", help="rules to try; all if omitted")
    arguments.add_argument("--types", default=",".join(TYPES), help="element types of x")
    arguments.add_argument("--objectives", default=",".join(OBJECTIVES), help="of the fusion")
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--json", type=Path, help="a file for every row")
    arguments.add_argument("--read", type=Path, nargs="+", help="such files, instead of building")
    arguments.add_argument("--markdown", type=Path, help="a file for the table")
    given = arguments.parse_args()
    chosen = set(filter(None, given.rules.split(",")))
    jobs = [
        (subject, element, tuple(given.objectives.split(",")))
        for subject in subjects()
        if not chosen or subject.rule in chosen
        for element in given.types.split(",")
    ]
    listed_rows: list[Data] = []
    if given.read:
        listed_rows = [
            row for path in given.read for row in json.loads(path.read_text("utf-8"))["rows"]
        ]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.processes, context) as pool:
            for of_job in pool.map(_work, jobs):
                for row in of_job:
                    print(row, flush=True)
                    listed_rows.append(row.data())
    made = table(listed_rows)
    print(made)
    if given.json is not None:
        backend = find_backend()
        data = {"backend": f"{backend.title} {backend.version}", "rows": listed_rows}
        given.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(made + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
