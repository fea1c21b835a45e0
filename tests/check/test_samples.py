"""Inputs of the user's own: every form that is read, and what each that is not says."""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import trtfuse
from trtfuse.check.samples import Samples
from trtfuse.ir.tensor import Array
from trtfuse.model.model import Model


def parsed(text: str) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')


ONE = parsed("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
TWO = parsed("(float[N, 3] x, int64[N] n) => (float[N, 3] y, int64[N] m) {y = Relu(x) m = Neg(n)}")
X = np.arange(6, dtype=np.float32).reshape(2, 3)
N = np.array([1, 2])


def samples(given: Any, model: ModelProto = ONE) -> Samples:
    return Samples(Model(model), given)


def said(given: Any, model: ModelProto = ONE) -> str:
    with pytest.raises(trtfuse.UsageError) as refused:
        samples(given, model)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def npz(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)
    return path


def saved(path: Path, content: Any) -> Path:
    """JSON as Polygraphy writes it."""

    def encoded(array: Array) -> dict[str, str]:
        file = io.BytesIO()
        np.save(file, array)
        text = base64.b64encode(file.getvalue()).decode()
        return {"array": text, "polygraphy_class": "ndarray"}

    path.write_text(json.dumps(content, default=encoded), encoding="utf-8")
    return path


# What is read


def test_arrays_by_name_are_a_sample() -> None:
    given = samples({"n": N, "x": X}, TWO)
    (sample,) = given
    assert (given.source, len(given), sample.name) == ("arrays", 1, "sample 1")
    assert list(sample.feeds) == ["x", "n"]
    assert sample.feeds["x"] is X


def test_an_array_is_a_sample_for_a_model_of_one_input() -> None:
    (sample,) = samples(X)
    assert list(sample.feeds) == ["x"]


def test_a_npz_is_a_sample(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=X, n=N)
    for given in (path, str(path)):
        read = samples(given, TWO)
        (sample,) = read
        assert (read.source, sample.name) == (str(path), str(path))
        np.testing.assert_array_equal(sample.feeds["x"], X)
        np.testing.assert_array_equal(sample.feeds["n"], N)


def test_a_npy_is_a_sample_for_a_model_of_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    (sample,) = samples(tmp_path / "a.npy")
    np.testing.assert_array_equal(sample.feeds["x"], X)


def test_what_polygraphy_saves_has_any_number_of_samples(tmp_path: Path) -> None:
    polygraphy = pytest.importorskip("polygraphy.json")
    path = tmp_path / "inputs.json"
    polygraphy.save_json([{"x": X, "n": N}, {"x": X + 1, "n": N}], str(path))
    first, second = samples(path, TWO)
    assert (first.name, second.name) == (f"{path}, sample 1", f"{path}, sample 2")
    np.testing.assert_array_equal(second.feeds["x"], X + 1)


def test_the_json_of_a_single_sample_is_read(tmp_path: Path) -> None:
    # Polygraphy writes a file like this for each, where it is given a folder.
    (sample,) = samples(saved(tmp_path / "0000000000.json", {"x": X}))
    assert sample.name == str(tmp_path / "0000000000.json")
    np.testing.assert_array_equal(sample.feeds["x"], X)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    npz(tmp_path / "b.npz", x=X)
    np.save(tmp_path / "a.npy", X + 1)
    saved(tmp_path / "c.JSON", [{"x": X + 2}])
    (tmp_path / "README.md").write_text("where they are from", encoding="utf-8")
    given = samples(tmp_path)
    assert [Path(sample.name).name for sample in given] == ["a.npy", "b.npz", "c.JSON"]
    assert given.source == str(tmp_path)


def test_several_are_one_after_the_other(tmp_path: Path) -> None:
    paths = [npz(tmp_path / f"{i}.npz", x=X + i) for i in range(5)]
    given = samples([*paths, {"x": X}])
    assert len(given) == 6
    assert [sample.feeds["x"][0, 0] for sample in given] == [0, 1, 2, 3, 4, 0]
    assert given.source == f"{paths[0]}, {paths[1]}, {paths[2]}, 2 more"
    assert [sample.name for sample in given][-1] == "sample 6"


def test_an_array_may_be_laid_out_in_any_way() -> None:
    (sample,) = samples({"x": np.asfortranarray(X).astype(">f4")})
    assert sample.feeds["x"].dtype == np.float32
    assert sample.feeds["x"].flags.c_contiguous
    np.testing.assert_array_equal(sample.feeds["x"], X)


def test_an_array_of_no_dimension_keeps_none() -> None:
    (sample,) = samples({"x": np.float32(3)}, parsed("(float x) => (float y) { y = Relu(x) }"))
    assert sample.feeds["x"].shape == ()


def test_texts_are_read(tmp_path: Path) -> None:
    model = parsed("(string[N] s) => (string[N] t) { t = Identity(s) }")
    path = npz(tmp_path / "s.npz", s=np.array(["a", "bc"]))
    found = trtfuse.verify(model, model, inputs=path)
    assert (found.ok, found.samples) == (True, 1)


# What does not fit the model


def test_a_name_that_is_no_input_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=X, label=N)
    assert said(path) == f"'{path}' has an array 'label'; the model's inputs are x"


