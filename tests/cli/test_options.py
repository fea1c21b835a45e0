"""Options of several commands: values that cannot be read are refused with an example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Run, refused


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no.npz", "cannot read 'no.npz': No such file or directory"),
        ("m.onnx", "inputs are read from .npz, .npy and .json files, not from 'm.onnx'"),
        ("empty", "the folder 'empty' has no .npz, .npy or .json files in it"),
        ("text.npz", "'text.npz' is no .npz file; `numpy.savez` writes one"),
        ("text.json", "'text.json' is no JSON as `polygraphy run --save-inputs` writes it"),
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
            f"Invalid value for '--shapes': '{shape}' is no shape; write it like x:1x3x224x224, "
            "or smallest, best and largest like x:1x3x8x8..4x3x8x8..8x3x8x8"
        )
    assert refused(run, "build", "m.onnx", "--shapes", shape) == reason
