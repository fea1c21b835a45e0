"""Options of several commands: values that cannot be read are refused with an example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Run, parsed, refused

import trtfuse
from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.cli.options import ShapesType, Size


@pytest.mark.parametrize(
    "given", ["x", "x:a", "x:1,a", "x:1,,2", "x:-1,2", ":1,2", "x:1.5", "1,2", "n=", "n=1x2", "=1"]
)
def test_a_malformed_shape_is_refused_with_an_example(run: Run, given: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--shapes", given) == (
        f"Invalid value for '--shapes': '{given}' is not a shape; write it like x:1x3x640x640, or "
        "like batch=1"
    )


@pytest.mark.parametrize("level", ["rewrite", "model"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing:1,2,4,4", "the model has no input 'nothing'; it has x"),
        ("x:1,2,4", "input 'x' has shape [1, 2, 4, 4], which [1, 2, 4] does not fit"),
        ("x:1,3,4,4", "input 'x' has shape [1, 2, 4, 4], which [1, 3, 4, 4] does not fit"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(run: Run, level: str, given: str, said: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--verify", level, "--shapes", given) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no.npz", "cannot read 'no.npz': No such file or directory"),
        ("m.onnx", "inputs are read from .npz, .npy and .json files, not from 'm.onnx'"),
        ("empty", "the folder 'empty' has no .npz, .npy or .json files in it"),
        ("text.npz", "'text.npz' is not a .npz file; `numpy.savez` writes one"),
        ("text.json", "'text.json' is not JSON as `polygraphy run --save-inputs` writes it"),
        ("z.npz", "'z.npz' has an array 'z'; the model's inputs are x"),
        ("none.npz", "'none.npz' has no array for the input 'x'"),
        (
            "double.npz",
            "'x' in 'double.npz' is float64, but the input is float32; convert it with `.astype`",
        ),
        (
            "small.npy",
            "'x' in 'small.npy' has shape [1, 2], which does not fit the input's [1, 2, 4, 4]",
        ),
        (
            "pickled.npy",
            "'pickled.npy' has pickled Python objects, which are not read; save arrays of numbers",
        ),
    ],
)
def test_inputs_that_cannot_be_used_are_refused(
    folder: Path, run: Run, given: str, said: str
) -> None:
    (folder / "empty").mkdir()
    for name in ("text.npz", "text.json"):
        (folder / name).write_text("text", encoding="utf-8")
    np.savez(folder / "z.npz", z=np.ones(2))
    np.savez(folder / "none.npz")
    np.savez(folder / "double.npz", x=np.ones((1, 2, 4, 4)))
    np.save(folder / "small.npy", np.ones((1, 2), np.float32))
    np.save(folder / "pickled.npy", np.array([{}]), allow_pickle=True)
    assert refused(run, "fuse", "m.onnx", "--inputs", given) == said
    assert refused(run, "verify", "m.onnx", "m.onnx", "--inputs", given) == said


@pytest.mark.parametrize("shape", ["x", "x:", ":1x2", "x:1xa", "x:1..2", "x:-1x3", "x:1x2..3x4"])
def test_malformed_shapes_of_builds(run: Run, shape: str) -> None:
    if shape == "x:":
        # That of a single number, which x is not.
        reason = "input 'x' of 'm.onnx' is [1, 2, 4, 4], with 4 sizes; 0 were given"
    else:
        reason = (
            f"Invalid value for '--shapes': '{shape}' is not a shape; write it like x:1x3x640x640, "
            "or like batch=1; smallest, best and largest like x:1x3x8x8..4x3x8x8..8x3x8x8"
        )
    assert refused(run, "build", "m.onnx", "--shapes", shape) == reason


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("x:1x3x8x8", [("x", (1, 3, 8, 8))]),
        ("x:1,3,8,8", [("x", (1, 3, 8, 8))]),
        ("x:", [("x", ())]),
        ("batch=1", [("batch", 1)]),
        ("in:0:4", [("in:0", (4,))]),
        ("a=b:4", [("a=b", (4,))]),
        ("x:1x3,y:2,batch=4", [("x", (1, 3)), ("y", (2,)), ("batch", 4)]),
        ("x:1,3,y:2,5", [("x", (1, 3)), ("y", (2, 5))]),
    ],
)
def test_shapes_and_sizes_are_read(given: str, read: list[tuple[str, Any]]) -> None:
    assert ShapesType().convert(given, None, None) == read


def test_three_of_each_make_a_profile() -> None:
    read = ShapesType(ranges=True).convert("x:1x3..4x3..8x3,batch=1..4..8,y:2", None, None)
    assert read == [("x", ((1, 3), (4, 3), (8, 3))), ("batch", (1, 4, 8)), ("y", (2,))]


@pytest.mark.parametrize("command", ["verify", "compare"])
def test_the_old_spelling_of_shapes_goes_on_working(run: Run, command: str) -> None:
    if command == "compare":
        pytest.importorskip("tensorrt_rtx")
    ran = run(command, "m.onnx", "m.onnx", "--input-shapes", "x:1,2,4,4")
    assert (ran.code, ran.err) == (0, "trtfuse: --input-shapes is now --shapes\n")


def test_fuse_told_shapes_for_the_check_says_what_fixes_them(folder: Path, run: Run) -> None:
    made = parsed("(float[n, 4] x) => (float[m, k] y) { y = Relu(x) }")
    onnx.save(made, folder / "open.onnx")
    ran = run("fuse", "open.onnx", "--verify", "model", "--input-shapes", "x:3,4")
    assert ran.code == 0
    assert ran.err == (
        "trtfuse: --input-shapes sets sizes for the check alone; --shapes fixes them in the result "
        "as well\n"
    )
    (given,) = onnx.load(folder / "open.fused.onnx").graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.mark.parametrize("given", ["x:3x4", "n=3"])
def test_fuse_writes_a_model_of_the_sizes_that_are_given(
    folder: Path, run: Run, given: str
) -> None:
    made = parsed("(float[n, 4] x) => (float[m, k] y) { y = Relu(x) }")
    onnx.save(made, folder / "open.onnx")
    assert run("fuse", "open.onnx", "--shapes", given).code == 0
    graph = onnx.load(folder / "open.fused.onnx").graph
    for info in (graph.input[0], graph.output[0]):
        assert [dim.dim_value for dim in info.type.tensor_type.shape.dim] == [3, 4]
    assert run("verify", "open.onnx", "open.fused.onnx").code == 0
    assert run("explain", "open.onnx", "--shapes", given).code == 0


def test_build_proposes_shapes_that_run(folder: Path, run: Run) -> None:
    pytest.importorskip("tensorrt_rtx")
    onnx.save(parsed("(float[n, 4] x) => (float[m, k] y) { y = Relu(x) }"), folder / "open.onnx")
    said = refused(run, "build", "open.onnx")
    assert said == (
        "'open.onnx' leaves sizes open: input 'x' [n, 4]; say what to build for with --shapes or "
        "shapes=, for example --shapes x:1x4"
    )
    assert run("build", "open.onnx", "--shapes", "x:1x4", "-q").code == 0
    assert run("build", "open.onnx", "--shapes", "n=1..4..8", "-q").code == 0


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("0", 0),
        ("65536", 65536),
        ("12B", 12),
        ("2GB", 2 * 10**9),
        ("64KiB", 65536),
        ("64kib", 65536),
        ("64Ki", 65536),
        ("64K", 65536),
        ("500 MB", 5 * 10**8),
        ("1.5 GiB", 3 << 29),
        ("1TiB", 1 << 40),
        (" 3 kB ", 3000),
    ],
)
def test_sizes_have_units(given: str, size: int) -> None:
    assert Size().convert(given, None, None) == size


def test_the_default_of_the_limit_is_that_of_python(run: Run) -> None:
    assert Size().convert("64KiB", None, None) == FOLD_LIMIT
    assert "[default: 64KiB]" in " ".join(run("fuse", "--help").out.split())


@pytest.mark.parametrize("given", ["", "GB", "-1", "2 XB", "1e9", "2GBs", "0x10", "5 iB", "1,5GB"])
def test_what_is_no_size_is_refused_with_an_example(run: Run, given: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--fold-limit", given) == (
        f"Invalid value for '--fold-limit': '{given}' is not a size; write it like 500MB or 2GiB, "
        "or as a number of bytes"
    )


def test_a_plain_number_of_the_workspace_is_of_mib(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def build(*_: object, workspace: int | None, **__: object) -> None:
        given.append(workspace)
        raise trtfuse.UsageError("no more is asked")

    monkeypatch.setattr(trtfuse, "build", build)
    for text in ("64", "64MiB", "2GB", "0"):
        assert run("build", "m.onnx", "--workspace", text).code == 2
    assert given == [64 << 20, 64 << 20, 2 * 10**9, 0]
    assert refused(run, "build", "m.onnx", "--workspace", "much").endswith(
        "is not a size; write it like 500MB or 2GiB, or as a number of MiB"
    )
