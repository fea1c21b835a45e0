"""`trtfuse build`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from command_line import Run, parsed, refused


def test_build_writes_beside_the_model_and_says_how_large_it_is(folder: Path, run: Run) -> None:
    ran = run("build", "m.onnx")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert re.fullmatch(r"m\.onnx: built with TensorRT for RTX [\d.]+ in \d+\.\d\d s", lines[0])
    rows = dict(line.split(maxsplit=1) for line in lines[2:8])
    assert list(rows) == ["kernels", "traffic", "engine", "weights", "activations", "scratch"]
    size = (folder / "m.engine").stat().st_size
    assert size > 100_000
    assert rows["engine"] == f"{size / 1000:.3g} kB"
    assert lines[-1] == "wrote m.engine"
    assert sorted(os.listdir(folder)) == ["m.engine", "m.onnx"]


def test_a_build_with_everything_that_can_be_said(folder: Path, run: Run) -> None:
    made = parsed(
        "(float[N, 3] x, int64[N, 3] i) => (float[N, 3] y) "
        "{ [cast] c = Cast <to = 1> (i) [add] y = Add(x, c) }"
    )
    onnx.save(made, folder / "d.onnx")
    shapes = ("--shapes", "x:1x3..2x3..4x3", "--shapes", "i:1,3..2,3..4,3")
    options = ("--target", "8.6, 8.9", "--workspace", "64", "--level", "1", "-v")
    ran = run("build", "d.onnx", "-o", "out.plan", *shapes, *options)
    assert (ran.code, ran.err) == (0, "")
    assert "built for    compute capability 8.6, 8.9\n" in ran.out
    assert "shape of x   1x3..2x3..4x3\n" in ran.out
    assert "\ntraffic" not in ran.out
    assert "Make sure input i has Int64 binding." in ran.out
    assert re.search(r"\n  \S+ \(\w+\): cast, add\n", ran.out)
    assert ran.out.endswith("\nwrote out.plan\n")
    brief = run("build", "d.onnx", "-o", "out.plan", *shapes)
    assert re.search(r"\n\d+ warnings?; -v shows them\nwrote out.plan\n$", brief.out)
    quiet = run("build", "d.onnx", "--shapes", "x:4x3", "--shapes", "i:4x3", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert sorted(os.listdir(folder)) == ["d.engine", "d.onnx", "m.onnx", "out.plan"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.onnx"], "cannot read 'none.onnx': No such file or directory"),
        (["m.onnx", "-o", "m.onnx"], "input and output are both 'm.onnx'; write to another file"),
        (
            ["m.onnx", "-o", "no/m.engine"],
            "cannot write 'no/m.engine': there is no folder 'no'",
        ),
        (["m.onnx", "-o", "."], "cannot write '.': it is a folder"),
        (
            ["m.onnx", "--shapes", "z:1x2"],
            "'m.onnx' has no input 'z' to have a shape; its inputs are: 'x'",
        ),
        (
            ["m.onnx", "--shapes", "x:1x2x4x5"],
            "input 'x' of 'm.onnx' is [1, 2, 4, 4], with 4 at axis 3; 1x2x4x5 does not fit",
        ),
        (
            ["m.onnx", "--backend", "tensorrt-rtx"],
            "there is no backend 'tensorrt-rtx'; did you mean 'tensorrt_rtx'?",
        ),
        (
            ["m.onnx", "--timing-cache", "t", "--backend", "tensorrt_rtx"],
            "TensorRT for RTX has no timing cache; leave it out",
        ),
    ],
)
def test_builds_that_are_refused(run: Run, arguments: list[str], reason: str) -> None:
    assert refused(run, "build", *arguments) == reason


def test_a_target_that_there_is_not(run: Run) -> None:
    said = refused(run, "build", "m.onnx", "--target", "9.0")
    assert re.fullmatch(
        r"TensorRT for RTX [\d.]+ cannot build for compute capability '9\.0'; it knows [\d., ]+",
        said,
    )


def test_nodes_that_tensorrt_cannot_take_are_listed_when_asked(folder: Path, run: Run) -> None:
    nodes = " ".join(f"[u{n}] y{n} = Unique(x)" for n in range(7))
    onnx.save(parsed(f"(float[2] x) => (float[?] y0) {{ {nodes} }}"), folder / "u.onnx")
    said = refused(run, "build", "u.onnx")
    assert said == (
        "TensorRT for RTX cannot take 7 nodes of 'u.onnx': Unique 'u0', 'u1', 'u2', 'u3', 'u4' and "
        "2 more: it has no such operator; spell it with operators that TensorRT has, or run it "
        "outside the engine"
    )
    listed = run("build", "u.onnx", "-v").err.splitlines()
    assert listed[-1] == f"trtfuse: {said}"
    assert [line.split(":")[0] for line in listed[:-1]] == [f"  Unique 'u{n}'" for n in range(7)]


def test_a_build_without_tensorrt_says_what_to_install(folder: Path) -> None:
    program = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('tensorrt', 'tensorrt_rtx'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "from trtfuse.cli import main\n"
        "main(['build', 'm.onnx'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "trtfuse: no TensorRT is installed; pip install 'trtfuse[rtx]' gets one that builds "
        "engines without a GPU, pip install 'trtfuse[tensorrt]' the full one\n"
    )
    assert os.listdir(folder) == ["m.onnx"]
