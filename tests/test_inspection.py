"""`trtfuse.inspect`: what a model is made of, and what TensorRT cannot take of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model
from onnx import parser

import trtfuse
from trtfuse.engine.ask import TABLES
from trtfuse.errors import UsageError


@pytest.fixture
def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("tensorrt", "tensorrt_rtx"):
        # How Python has it that a module cannot be imported.
        monkeypatch.setitem(sys.modules, package, None)


def conv() -> onnx.ModelProto:
    return model(
        "(float[n, 2, 4, ?] x) => (float[n, 2, 4, 4] y) { [c] a = Conv(x, w) [r] y = Relu(a) }",
        w=np.ones((2, 2, 1, 1), np.float32),
    )


def odd() -> onnx.ModelProto:
    return model("(int32[2] z) => (int32[2] y) { [odd] y = BitwiseNot(z) }")


def test_what_a_model_is_made_of(tmp_path: Path) -> None:
    proto = conv()
    proto.producer_name, proto.producer_version = "pytorch", "2.9"
    onnx.save(proto, tmp_path / "m.onnx")
    found = trtfuse.inspect(tmp_path / "m.onnx")
    assert found.model == str(tmp_path / "m.onnx")
    assert (found.producer, found.ir_version) == ("pytorch 2.9", proto.ir_version)
    assert found.opsets[""] == proto.opset_import[0].version
    assert found.file == (tmp_path / "m.onnx").stat().st_size
    assert [(p.name, p.type, p.shape) for p in found.inputs] == [
        ("x", "float32", ["n", 2, 4, None])
    ]
    assert [(p.name, p.shape) for p in found.outputs] == [("y", ["n", 2, 4, 4])]
    assert (found.nodes, found.operators) == (2, {"Conv": 1, "Relu": 1})
    weights = found.weights
    assert (weights.tensors, weights.parameters, weights.bytes, weights.external) == (1, 4, 16, 0)
    assert weights.types == {"float32": 16}
    assert found.ok


def test_external_weights_are_counted_and_the_model_stays(tmp_path: Path) -> None:
    proto = model(
        "(float[2000] x) => (float[2000] y) { y = Mul(x, w) }", w=np.ones(2000, np.float32)
    )
    onnx.save(proto, tmp_path / "e.onnx", save_as_external_data=True, location="w.bin")
    before = (tmp_path / "e.onnx").read_bytes()
    weights = trtfuse.inspect(tmp_path / "e.onnx").weights
    assert (weights.bytes, weights.external) == (8000, 8000)
    assert (tmp_path / "e.onnx").read_bytes() == before


def test_the_parser_is_asked_where_it_is_installed() -> None:
    pytest.importorskip("tensorrt_rtx", reason="this asks its parser")
    assert trtfuse.inspect(conv()).asked.startswith("the parser of TensorRT for RTX ")
    found = trtfuse.inspect(odd())
    (node,) = found.unsupported
    assert (node.operator, node.name, found.ok) == ("BitwiseNot", "odd", False)
    double = model("(double[2] x) => (double[2] y) { y = Relu(x) }")
    strings = model("(string[2] x) => (string[2] y) { y = Identity(x) }")
    assert trtfuse.inspect(double).asked.startswith("the parser of ")
    found = trtfuse.inspect(strings)
    assert found.reason is not None
    assert "input 'x' of the model has the type string" in found.reason


@pytest.mark.usefixtures("without_tensorrt")
def test_without_tensorrt_its_known_gaps_are_looked_up() -> None:
    found = trtfuse.inspect(conv())
    assert (found.asked, found.ok) == (TABLES, True)
    (node,) = trtfuse.inspect(odd()).unsupported
    assert str(node) == (
        "BitwiseNot 'odd': TensorRT has no such operator; compute it in integers with Mul, Div and "
        "Mod, or outside the engine"
    )
    custom = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> '
        "g (float[2] x) => (float[2] y) { [c] y = com.microsoft.Gelu(x) }"
    )
    (node,) = trtfuse.inspect(custom).unsupported
    assert node.operator == "com.microsoft.Gelu"
    assert "plugin" in node.because
    strings = model("(string[2] x) => (string[2] y) { y = Identity(x) }")
    (node,) = trtfuse.inspect(strings).unsupported
    assert (node.operator, node.name) == ("input", "x")
    # Functions of the model itself are no operators that it lacks.
    calls = trtfuse.fuse(conv(), groups="functions").model
    assert trtfuse.inspect(calls).ok


def test_it_is_data_and_text() -> None:
    found = trtfuse.inspect(odd())
    data = json.loads(found.to_json())
    assert data == found.to_dict()
    assert (data["schema"], data["ok"]) == ("trtfuse.inspection/1", False)
    assert data["unsupported"][0]["name"] == "odd"
    text = str(found)
    assert "1 node, 0 parameters" in text
    assert "\n  BitwiseNot  1\n" in text
    assert "TensorRT cannot take this model, according to " in text
    assert "\n  BitwiseNot 'odd': " in text


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(trtfuse.ModelError):
        trtfuse.inspect(b"")


def test_sizes_may_be_fixed_first() -> None:
    made = model("(float[n, 4] x) => (float[m, k] y) { y = Concat<axis=0>(x, x) }")
    assert [port.shape for port in trtfuse.inspect(made).outputs] == [["m", "k"]]
    found = trtfuse.inspect(made, shapes={"n": 3})
    assert [port.shape for port in (*found.inputs, *found.outputs)] == [[3, 4], [6, 4]]
    with pytest.raises(UsageError, match="no input has a dimension 'q'"):
        trtfuse.inspect(made, shapes={"q": 3})
