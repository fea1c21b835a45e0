"""Writing: whole or not at all, and external data kept external."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from fusing import rewrite
from onnx import ModelProto, TensorProto, external_data_helper, numpy_helper, parser

import trtfuse
from trtfuse.errors import ModelError, UsageError
from trtfuse.ir.save import EXTERNAL_FROM, is_external, save_model, tensors

WEIGHTS = np.arange(8192, dtype=np.float32)


def parsed(text: str) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')


SMALL = "(float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Mul(x, k) }"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    return tmp_path


def external(name: str, size: int, location: str = "weights.bin", offset: int = 0) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[size])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", 4 * size)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def with_weights(folder: Path, *weights: TensorProto) -> Path:
    """A model that multiplies its input by each of the weights."""
    proto = parsed("(float[1] x) => (float[1] x) {}")
    for tensor in weights:
        name = f"times_{tensor.name}"
        proto.graph.node.add(op_type="Mul", input=["x", tensor.name], output=[name])
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, tensor.dims))
        proto.graph.initializer.append(tensor)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def stored(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The initializers of a model file by name, external data read by onnx."""
    onnx.checker.check_model(path)
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def places(path: Path) -> dict[str, dict[str, str]]:
    """Where the external initializers of a model file are."""
    proto = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in proto.graph.initializer
        if external_data_helper.uses_external_data(tensor)
    }


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Whole or not at all


def test_a_model_without_external_data_is_one_file(tmp_path: Path) -> None:
    proto = parsed(SMALL)
    path = tmp_path / "m.onnx"
    save_model(proto, path)
    save_model(proto, str(path))
    assert listing(tmp_path) == {"m.onnx": proto.SerializeToString()}


def test_a_file_of_that_name_is_replaced_and_a_symlink_is_no_way_around(tmp_path: Path) -> None:
    old, link = tmp_path / "old.onnx", tmp_path / "link.onnx"
    old.write_bytes(b"old")
    save_model(parsed(SMALL), old)
    assert onnx.load(old) == parsed(SMALL)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    link.symlink_to(other)
    save_model(parsed(SMALL), link)
    assert onnx.load(link) == parsed(SMALL)


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    save_model(parsed(SMALL), tmp_path / "m.onnx")
    assert stat.S_IMODE((tmp_path / "m.onnx").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    result = rewrite(with_weights(folder, external("w", 1024)))
    out = folder / "out.onnx"
    out.write_bytes(b"old model")
    (folder / "out.onnx.data").write_bytes(b"old data")
    before = listing(folder)
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError) as error:
        result.save(out)
    name = "out.onnx.data" if failing == 1 else "out.onnx"
    assert str(error.value) == f"cannot write '{folder / name}': No space left on device"
    after = listing(folder)
    # The data is complete before the model is, and nothing that a model needs is lost.
    assert after["out.onnx"] == b"old model"
    assert set(after) == set(before)
    if failing == 1:
        assert after == before


