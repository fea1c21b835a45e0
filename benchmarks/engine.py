"""What TensorRT's builder makes of models, and of what trtfuse and other optimizers leave of them.

    python benchmarks/engine.py resnet.onnx models/
    python benchmarks/engine.py --tools trtfuse,onnxslim --target 8.6 model.onnx

It needs TensorRT for RTX or TensorRT. See README.md beside this file for what is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from operators import SHOWN, reduce
from optimizers import PACKAGES, TOOLS
from speed import OVER, apart

import trtfuse
from trtfuse.check.model import running_shapes
from trtfuse.ir.model import read_model
from trtfuse.result.comparison import CONFIRMED

ORIGINAL = "original"
Shapes = dict[str, tuple[int, ...]]


@dataclass
class Cell:
    """What the builder made of one file.

    Attributes:
        kernels: how many one pass runs.
        traffic: bytes that they read and write; None where sizes are not known.
        seconds: of the build, the median of its repeats.
        cpu: processor seconds of the same with reading the model, of all threads.
        size: bytes of the engine.
        trouble: why there are no figures, if there are none: `OVER`, or a sentence.
    """

    kernels: int | None = None
    traffic: int | None = None
    seconds: float | None = None
    cpu: float | None = None
    size: int | None = None
    trouble: str = ""


def fixed(source: Path) -> Shapes:
    """Shapes for the inputs of a model, the first at which ONNX Runtime runs it."""
    return running_shapes(read_model(source), {})


def measure(path: Path, shapes: Shapes, target: str | None, repeats: int) -> Cell:
    """Builds one file, again and again."""
    engines, cpu = [], []
    for _ in range(repeats):
        start = time.process_time()
        engines.append(trtfuse.build(path, shapes=shapes, targets=(target,) if target else ()))
        cpu.append(time.process_time() - start)
    try:
        traffic = engines[0].traffic
    except trtfuse.EngineError:
        traffic = None
    seconds = statistics.median(engine.seconds for engine in engines)
    first = engines[0]
    return Cell(first.kernels, traffic, seconds, statistics.median(cpu), first.sizes.engine)


def agree(source: Path, shapes: Shapes, target: str | None) -> dict[str, int]:
    """What the builder did with the fusions of trtfuse: how many came out how."""
    result = trtfuse.fuse(source, verify="none")
    engine = trtfuse.build(result, shapes=shapes, targets=(target,) if target else ())
    found = trtfuse.agreement(result, engine.layers)
    return {str(outcome): count for outcome, count in found.counts.items()}


def compare(
    tools: list[str], source: Path, target: str | None, repeats: int, limit: float
) -> tuple[dict[str, Cell], dict[str, int]]:
    """What the builder makes of a model and of each tool's result, and the agreement with trtfuse.

    If it does not take the model itself, there is nothing else to see.
    """
    found: dict[str, Cell] = {}
    agreement: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (ORIGINAL, *tools):
            path = source if name == ORIGINAL else Path(folder, f"{name}.onnx")
            try:
                if name == ORIGINAL:
                    shapes: Shapes = apart(fixed, source, limit=limit)
                else:
                    apart(reduce, name, source, path, limit=limit)
                found[name] = apart(measure, path, shapes, target, repeats, limit=limit)
            except (TimeoutError, RuntimeError) as error:
                found[name] = Cell(trouble=str(error) or OVER)
            cell = found[name]
            said = cell.trouble or f"{cell.kernels} kernels, {cell.seconds:.2f} s"
            print(f"{source.name}  {name}: {said}", file=sys.stderr, flush=True)
            if name == ORIGINAL and cell.trouble:
                break
            if name == "trtfuse" and not cell.trouble:
                agreement = apart(agree, source, shapes, target, limit=limit)
    return found, agreement


#: What is shown: the title of the table, the figure, how it is written.
FIGURES: tuple[tuple[str, Callable[[Cell], float | None], Callable[[float], str]], ...] = (
    ("Kernels", lambda cell: cell.kernels, lambda value: f"{value:.0f}"),
    ("Traffic, MB", lambda cell: cell.traffic, lambda value: f"{value / 1e6:.2f}"),
    ("Engine, MB", lambda cell: cell.size, lambda value: f"{value / 1e6:.2f}"),
    ("Build time, s", lambda cell: cell.seconds, lambda value: f"{value:.2f}"),
    ("Build, processor s", lambda cell: cell.cpu, lambda value: f"{value:.2f}"),
)


def show(
    results: dict[str, dict[str, Cell]], agreements: dict[str, dict[str, int]], tools: list[str]
) -> str:
    """The results as Markdown: a row for each model, a column for each tool."""
    columns = [ORIGINAL, *tools]
    built = {m: row for m, row in results.items() if not row[ORIGINAL].trouble}
    texts = []
    for title, figure, spelled in FIGURES:
        lines = [["", *columns], ["---", *("--:" for _ in columns)]]
        for model, row in built.items():
            lines.append([model, *(_cell(row[column], figure, spelled) for column in columns)])
        lines.append(_means(built, columns, figure))
        texts.append(f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    texts += [_agreed(agreements)] if agreements else []
    counts = {c: sum(not row[c].trouble for row in built.values()) for c in columns}
    texts.append(
        "Built: "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
        + f", of {len(results)}\n"
    )
    listed = [*_troubles(results), *_worse(built)]
    return "\n".join([*texts, *(["".join(f"- {line}\n" for line in listed)] if listed else [])])


def _agreed(agreements: dict[str, dict[str, int]]) -> str:
    """The fusions of trtfuse in the engine: how many came out how, by model, and the share."""
    outcomes = list(next(iter(agreements.values())))
    total = {o: sum(counts[o] for counts in agreements.values()) for o in outcomes}
    lines = [["", "fusions", *outcomes, "confirmed"], ["---", *("--:" for _ in range(6))]]
    for model, counts in {**agreements, "all": total}.items():
        fusions = sum(counts.values())
        confirmed = sum(counts[outcome] for outcome in CONFIRMED)
        share = f"{confirmed / fusions:.0%}" if fusions else "-"
        lines.append([model, str(fusions), *(str(counts[o]) for o in outcomes), share])
    return "Agreement\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(
    cell: Cell, figure: Callable[[Cell], float | None], spelled: Callable[[float], str]
) -> str:
    if cell.trouble:
        return "> limit" if cell.trouble == OVER else "fails"
    value = figure(cell)
    return "?" if value is None else spelled(value)


def _means(
    rows: dict[str, dict[str, Cell]],
    columns: list[str],
    figure: Callable[[Cell], float | None],
) -> list[str]:
    """The geometric means over the original, of the models that every tool gets built."""
    values = [[figure(row[column]) for column in columns] for row in rows.values()]
    whole = [[v for v in row if v] for row in values]
    whole = [row for row in whole if len(row) == len(columns)]
    means = [
        f"{math.exp(statistics.fmean(math.log(row[i] / row[0]) for row in whole)):.3f}"
        if whole
        else "-"
        for i in range(len(columns))
    ]
    return [f"geometric mean of {len(whole)}, over the original", *means]


def _troubles(results: dict[str, dict[str, Cell]]) -> Iterator[str]:
    for model, row in results.items():
        for name, cell in row.items():
            if cell.trouble:
                yield f"{name} on {model}: {cell.trouble}"


def _worse(built: dict[str, dict[str, Cell]]) -> Iterator[str]:
    """Where what trtfuse leaves takes more than the original."""
    for model, row in built.items():
        before, after = row[ORIGINAL], row.get("trtfuse", row[ORIGINAL])
        for title, figure, spelled in FIGURES[:2]:
            old, new = figure(before), figure(after)
            if old is not None and new is not None and new > old:
                yield f"{title} of {model}, more than the original: {spelled(old)}, {spelled(new)}"


def main() -> None:
    """Reads the command line, runs tools and builder, prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("models", type=Path, nargs="+", help="files or folders")
    add("--limit", type=float, default=300.0, help="seconds a tool, or the builds, may take")
    add("--repeats", type=int, default=3, help="how often to build each, for the time")
    add("--target", help="compute capability to build for (default: the package's own choice)")
    add("--tools", default=",".join(SHOWN), help=f"some of {','.join(TOOLS)} (%(default)s)")
    add("--json", type=Path, help="also write everything here")
    given = parser.parse_args()
    tools = given.tools.split(",")
    if unknown := [tool for tool in tools if tool not in TOOLS]:
        parser.error(f"unknown tool '{unknown[0]}'; there are {', '.join(TOOLS)}")
    results: dict[str, dict[str, Cell]] = {}
    agreements: dict[str, dict[str, int]] = {}
    for model in given.models:
        for path in sorted(model.glob("*.onnx")) if model.is_dir() else [model]:
            name = str(path) if path.name in results else path.name
            cells, agreed = compare(tools, path, given.target, given.repeats, given.limit)
            results[name] = cells
            agreements |= {name: agreed} if agreed else {}
    packages = (*PACKAGES, "tensorrt-rtx-cu13", "tensorrt")
    versions = {package: _version(package) for package in packages}
    if given.json:
        figures = {m: {t: asdict(c) for t, c in row.items()} for m, row in results.items()}
        content = {"versions": versions, "results": figures, "agreement": agreements}
        text = json.dumps(content, indent=2)
        given.json.write_text(text + "\n")
    print(", ".join(f"{name} {v}" for name, v in versions.items() if v) + "\n")
    print(show(results, agreements, tools))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
