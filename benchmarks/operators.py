"""Counts the operators that trtfuse and other ONNX optimizers leave, and checks what is left.

    python benchmarks/operators.py resnet.onnx models/
    python benchmarks/operators.py --tools trtfuse,onnxslim --operators model.onnx

See README.md beside this file for what is counted, and how it is checked.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import onnx
import onnx.inliner
from onnx import NodeProto
from onnx.external_data_helper import ExternalDataInfo
from optimizers import PACKAGES, TOOLS
from speed import OVER, apart

import trtfuse
from trtfuse import ModelError

BEFORE = "before"
UNCHECKED = "the check takes longer than the limit"
#: The tools of the table; `trtfuse-checked` leaves the same nodes as `trtfuse`.
SHOWN = ("trtfuse", "onnxslim", "onnxsim", "onnxscript", "onnxruntime")


@dataclass
class Count:
    """What a file holds.

    Attributes:
        operators: how often each is in the graph, bodies of control flow and of local functions
            included, Constant left out.
        size: bytes of the file, and of external data.
        trouble: what is wrong with it, or why there is no file: `OVER`, or a sentence.
    """

    operators: dict[str, int] = field(default_factory=dict)
    size: int = 0
    trouble: str = ""

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(self.operators.values())


def counted(path: Path) -> Count:
    """What a file holds; a local function counts wherever it is called."""
    model = onnx.load(path, load_external_data=False)
    external = sum(int(ExternalDataInfo(t).length or 0) for t in model.graph.initializer)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    operators = Counter(map(_operator, _nodes(model.graph.node)))
    del operators["Constant"]
    return Count(dict(operators), path.stat().st_size + external)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body.node)


def _operator(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def reduce(name: str, source: Path, target: Path) -> None:
    """Runs one tool, from file to file."""
    tool = TOOLS[name]()
    tool.save(tool.optimize(tool.load(source)), target)


def differs(source: Path, target: Path) -> str:
    """What is wrong with a result, or nothing: it is valid and computes what the original does."""
    found = trtfuse.verify(source, target)
    return "" if found.ok else "; ".join(found.notes)


def compare(tools: list[str], source: Path, limit: float) -> dict[str, Count]:
    """What each tool makes of one file; nothing if the file itself cannot be checked."""
    results = {BEFORE: counted(source)}
    results[BEFORE].trouble = _checked(source, source, limit)
    for name in tools if not results[BEFORE].trouble else []:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "out.onnx")
            try:
                apart(reduce, name, source, target, limit=limit)
            except (TimeoutError, RuntimeError) as error:
                results[name] = Count(trouble=str(error) or OVER)
            else:
                results[name] = counted(target)
                results[name].trouble = _checked(source, target, limit)
        said = results[name].trouble or f"{results[name].nodes} nodes"
        print(f"{source.name}  {name}: {said}", file=sys.stderr, flush=True)
    return results


def _checked(source: Path, target: Path, limit: float) -> str:
    try:
        wrong: str = apart(differs, source, target, limit=limit)
    except TimeoutError:
        return UNCHECKED
    except RuntimeError as error:
        return str(error)
    return wrong


def show(results: dict[str, dict[str, Count]], tools: list[str], histograms: bool) -> str:
    """The results as Markdown: a row for each model, a column for each tool."""
    columns = [BEFORE, *tools]

    def table(corner: str, rows: Iterable[list[str]]) -> str:
        lines = [[corner, *columns], ["---", *("--:" for _ in columns)], *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def nodes(counts: dict[str, Count]) -> list[str]:
        fewest = min(count.nodes for count in counts.values() if not count.trouble)
        return [_cell(count, count.nodes == fewest) for count in counts.values()]

    whole = {source: counts for source, counts in results.items() if not counts[BEFORE].trouble}
    rows = [[source, *nodes(counts)] for source, counts in whole.items()]
    # The sums are of the same models for each tool: of those that all of them get right.
    right = [row for row in whole.values() if not any(count.trouble for count in row.values())]
    sums = [sum(row[column].nodes for row in right) for column in columns]
    rows.append([f"sum of the {len(right)} that all get right", *map(str, sums)])
    sizes = [
        [source, *(f"{count.size / 1000:.0f}" if count.size else "-" for count in counts.values())]
        for source, counts in whole.items()
    ]
    texts = [f"Nodes\n\n{table('', rows)}", f"Size, kB\n\n{table('', sizes)}"]
    if histograms:
        for source, counts in whole.items():
            names = sorted(set().union(*(count.operators for count in counts.values())))
            found = ([n, *(str(c.operators.get(n, "")) for c in counts.values())] for n in names)
            texts.append(f"{source}\n\n{table('', found)}")
    troubles = [
        f"- {tool} on {source}: {count.trouble}\n"
        for source, counts in results.items()
        for tool, count in counts.items()
        if count.trouble
    ]
    return "\n".join([*texts, *(["Failed or wrong:\n\n" + "".join(troubles)] if troubles else [])])


def _cell(count: Count, fewest: bool) -> str:
    if not count.size:
        return "> limit" if count.trouble == OVER else "failed"
    if count.trouble == UNCHECKED:
        return f"unchecked ({count.nodes})"
    if count.trouble:
        kind = "invalid" if count.trouble.startswith(ModelError.__name__) else "wrong"
        return f"{kind} ({count.nodes})"
    return f"**{count.nodes}**" if fewest else str(count.nodes)


def main() -> None:
    """Reads the command line, runs the tools, prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("models", type=Path, nargs="+", help="files or folders")
    add("--limit", type=float, default=120.0, help="seconds a tool, or a check, may take")
    add("--tools", default=",".join(SHOWN), help=f"some of {','.join(TOOLS)} (%(default)s)")
    add("--operators", action="store_true", help="also show which operators are left, by model")
    add("--json", type=Path, help="also write everything here")
    given = parser.parse_args()
    tools = given.tools.split(",")
    if unknown := [tool for tool in tools if tool not in TOOLS]:
        parser.error(f"unknown tool '{unknown[0]}'; there are {', '.join(TOOLS)}")
    results: dict[str, dict[str, Count]] = {}
    for model in given.models:
        for path in sorted(model.glob("*.onnx")) if model.is_dir() else [model]:
            name = str(path) if path.name in results else path.name
            results[name] = compare(tools, path, given.limit)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    if given.json:
        counts = {m: {t: asdict(c) for t, c in row.items()} for m, row in results.items()}
        text = json.dumps({"versions": versions, "results": counts}, indent=2)
        given.json.write_text(text + "\n")
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + "\n")
    print(show(results, tools, given.operators))


if __name__ == "__main__":
    main()