def test_a_file_that_cannot_grow_leaves_what_was_there(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    proto = parsed("(float[65536] x) => (float[65536] y) { y = Mul(x, k) }")
    proto.graph.initializer.append(numpy_helper.from_array(np.full(65536, 2, np.float32), "k"))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "out.onnx").write_bytes(b"old")
    before = listing(tmp_path)
    program = """
        import resource, sys
        from trtfuse.cli import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        main(["fuse", "m.onnx", "-o", "out.onnx"])
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "trtfuse: cannot write 'out.onnx': File too large\n"
    assert listing(tmp_path) == before


def test_an_error_in_the_middle_leaves_no_file(folder: Path) -> None:
    result = rewrite(with_weights(folder, external("a", 1024), external("b", 1024)))
    with (folder / "weights.bin").open("r+b") as file:
        file.truncate(4096 - 4)
    before = listing(folder)
    with pytest.raises(ModelError) as error:
        result.save(folder / "out.onnx")
    assert str(error.value) == (
        "weights 'a' are in the external file 'weights.bin' up to byte 4096, "
        "but the file ends at 4092"
    )
    assert listing(folder) == before


@pytest.mark.parametrize("name", ["", "no/such/folder/m.onnx", "m.onnx/m.onnx", "x" * 300])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.onnx").write_bytes(b"a file")
    path = tmp_path / name
    with pytest.raises(ModelError, match=r"^cannot write '") as error:
        save_model(parsed(SMALL), path)
    assert str(path) in str(error.value)
    assert listing(tmp_path) == {"m.onnx": b"a file"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ModelError, match=r"^cannot write '"):
        save_model(parsed(SMALL), pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


# External data


def test_external_data_stays_external_and_moves_along(folder: Path, tmp_path_factory: Any) -> None:
    source = with_weights(folder, external("w", 4096), external("v", 100, offset=40))
    read = source.read_bytes()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    rewrite(source).save(elsewhere / "out.onnx")
    assert sorted(os.listdir(elsewhere)) == ["out.onnx", "out.onnx.data"]
    assert {place["location"] for place in places(elsewhere / "out.onnx").values()} == {
        "out.onnx.data"
    }
    assert listing(folder) == {"m.onnx": read, "weights.bin": WEIGHTS.tobytes()}
    # It needs nothing but the two files, wherever they are.
    shutil.rmtree(folder)
    moved = elsewhere.rename(elsewhere.with_name("moved"))
    found = stored(moved / "out.onnx")
    np.testing.assert_array_equal(found["w"], WEIGHTS[:4096])
    np.testing.assert_array_equal(found["v"], WEIGHTS[10:110])


def test_axes_and_sizes_come_home_once_anything_is_fused(tmp_path: Path) -> None:
    # ONNX Runtime infers shapes as it loads a model, and refuses numbers that are external.
    (tmp_path / "lists.bin").write_bytes(np.int64([0, 2, 0]).tobytes())
    proto = parsed(
        "(float[4,2] x) => (float[?,?] y) "
        "{ r = Relu(x) q = Relu(r) y = Slice(q, first, behind, axis) }"
    )
    for index, name in enumerate(("first", "behind", "axis")):
        tensor = external(name, 1, "lists.bin", 8 * index)
        tensor.data_type = TensorProto.INT64
        tensor.external_data[2].value = "8"
        proto.graph.initializer.append(tensor)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    result = rewrite(path, groups="off")
    assert [node.op_type for node in result.model.graph.node] == ["Relu", "Slice"]
    held = {each.name: each for each in result.model.graph.initializer}
    assert not is_external(result.model)
    lists = {name: numpy_helper.to_array(each).tolist() for name, each in held.items()}
    assert lists == {"first": [0], "behind": [2], "axis": [0]}
    result.save(tmp_path / "fused.onnx")
    session = ort.InferenceSession(tmp_path / "fused.onnx")
    (cut,) = session.run(None, {"x": np.arange(8, dtype=np.float32).reshape(4, 2)})
    assert cut.tolist() == [[0, 1], [2, 3]]


def test_the_saved_model_is_fused_from_its_own_external_data(folder: Path) -> None:
    proto = parsed(
        """
        (float[64] x) => (float[64] y, float[64] z) <float[64] s, float[64] t> {
          t = MatMul(x, w) y = Mul(t, s) u = Mul(x, v) z = Relu(u)
        }
        """.replace("<float[64] s, float[64] t>", "")
    )
    proto.graph.input[0].type.tensor_type.shape.dim.add(dim_value=64)
    for output in proto.graph.output:
        output.type.tensor_type.shape.dim.add(dim_value=64)
    weights, scale = external("w", 4096), external("s", 64, offset=16384)
    weights.dims[:] = [64, 64]
    proto.graph.initializer.extend([weights, scale, external("v", 64)])
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    result = rewrite(folder / "m.onnx", verify="model")
    assert result.ok
    assert [each.rule for each in result.report.fused] == ["fc-scale"]
    result.save(folder / "out.onnx")
    found = stored(folder / "out.onnx")
    expected = WEIGHTS[:4096].reshape(64, 64).astype(np.float64) * WEIGHTS[4096:4160]
    np.testing.assert_array_equal(found["w_fused"], expected.astype(np.float32))
    np.testing.assert_array_equal(found["v"], WEIGHTS[:64])
    assert set(places(folder / "out.onnx")) == {"w_fused", "v"}
    assert trtfuse.verify(folder / "m.onnx", folder / "out.onnx").ok
    again = rewrite(folder / "out.onnx")
    assert again.report.fused == []
    again.save(folder / "again.onnx")
    data = (folder / "out.onnx.data").read_bytes()
    assert (folder / "again.onnx.data").read_bytes() == data


def test_every_tensor_begins_at_an_aligned_place(folder: Path) -> None:
    sizes = (2, 1000, 1025, 7)
    tensors_ = [external(f"w{size}", size, offset=4 * size) for size in sizes]
    rewrite(with_weights(folder, *tensors_)).save(folder / "out.onnx")
    found, where = stored(folder / "out.onnx"), places(folder / "out.onnx")
    assert [int(place["offset"]) for place in where.values()] == [0, 4096, 8192, 16384]
    assert [int(place["length"]) for place in where.values()] == [8, 4000, 4100, 28]
    for size in sizes:
        np.testing.assert_array_equal(found[f"w{size}"], WEIGHTS[size : 2 * size])
    assert (folder / "out.onnx.data").stat().st_size == 16384 + 28


def test_a_place_that_tensors_share_is_written_once(folder: Path) -> None:
    shared = [external(name, 2048, offset=8) for name in "abc"]
    rewrite(with_weights(folder, *shared)).save(folder / "out.onnx")
    assert {place["offset"] for place in places(folder / "out.onnx").values()} == {"0"}
    assert (folder / "out.onnx.data").stat().st_size == 8192
    for array in stored(folder / "out.onnx").values():
        np.testing.assert_array_equal(array, WEIGHTS[2:2050])


@pytest.mark.parametrize("sizes", [(512, 2048), (2048, 512)])
def test_tensors_that_begin_at_one_place_and_end_apart_are_both_whole(
    folder: Path, sizes: tuple[int, int]
) -> None:
    weights = [external(f"w{size}", size) for size in sizes]
    source = with_weights(folder, *weights, external("other", 4096, offset=1024))
    rewrite(source).save(folder / "out.onnx")
    found = stored(folder / "out.onnx")
    for size in sizes:
        np.testing.assert_array_equal(found[f"w{size}"], WEIGHTS[:size])
    np.testing.assert_array_equal(found["other"], WEIGHTS[256:4352])


def test_tensors_of_one_offset_in_two_files_are_told_apart(folder: Path) -> None:
    (folder / "other.bin").write_bytes((-WEIGHTS).tobytes())
    source = with_weights(folder, external("a", 300), external("b", 300, "other.bin"))
    rewrite(source).save(folder / "out.onnx")
    found = stored(folder / "out.onnx")
    np.testing.assert_array_equal(found["a"], WEIGHTS[:300])
    np.testing.assert_array_equal(found["b"], -WEIGHTS[:300])


def test_large_embedded_tensors_join_the_external_ones_and_small_ones_stay(folder: Path) -> None:
    large = numpy_helper.from_array(np.ones(EXTERNAL_FROM // 4, np.float32), "large")
    small = numpy_helper.from_array(np.ones(EXTERNAL_FROM // 4 - 1, np.float32), "small")
    source = with_weights(folder, external("w", 4), large, small)
    rewrite(source).save(folder / "out.onnx")
    assert set(places(folder / "out.onnx")) == {"w", "large"}
    found = stored(folder / "out.onnx")
    np.testing.assert_array_equal(found["large"], np.ones(EXTERNAL_FROM // 4))
    np.testing.assert_array_equal(found["small"], np.ones(EXTERNAL_FROM // 4 - 1))


def test_saving_changes_neither_the_result_nor_the_original(folder: Path) -> None:
    source = with_weights(folder, external("w", 4096))
    before = listing(folder)
    result = rewrite(source)
    model = result.model.SerializeToString()
    result.save(folder / "out.onnx")
    assert result.model.SerializeToString() == model
    assert {name: listing(folder)[name] for name in before} == before


def test_packed_int4_weights_are_copied_as_they_are(folder: Path) -> None:
    packed = TensorProto(name="four", data_type=TensorProto.INT4, dims=[3001])
    packed.data_location = TensorProto.EXTERNAL
    packed.external_data.add(key="location", value="four.bin")
    (folder / "four.bin").write_bytes(bytes(range(256)) * 5 + bytes(range(221)))
    proto = parsed("(int4[3001] x) => (int4[3001] y) { y = Concat<axis = 0>(x, four) }")
    proto.opset_import[0].version = 25
    proto.ir_version = 10
    proto.graph.output[0].type.tensor_type.shape.dim[0].ClearField("dim_value")
    proto.graph.initializer.append(packed)
    save_model(proto, folder / "out.onnx", folder)
    assert (folder / "out.onnx.data").read_bytes() == (folder / "four.bin").read_bytes()
    (place,) = places(folder / "out.onnx").values()
    assert place["length"] == "1501"


def test_tensors_are_found_wherever_they_hide(folder: Path) -> None:
    proto = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "mine": 1]>
        g (float[1] x, bool c) => (float[1] z) {
          k = Constant<value = float[1] {0}>()
          t = Mul(x, k)
          y = If(c) <
            then_branch = yes () => (float[1] o) {
              h = Constant<value = float[1] {0}>()
              o = Mul(w, h)
            },
            else_branch = no () => (float[1] o) { o = Mul(t, w) }
          >
          z = mine.F(y)
        }
        <domain: "mine", opset_import: ["": 17]>
        F (p) => (q) { k = Constant<value = float[1] {0}>() q = Mul(p, k) }
        """
    )
    branch, other = (attribute.g for attribute in proto.graph.node[2].attribute)
    branch.initializer.append(external("w", 300))
    other.initializer.append(external("w", 301))
    holders = (proto.graph.node[0], branch.node[0], proto.functions[0].node[0])
    for size, holder in enumerate(holders, start=400):
        holder.attribute[0].t.CopyFrom(external("", size))
    proto.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(
            onnx.helper.make_tensor("sparse", TensorProto.FLOAT, [2], [1.0, 2.0]),
            onnx.helper.make_tensor("", TensorProto.INT64, [2], [0, 3]),
            [4],
        )
    )
    sizes = sorted(tensor.dims[0] for tensor in tensors(proto))
    assert sizes == [2, 2, 300, 301, 400, 401, 402]
    assert is_external(proto)
    save_model(proto, folder / "out.onnx", folder)
    written = onnx.load(folder / "out.onnx", load_external_data=False)
    for tensor in tensors(written):
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == "out.onnx.data"
            # onnx 1.23.0 loads no external data of tensors without a name.
            held = (folder / "out.onnx.data").read_bytes()[int(entries.get("offset", 0)) :]
            numbers = np.frombuffer(held, np.float32, tensor.dims[0])
            np.testing.assert_array_equal(numbers, WEIGHTS[: tensor.dims[0]])


