"""The groups that trtfuse finds in models, and how many of them the builder runs as one kernel.

    python benchmarks/groups.py resnet.onnx models/

It needs TensorRT for RTX or TensorRT. See README.md beside this file for what is measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import trtfuse
from trtfuse.check.model import running_shapes
from trtfuse.ir.model import read_model
from trtfuse.result.comparison import CONFIRMED

#: Operators that move data or reckon with shapes, and compute nothing.
MOVES = frozenset(
    (
        "Cast", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten",
        "Gather", "Identity", "Pad", "Range", "Reshape", "Shape", "Slice", "SpaceToDepth", "Split",
        "Squeeze", "Tile", "Transpose", "Unsqueeze",
    )
)  # fmt: skip

HEADS = (
    "model", "nodes", "compute nodes", "in groups", "groups", "one kernel", "MLPs by layer",
    "by rule: groups, of which one kernel",
)  # fmt: skip


def row(source: Path, target: str | None) -> list[str]:
    """What there is to say of one model."""
    flat = trtfuse.fuse(source, verify="none", groups="flat", target=target).report
    computing = sum(n for op, n in flat.after.operators.items() if op not in MOVES)
    groups = [fusion for fusion in flat.fused if fusion.kind == "group"]
    inside = sum(op not in MOVES for fusion in groups for op in fusion.operators)
    result = trtfuse.fuse(source, verify="none", target=target)
    shapes = running_shapes(read_model(source), {})
    engine = trtfuse.build(result, shapes=shapes, targets=(target,) if target else ())
    outcomes = [o for o in trtfuse.agreement(result, engine.layers).fusions if o.kind == "group"]
    confirmed = Counter(o.rule for o in outcomes if o.outcome in CONFIRMED)
    # MLPs that run as one kernel for each layer, or more, as TensorRT for RTX has it.
    layered = sum(o.rule == "mlp" and len(o.kernels) >= _layers(o.name) for o in outcomes)
    found = Counter(fusion.rule for fusion in groups)
    rules = ", ".join(f"{rule} {count}/{confirmed[rule]}" for rule, count in found.items())
    share = f"{inside} ({inside / computing:.0%})" if computing else "0"
    counts = (flat.after.nodes, computing, share, len(groups), confirmed.total(), layered)
    return [source.stem, *map(str, counts), rules]


def _layers(name: str) -> int:
    return int(name.partition("-")[0])


def models(paths: list[Path]) -> Iterator[Path]:
    """The models in folders, and those given."""
    for path in paths:
        yield from sorted(path.glob("*.onnx")) if path.is_dir() else [path]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="MODEL", help="models or folders")
    parser.add_argument("--target", help="compute capability, like 8.6")
    given = parser.parse_args()
    for cells in (HEADS, ["---"] * len(HEADS)):
        print(f"| {' | '.join(cells)} |")
    for path in models(given.paths):
        print(f"| {' | '.join(row(path, given.target))} |", flush=True)


if __name__ == "__main__":
    main()
