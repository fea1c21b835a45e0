"""What the tests of the command line share: models, and runs of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, parser


def parsed(text: str, opset: str = '"": 17') -> ModelProto:
    return parser.parse_model(f"<ir_version: 8, opset_import: [{opset}]> g {text}")


CONV = parsed(
    """
    (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
    <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
      [conv1] a = Conv(x, w)
      [mul1] b = Mul(a, s)
      [relu1] y = Relu(b)
    }
    """
)


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file under a folder; of what is not a file, its kind."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file()
        else str(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


def refused(run: Run, *arguments: str | Path) -> str:
    """What a command that is refused says, in its one line."""
    before = contents(Path.cwd())
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("trtfuse: ")
    assert ran.err.endswith("\n")
    assert len(ran.err.splitlines()) == 1
    assert "internal error" not in ran.err
    assert contents(Path.cwd()) == before
    if arguments and arguments[0] in ("fuse", "verify", "build"):
        verbose = run(arguments[0], "-vv", *arguments[1:])
        assert verbose.code == 2
        assert verbose.err.startswith("Traceback (most recent call last):\n")
        assert verbose.err.endswith(ran.err)
        assert contents(Path.cwd()) == before
    return ran.err.removeprefix("trtfuse: ").removesuffix("\n")


def clipped(folder: Path, factor: float) -> None:
    proto = parsed(
        """(float[4] x) => (float[4] y) <float low = {-1000000}, float high = {1000000}> {
          [large] t = Mul(x, factor)
          [clip] u = Clip(t, low, high)
          y = Neg(u)
        }"""
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    onnx.save(proto, folder / "c.onnx")