def test_a_model_that_came_without_a_folder_cannot_be_saved_with_its_data(folder: Path) -> None:
    proto = onnx.load(with_weights(folder, external("w", 300)), load_external_data=False)
    before = listing(folder)
    with pytest.raises(ModelError, match="the model came without a folder; pass its path instead"):
        rewrite(proto).save(folder / "out.onnx")
    assert listing(folder) == before


# The original stays


def test_the_original_is_not_overwritten(folder: Path) -> None:
    source = with_weights(folder, external("w", 300))
    before = listing(folder)
    result = rewrite(source)
    link, hard = folder / "link.onnx", folder / "hard.onnx"
    link.symlink_to(source)
    hard.hardlink_to(source)
    for path in (source, str(source), link, hard, folder / ".." / folder.name / "m.onnx"):
        with pytest.raises(UsageError) as error:
            result.save(path)
        assert str(error.value) == (
            f"'{path}' is the original; write the fused model to another path"
        )
    assert {name: listing(folder)[name] for name in before} == before


def test_the_data_that_the_model_reads_is_not_overwritten(folder: Path) -> None:
    (folder / "weights.bin").rename(folder / "out.onnx.data")
    source = with_weights(folder, external("w", 300, "out.onnx.data"))
    before = listing(folder)
    with pytest.raises(ModelError) as error:
        rewrite(source).save(folder / "out.onnx")
    assert str(error.value) == (
        f"cannot write '{folder / 'out.onnx.data'}': the model reads its weights from there; "
        "choose another name"
    )
    assert listing(folder) == before


@pytest.mark.parametrize("folded", [False, True])
def test_the_model_is_not_written_over_its_own_data(folder: Path, folded: bool) -> None:
    source = with_weights(folder, external("w", 4))
    if folded:
        # All external weights are folded, and the result has none.
        proto = parsed(
            """(float[2, 2] x) => (float[2, 2] y) <float[2] s = {2, 3}> {
                t = MatMul(x, w) y = Mul(t, s)
            }"""
        )
        proto.graph.initializer.append(external("w", 4))
        proto.graph.initializer[1].dims[:] = [2, 2]
        source.write_bytes(proto.SerializeToString())
    before = listing(folder)
    result = rewrite(source)
    assert len(result.report.fused) == int(folded)
    with pytest.raises((ModelError, UsageError), match=r"weights\.bin"):
        result.save(folder / "weights.bin")
    assert listing(folder) == before