def test_an_input_that_is_missing_is_named() -> None:
    assert said({"x": X}, TWO) == "'sample 1' has no array for the input 'n'"


def test_an_array_without_a_name_is_refused_for_several_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    assert said(tmp_path / "a.npy", TWO) == (
        f"'{tmp_path / 'a.npy'}' is a single array, but the model has the inputs x, n; "
        "give arrays by name, like a .npz has them"
    )


@pytest.mark.parametrize(
    ("array", "kind"),
    [(X.astype(np.float64), "float64"), (np.array([{}]), "object"), (np.array(["a"]), "<U1")],
)
def test_another_type_is_refused(array: Array, kind: str) -> None:
    assert said({"x": array}) == (
        f"'x' in 'sample 1' is {kind}, but the input is float32; convert it with `.astype`"
    )


@pytest.mark.parametrize("shape", [(2, 4), (3,), (1, 2, 3), ()])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    assert said({"x": np.zeros(shape, np.float32)}) == (
        f"'x' in 'sample 1' has shape {list(shape)}, which does not fit the input's [N, 3]"
    )


def test_the_second_of_two_samples_is_looked_at_as_well(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", [{"x": X}, {"x": X[:, :2]}])
    assert said(path).startswith(f"'x' in '{path}, sample 2' has shape [2, 2], ")


def test_what_is_no_array_is_refused() -> None:
    assert said({"x": [[1, 2], [3]]}) == "'x' in 'sample 1' is not an array"


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = parsed("(seq(float[2]) s) => (float[2] y) <int64 i = {0}> { y = SequenceAt(s, i) }")
    assert said({"s": X}, model) == "input 's' is not a tensor, so no array can be given for it"


def test_a_model_without_inputs_takes_none() -> None:
    model = parsed("() => (float[2] y) <float[2] w = {1, 2}> { y = Relu(w) }")
    assert said({"x": X}, model) == "the model has no inputs; leave `inputs` out"


@pytest.mark.parametrize("given", [[], ()])
def test_no_samples_are_refused(given: Any) -> None:
    assert said(given) == "`inputs` is empty; give at least one sample"


def test_what_stands_for_no_inputs_is_refused() -> None:
    assert said(3) == "`inputs` are arrays by input name, or a path, not of type int"


# Files that cannot be used


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.npz"
    assert said(path) == f"cannot read '{path}': No such file or directory"


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    path = tmp_path / "a.png"
    assert said(path) == f"inputs are read from .npz, .npy and .json files, not from '{path}'"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert said(tmp_path) == f"the folder '{tmp_path}' has no .npz, .npy or .json files in it"


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4broken", b"\x93NUMPY\1\0", b"\x80\4."])
@pytest.mark.parametrize(("kind", "save"), [(".npz", "numpy.savez"), (".npy", "numpy.save")])
def test_a_file_that_is_none_of_numpy_is_refused(
    tmp_path: Path, content: bytes, kind: str, save: str
) -> None:
    path = tmp_path / f"a{kind}"
    path.write_bytes(content)
    assert said(path) == f"'{path}' is not a {kind} file; `{save}` writes one"


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.zeros((1000, 3), np.float32))
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    assert said(path) == f"'{path}' is not a .npz file; `numpy.savez` writes one"


class Unpickled:
    """What is not to come to life."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("save", [np.save, lambda path, array: np.savez(path, x=array)])
def test_pickled_objects_are_not_read(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, np.array([Unpickled()], object))
    assert said(path) == (
        f"'{path}' has pickled Python objects, which are not read; save arrays of numbers"
    )


def test_a_pickle_is_no_file_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps({"x": X}))
    assert said(path) == f"'{path}' is not a .npz file; `numpy.savez` writes one"


@pytest.mark.parametrize("content", ["", "{", "3", '["x"]', "[[]]", "[" * 100_000])
def test_another_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    assert said(path) == f"'{path}' is not JSON as `polygraphy run --save-inputs` writes it"


@pytest.mark.parametrize(
    "entry", [1, [1.0], {"tensor": ""}, {"array": 1}, {"array": "?"}, {"array": "AAAA"}, None]
)
def test_another_entry_of_a_json_is_refused(tmp_path: Path, entry: Any) -> None:
    path = saved(tmp_path / "a.json", [{"x": entry}])
    wanted = "not an array as `polygraphy run --save-inputs` writes it"
    assert said(path) == f"'x' in '{path}' is {wanted}"


def test_a_json_without_samples_is_refused(tmp_path: Path) -> None:
    assert said(saved(tmp_path / "a.json", [])) == "`inputs` is empty; give at least one sample"


def test_a_header_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((2, 3), np.float32))
    content = bytearray(path.read_bytes())
    content[8:10] = (20).to_bytes(2, "little")
    path.write_bytes(bytes(content[:30]))
    with pytest.raises(trtfuse.UsageError, match=r"is not a \.npy file"):
        samples(path)
