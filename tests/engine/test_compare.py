"""Two models side by side: real builds with TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.errors import EngineError, ModelError, UsageError, VerifyError
from trtfuse.report.comparison import SHOWN
from trtfuse.result.comparison import Built, Comparison, Kernel
from trtfuse.result.report import Report

pytest.importorskip("tensorrt_rtx", reason="these build engines")

LOGS = Path(__file__).parent / "logs"
RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def scaled(batch: str = "1", size: str = "16") -> ModelProto:
    """A convolution, a scale per channel after it, and a ReLU that keeps the scale visible."""
    return model(
        f"""(float[{batch},8,{size},{size}] x) => (float[{batch},16,{size},{size}] y) {{
            [conv] t = Conv<pads = [1, 1, 1, 1]>(x, w)
            [mul] u = Mul(t, s)
            [add] v = Add(u, b)
            [relu] y = Relu(v)
        }}""",
        w=weights(16, 8, 3, 3),
        s=weights(16, 1, 1),
        b=weights(16, 1, 1),
    )


@pytest.fixture(scope="module")
def fused() -> Comparison:
    """A model beside its fused form."""
    original = scaled()
    return trtfuse.compare(original, trtfuse.fuse(original))


def test_figures_of_both(fused: Comparison) -> None:
    for built in (fused.a, fused.b):
        assert built.kernels > 0
        assert built.traffic is not None
        # At least the input, the weights and the output are read or written.
        assert built.traffic >= 4 * (8 * 256 + 16 * 8 * 9 + 16 * 256)
        assert built.seconds is not None
        assert built.seconds > 0
        assert built.size is not None
        assert built.weights is not None
        assert built.size > built.weights >= 4 * 16 * 8 * 9
        assert built.activation is not None
    assert fused.backend is not None
    assert fused.backend.startswith("TensorRT for RTX ")
    assert (fused.shapes, fused.notes) == ({}, [])
    # The scale was two more constants for the kernel to read.
    assert fused.b.traffic is not None
    assert fused.b.traffic <= (fused.a.traffic or 0)


def test_kernels_differ_by_what_appeared_and_vanished(fused: Comparison) -> None:
    assert fused.b.kernels - fused.a.kernels == len(fused.appeared) - len(fused.vanished)


def test_every_fusion_is_looked_up(fused: Comparison) -> None:
    assert fused.agreement is not None
    assert [fusion.into for fusion in fused.agreement.fusions] == [
        ["conv"],
        ["conv"],
        ["conv", "relu"],
    ]
    assert fused.agreement.share == 1.0


def test_a_model_and_itself_do_not_differ() -> None:
    original = scaled()
    found = trtfuse.compare(original, original.SerializeToString())
    assert (found.vanished, found.appeared, found.agreement) == ([], [], None)
    assert (found.a.kernels, found.a.traffic) == (found.b.kernels, found.b.traffic)


def test_sizes_that_vary_are_found_or_given() -> None:
    original = scaled("n", "h")
    found = trtfuse.compare(original, original)
    assert found.shapes == {"x": (1, 8, 64, 64)}
    assert found.a.traffic is not None
    assert found.notes == [
        "the sizes of 'x' vary: these are the first that run; give others with --shapes"
    ]
    given = trtfuse.compare(original, original, shapes={"x": (2, 8, 16, 16)})
    assert (given.shapes, given.notes) == ({"x": (2, 8, 16, 16)}, [])
    assert given.a.traffic != found.a.traffic


@pytest.mark.parametrize(
    ("shapes", "because"),
    [
        ({"z": (1,)}, "the model has no input 'z'; it has x"),
        ({"x": (1, 9, 4, 4)}, r"input 'x' has shape .* does not fit"),
        ({"x": ((1,), (2,), (3,))}, "an input takes a shape like"),
        ({"x": (1.5,)}, "an input takes a shape like"),
        ({"k": (3,)}, r"input 'k' of .* is \[2\], with 2 at axis 0; 3 does not fit"),
    ],
)
def test_shapes_that_cannot_be(shapes: dict[str, tuple[int, ...]], because: str) -> None:
    other = model("(float[2] k) => (float[2] y) { y = Exp(k) }")
    with pytest.raises(UsageError, match=because):
        trtfuse.compare(scaled("n"), other, shapes=shapes)


def test_what_one_leaves_open_is_built_at_the_sizes_of_the_other() -> None:
    made = scaled("n", "h")
    static = trtfuse.fuse(made, shapes={"x": (2, 8, 16, 16)})
    for found in (
        trtfuse.compare(made, static),
        trtfuse.compare(made, static, shapes={"n": 2, "h": 16}),
    ):
        assert (found.shapes, found.notes) == ({"x": (2, 8, 16, 16)}, [])


def test_an_input_that_is_itself_a_shape_is_given_its_values() -> None:
    reshaped = model("(float[2,6] x, int64[2] s) => (float[?,?] y) { y = Reshape(x, s) }")
    found = trtfuse.compare(reshaped, reshaped, shapes={"s": (3, 4)})
    assert found.shapes == {"s": (3, 4)}
    assert found.a.kernels == found.b.kernels


def test_an_input_that_is_no_tensor_is_refused() -> None:
    sequence = model("(seq(float[2]) x) => (int64 y) { y = SequenceLength(x) }")
    with pytest.raises(VerifyError, match="input 'x' is a sequence, not a tensor"):
        trtfuse.compare(sequence, sequence)


def test_weights_beside_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(scaled("n", "h"), path, save_as_external_data=True, location="w", size_threshold=256)
    assert (tmp_path / "w").stat().st_size >= 4 * 16 * 8 * 9
    found = trtfuse.compare(path, trtfuse.fuse(path))
    assert found.shapes == {"x": (1, 8, 64, 64)}
    assert found.agreement is not None
    assert found.agreement.share == 1.0


def test_an_engine_that_is_there_already() -> None:
    original = scaled()
    engine = trtfuse.build(original)
    found = trtfuse.compare(engine, original)
    assert found.a.seconds == engine.seconds
    assert found.a.traffic == found.b.traffic
    assert found.vanished == []


def test_logs_of_builds_elsewhere() -> None:
    found = trtfuse.compare(LOGS / "int8.log", str(LOGS / "two_streams.log"))
    assert (found.a.kernels, found.b.kernels) == (3, 5)
    assert found.a.seconds is not None
    assert 0 < found.a.seconds < 60
    assert (found.a.size, found.a.weights, found.a.activation) == (None, 6912, 8201216)
    assert (found.backend, found.notes, found.shapes) == (None, [], {})
    assert len(found.vanished) == 3
    assert "built elsewhere" in str(found)


def test_json_of_a_build_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    tensor = {"Name": "x", "Dimensions": [4, -1], "Format/Datatype": "Half"}
    layer = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [tensor]}
    path.write_text(json.dumps({"Layers": [layer], "Bindings": ["x"]}))
    found = trtfuse.compare(path, scaled())
    assert (found.a.kernels, found.a.traffic, found.a.seconds) == (1, None, None)
    assert found.notes == [
        f"{path} has sizes that are not known before it runs: no traffic",
        "one of the two was built elsewhere: compare like with like",
    ]
    assert "?" in str(found)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        trtfuse.compare(tmp_path / "gone.onnx", scaled())
    with pytest.raises(EngineError, match=r"gone\.log"):
        trtfuse.compare(tmp_path / "gone.log", scaled())


def test_a_second_model_that_does_not_build_says_that_the_first_does() -> None:
    other = model("(float[2,3] x) => (float[2,3] y) { y = Exp(x) }")
    broken = model("(int32[2,3] x) => (int32[2,3] y) { y = BitwiseNot(x) }")
    with pytest.raises(EngineError, match=r"BitwiseNot.*\(written does build\)"):
        trtfuse.compare(other, broken)
    with pytest.raises(EngineError, match=r"BitwiseNot") as raised:
        trtfuse.compare(broken, other)
    assert "does build" not in str(raised.value)


def test_as_json(fused: Comparison) -> None:
    content = json.loads(fused.to_json())
    assert content["schema"] == "trtfuse.comparison/1"
    assert content["a"]["kernels"] == fused.a.kernels
    assert set(content["b"]) == {
        *("name", "kernels", "traffic", "seconds", "size", "weights", "activation")
    }
    assert content["agreement"]["share"] == 1.0
    assert content["verdict"] == fused.verdict.to_dict()


def made(kernels: int) -> Comparison:
    listed = [Kernel(f"k{n}", "kgen", [f"a{n}", "b"] if n else []) for n in range(kernels)]
    a = Built("one/m.onnx", 10, 4_100_000, 1.5, 2048, None, 0, ())
    b = Built("two/m.onnx", 9, 4_100_000, 1.0, 1024, None, 0, ())
    return Comparison(a, b, listed, [], "TensorRT 1", {"x": (1, 2)}, ["a note"])


def test_as_text() -> None:
    lines = [
        "Better: 9 kernels instead of 10; the same traffic, activation memory and engine size.",
        "",
        "                         A        B",
        "kernels                 10        9  -10.0%",
        "traffic             4.1 MB   4.1 MB       =",
        "build time          1.50 s   1.00 s  -33.3%",
        "engine size        2.05 kB  1.02 kB  -50.0%",
        "activation memory  0 bytes  0 bytes       =",
        "",
        "A: one/m.onnx",
        "B: two/m.onnx",
        "",
        "vanished: 2",
        "  k0 (kgen): no ONNX node",
        "  k1 (kgen): a1 + b",
        "",
        "built with TensorRT 1 for x:1x2",
        "a note",
    ]
    assert str(made(2)).splitlines() == lines
    assert f"  and {7 - SHOWN} more" in str(made(7))


def test_in_the_report(fused: Comparison) -> None:
    report: Report = trtfuse.fuse(scaled()).report
    assert report.to_dict()["engine"] is None
    report.engine = fused
    content = json.loads(report.to_json())["engine"]
    assert content == json.loads(json.dumps(fused.to_dict()))
    assert "3 of 3 fusions run in one kernel" in str(report)
    page = report.to_markdown()
    assert "## Engine" in page
    assert "| kernels | " in page
    assert "| conv + mul | conv-scale | " in page


def test_a_size_that_one_of_them_cannot_have_is_refused() -> None:
    made = scaled("n", "h")
    static = trtfuse.fuse(made, shapes={"x": (2, 8, 16, 16)})
    with pytest.raises(
        UsageError, match=r"\[3, 8, 16, 16\] in one model and \[2, 8, 16, 16\] in the other"
    ):
        trtfuse.compare(made, static, shapes={"n": 3})
    engine = trtfuse.build(static)
    with pytest.raises(UsageError, match="engines have their sizes already; leave the shapes out"):
        trtfuse.compare(engine, engine, shapes={"n": 3})
