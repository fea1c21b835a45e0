"""Options of several commands: values that cannot be read are refused with an example."""

from __future__ import annotations

import pytest
from command_line import Run, refused

import trtfuse
from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.cli.options import Size


@pytest.mark.parametrize("given", ["x", "x:a", "x:1,a", "x:1,,2", "x:-1,2", ":1,2", "x:1.5", "1,2"])
def test_a_malformed_shape_is_refused_with_an_example(run: Run, given: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--input-shapes", given) == (
        f"Invalid value for '--input-shapes': '{given}' is no shape; write it like x:1,3,224,224"
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
    assert refused(run, "fuse", "m.onnx", "--verify", level, "--input-shapes", given) == said


@pytest.mark.parametrize("shape", ["x", "x:", ":1x2", "x:1xa", "x:1..2", "x:-1x3", "x:1x2..3x4"])
def test_malformed_shapes_of_builds(run: Run, shape: str) -> None:
    if shape == "x:":
        # That of a single number, which x is not.
        reason = "input 'x' of 'm.onnx' is [1, 2, 4, 4], with 4 sizes; 0 were given"
    else:
        reason = (
            f"Invalid value for '--shapes': '{shape}' is no shape; write it like x:1x3x224x224, "
            "or smallest, best and largest like x:1x3x8x8..4x3x8x8..8x3x8x8"
        )
    assert refused(run, "build", "m.onnx", "--shapes", shape) == reason


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
    assert "[default: 64KiB]" in run("fuse", "--help").out


@pytest.mark.parametrize("given", ["", "GB", "-1", "2 XB", "1e9", "2GBs", "0x10", "5 iB", "1,5GB"])
def test_what_is_no_size_is_refused_with_an_example(run: Run, given: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--fold-limit", given) == (
        f"Invalid value for '--fold-limit': '{given}' is no size; write it like 500MB or 2GiB, or "
        "as a number of bytes"
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
        "is no size; write it like 500MB or 2GiB, or as a number of MiB"
    )
