"""Models that cannot be used: said in one line, with nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import CONV, Run, contents, parsed, refused
from onnx import TensorProto, numpy_helper


def test_a_missing_model_is_named(folder: Path, run: Run) -> None:
    (folder / "there.onnx").write_bytes(b"")
    said = "cannot read 'no.onnx': No such file or directory"
    assert refused(run, "fuse", "no.onnx") == said
    assert refused(run, "fuse", "no.onnx", "-o", "o.onnx") == said
    assert refused(run, "fuse", "no.onnx", "-o", "there.onnx") == said
    assert refused(run, "verify", "no.onnx", "m.onnx") == said
    assert refused(run, "verify", "m.onnx", "no.onnx") == said
    elsewhere = "cannot read 'no/m.onnx': No such file or directory"
    assert refused(run, "fuse", "no/m.onnx") == elsewhere
    assert refused(run, "verify", "no/m.onnx", "m.onnx") == elsewhere


@pytest.mark.parametrize("name", ["sub", ".", "..", "/"])
def test_a_folder_is_no_model_where_one_is_compared(folder: Path, run: Run, name: str) -> None:
    (folder / "sub").mkdir()
    assert refused(run, "verify", name, "m.onnx") == f"cannot read '{name}': Is a directory"


def test_an_empty_path_is_not_the_current_folder(run: Run) -> None:
    said = "it is empty; give the path of a model, or - for stdin"
    assert refused(run, "fuse", "") == f"Invalid value for 'IN.onnx...': {said}"
    assert refused(run, "verify", "m.onnx", "") == f"Invalid value for 'B.onnx': {said}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'bad.onnx' is empty, not an ONNX model"),
        (b"\xff" * 100, "'bad.onnx' is not an ONNX model, or only the beginning of one"),
        (b"{}\n", "'bad.onnx' is not an ONNX model, or only the beginning of one"),
        (
            CONV.SerializeToString()[:-9],
            "'bad.onnx' is not an ONNX model, or only the beginning of one",
        ),
    ],
    ids=["empty", "garbage", "text", "truncated"],
)
def test_a_file_that_is_no_model_is_refused(
    folder: Path, run: Run, content: bytes, said: str
) -> None:
    (folder / "bad.onnx").write_bytes(content)
    assert refused(run, "fuse", "bad.onnx") == said
    assert refused(run, "fuse", "bad.onnx", "-o", "o.onnx", "--report", "r.json", "-q") == said
    assert refused(run, "verify", "m.onnx", "bad.onnx") == said


def test_an_operator_that_onnx_does_not_have_is_taken_and_noted(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { y = Nonsense(x) }"), folder / "odd.onnx")
    ran = run("fuse", "odd.onnx", "--report", "odd.json", "--report", "odd.md")
    assert ran.code == 0
    note = "not ONNX operators at the imported opset, so no rule knows them: Nonsense 'node_of_y'"
    assert f"  {note}\n" in ran.out
    assert json.loads((folder / "odd.json").read_text())["notes"][1] == note
    assert "## The model as it was read" in (folder / "odd.md").read_text()


def test_a_node_that_no_runtime_takes_is_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { [n] y = Neg(x, x) }"), folder / "bad.onnx")
    assert refused(run, "fuse", "bad.onnx") == (
        "node 'n' is not a valid Neg: Node(n) with schema(::Neg:13) has input size 2 not in range "
        "[min=1, max=1]; correct it, or export the model for another opset"
    )


def test_a_graph_that_hangs_in_the_air_is_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { y = Add(x, z) }"), folder / "bad.onnx")
    assert refused(run, "fuse", "bad.onnx") == (
        "node 'node_of_y' (Add) reads 'z', which nothing computes"
    )


@pytest.fixture
def outside(folder: Path) -> Iterator[Path]:
    """A file of weights that is not in the folder of the model."""
    path = folder.parent / f"{folder.name}-secret.bin"
    path.write_bytes(np.ones(4, np.float32).tobytes())
    yield path
    path.unlink()


def external(folder: Path, location: str) -> None:
    """e.onnx, a product by external weights."""
    proto = parsed(
        """(float[2, 2] x) => (float[2, 2] y) <float[2] s = {2, 3}> {
          t = MatMul(x, w)
          y = Mul(t, s)
        }"""
    )
    weights = proto.graph.initializer.add(name="w", dims=[2, 2], data_type=TensorProto.FLOAT)
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (folder / "e.onnx").write_bytes(proto.SerializeToString())


def test_missing_or_short_external_data_is_refused(folder: Path, run: Run) -> None:
    external(folder, "w.bin")
    where = "weights 'w' are in the external file 'w.bin'"
    assert refused(run, "fuse", "e.onnx") == f"{where}, which is missing from '.'"
    (folder / "w.bin").write_bytes(bytes(15))
    said = f"{where} up to byte 16, but the file ends at 15"
    assert refused(run, "fuse", "e.onnx") == said
    assert refused(run, "verify", "e.onnx", "m.onnx") == said


@pytest.mark.parametrize("how", ["parent", "absolute", "symlink"])
def test_external_data_outside_the_folder_is_refused(
    folder: Path, run: Run, outside: Path, how: str
) -> None:
    location = {"parent": f"../{outside.name}", "absolute": str(outside), "symlink": "w.bin"}[how]
    (folder / "w.bin").symlink_to(outside)
    external(folder, location)
    where = f"weights 'w' are in the external file '{location}'"
    assert refused(run, "fuse", "e.onnx") == f"{where}, which is outside the folder of the model"


def test_external_data_is_copied_and_its_file_is_not_written_over(folder: Path, run: Run) -> None:
    external(folder, "w.bin")
    weights = np.array([[1, 2], [3, 4]], np.float32)
    (folder / "w.bin").write_bytes(weights.tobytes())
    said = refused(run, "fuse", "e.onnx", "--skip", "fc-scale", "-o", "w.bin")
    assert "'w.bin'" in said
    assert run("fuse", "e.onnx", "--skip", "fc-scale", "-o", "o.onnx").code == 0
    assert set(contents(folder)) == {"e.onnx", "m.onnx", "o.onnx", "o.onnx.data", "w.bin"}
    (found,) = [t for t in onnx.load(folder / "o.onnx").graph.initializer if t.name == "w"]
    np.testing.assert_array_equal(numpy_helper.to_array(found), weights)
