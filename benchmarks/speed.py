"""Times trtfuse against other ONNX optimizers, on the same files, in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py --sizes 1000,10000 --tools trtfuse,onnxslim
    python benchmarks/speed.py --models resnet.onnx models/

See README.md beside this file for what is measured, and how.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from chains import chain
from optimizers import PACKAGES, TOOLS

#: Slopes are the time per node at the largest size over that at this one.
BASE = 10_000
OVER = "over the limit"


@dataclass
class Cell:
    """What one tool made of one model, over all repeats.

    Attributes:
        total: seconds from file to file.
        cpu: processor seconds of the same, of all threads.
        alone: seconds without load and save, where they can be told apart.
        peak: bytes of resident memory at most.
        nodes: how many nodes are left.
        trouble: why there are no figures, if there are none: `OVER`, or an error.
    """

    total: float | None = None
    cpu: float | None = None
    alone: float | None = None
    peak: int | None = None
    nodes: int | None = None
    repeats: int = 0
    trouble: str = ""


def measure(name: str, source: Path, target: Path) -> Cell:
    """Runs one tool once, in this process. What it imports is not counted."""
    tool = TOOLS[name]()
    start, cpu = time.perf_counter(), time.process_time()
    loaded = tool.load(source)
    begin = time.perf_counter()
    result = tool.optimize(loaded)
    end = time.perf_counter()
    tool.save(result, target)
    total, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    nodes = len(onnx.load(target, load_external_data=False).graph.node)
    return Cell(total, cpu, None if tool.whole else end - begin, peak, nodes, 1)


def apart(function: Callable[..., Any], *arguments: Any, limit: float | None = None) -> Any:
    """Runs a function in a process of its own; TimeoutError once it is over the limit."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_answer, args=(there, function, *arguments))
    process.start()
    there.close()
    try:
        if not here.poll(limit):
            raise TimeoutError
        answer = here.recv()
    except EOFError:
        process.join()
        answer = RuntimeError(f"ended with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(pipe: Any, function: Callable[..., Any], *arguments: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What tools print is no part of the tables.
    try:
        answer = function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
        answer = RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    pipe.send(answer)


def compare(tools: list[str], source: Path, limit: float, most: int) -> dict[str, Cell]:
    """Runs the tools in turn, again and again; medians of each.

    A tool gets another turn as long as its turns have taken less than a quarter of the limit.
    """
    runs: dict[str, list[Cell]] = {name: [] for name in tools}
    trouble: dict[str, str] = {}
    for _ in range(most):
        for name, done in runs.items():
            if name in trouble or sum(run.total or 0 for run in done) > limit / 4:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    target = Path(folder, "out.onnx")
                    done.append(apart(measure, name, source, target, limit=limit))
                except TimeoutError:
                    trouble[name] = OVER
                except RuntimeError as error:
                    trouble[name] = str(error)
            said = trouble.get(name) or f"{done[-1].total:.2f} s"
            print(f"{source.stem}  {name}: {said}", file=sys.stderr, flush=True)
    return {n: Cell(trouble=trouble[n]) if n in trouble else _median(runs[n]) for n in tools}


def _median(runs: list[Cell]) -> Cell:
    def middle(of: str) -> Any:
        found = [getattr(run, of) for run in runs]
        return None if None in found else statistics.median(found)

    fields = ("total", "cpu", "alone", "peak", "nodes")
    return Cell(**{field: middle(field) for field in fields}, repeats=len(runs))


def show(results: dict[str, dict[str, Cell]], tools: list[str], limit: float) -> str:
    """The results as Markdown: a row for each model, a column for each tool."""

    def table(title: str, cell: Callable[[str, str], str], last: list[str] | None = None) -> str:
        rows = [["", *tools], ["---", *("--:" for _ in tools)]]
        rows += [[source, *(cell(source, tool) for tool in tools)] for source in results]
        rows += [last] if last else []
        return f"{title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"

    def compared(field: str) -> Callable[[str, str], str]:
        def cell(source: str, tool: str) -> str:
            found, ours = results[source].get(tool), results[source].get("trtfuse")
            if found is None or found.trouble not in ("", OVER):
                return "skipped" if found is None else "failed"
            if found.trouble and field != "total":
                return "-"
            more = "> " if found.trouble else ""
            mine = limit if found.trouble else getattr(found, field)
            base = ours and getattr(ours, field)
            return f"{more}{mine:.3g}" + (f" ({more}{mine / base:.3g}x)" if base else "")

        return cell

    def of(field: str, unit: float, shape: str) -> Callable[[str, str], str]:
        def cell(source: str, tool: str) -> str:
            value = getattr(results[source].get(tool, Cell()), field)
            return "-" if value is None else format(value / unit, shape)

        return cell

    def slopes(field: str) -> list[str] | None:
        row = ["slope"]
        for tool in tools:
            found = {size: getattr(cells.get(tool), field, None) for size, cells in results.items()}
            per_node = {int(n): took / int(n) for n, took in found.items() if took and n.isdigit()}
            largest = max(per_node, default=0)
            known = largest > BASE and BASE in per_node
            row.append(f"{per_node[largest] / per_node[BASE]:.2f}" if known else "-")
        return row if str(BASE) in results else None

    tables = [
        table("Seconds from file to file (times trtfuse)", compared("total"), slopes("total")),
        table("Processor seconds of the same (times trtfuse)", compared("cpu"), slopes("cpu")),
        table("Seconds without load and save", of("alone", 1, ".3g")),
        table("Peak memory, MB", of("peak", 1e6, ".0f")),
        table("Nodes after", of("nodes", 1, ".0f")),
    ]
    failed = [
        f"- {tool} on {source}: {cell.trouble}\n"
        for source, cells in results.items()
        for tool, cell in cells.items()
        if cell.trouble not in ("", OVER)
    ]
    return "\n".join(tables) + ("\nFailed:\n\n" + "".join(failed) if failed else "")


def main() -> None:
    """Reads the command line, runs the tools, prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--sizes", default="1000,10000,100000,1000000", help="nodes of the chains")
    add("--limit", type=float, default=120.0, help="seconds a process may take, start included")
    add("--tools", default=",".join(TOOLS), help="some of %(default)s")
    add("--models", type=Path, nargs="+", default=[], help="files or folders, instead of chains")
    add("--json", type=Path, help="also write everything here")
    given = parser.parse_args()
    tools = given.tools.split(",")
    if unknown := [tool for tool in tools if tool not in TOOLS]:
        parser.error(f"unknown tool '{unknown[0]}'; there are {', '.join(TOOLS)}")
    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "limit": given.limit,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
    results: dict[str, dict[str, Cell]] = {}
    with tempfile.TemporaryDirectory() as folder:
        left = list(tools)
        for size in [] if given.models else sorted(map(int, given.sizes.split(","))):
            path = Path(folder, f"{size}.onnx")
            apart(chain, size, path)  # Apart, so that this process stays small.
            results[str(size)] = compare(left, path, given.limit, most=5)
            left = [tool for tool in left if not results[str(size)][tool].trouble]
            path.unlink()
    for model in given.models:
        for path in sorted(model.glob("*.onnx")) if model.is_dir() else [model]:
            results[path.name] = compare(tools, path, given.limit, most=3)
    if given.json:
        cells = {source: {t: asdict(c) for t, c in row.items()} for source, row in results.items()}
        given.json.write_text(json.dumps({**facts, "results": cells}, indent=2) + "\n")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"Python {facts['python']}, {facts['system']}, {facts['cpus']} CPUs; {versions}\n")
    print(show(results, tools, given.limit))


if __name__ == "__main__":
    main()
