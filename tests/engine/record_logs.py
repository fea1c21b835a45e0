"""Records the logs beside it from real builds: `python tests/engine/record_logs.py`.

It needs TensorRT for RTX, and no GPU. TensorRT's own logger writes to the process's streams, which
is what a user's log holds, so each build runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

LOGS = Path(__file__).parent / "logs"
#: Shapes of the input x: smallest, best, largest.
Profile = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

_FIXED: Profile = ((1, 3, 8, 8),) * 3
_OPEN: Profile = ((1, 3, 8, 8), (2, 3, 16, 16), (4, 3, 32, 32))


def _convolution(
    names: Sequence[str], tensors: Sequence[str], sizes: Sequence[int | str] = (1, 3, 8, 8)
) -> ModelProto:
    """A convolution, its activation and a softmax, with names of nodes and of x, c, r, y."""
    x, c, r, y = tensors
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [x, "w"], [c], name=names[0], pads=[1] * 4),
        helper.make_node("Relu", [c], [r], name=names[1]),
        helper.make_node("Softmax", [r], [y], name=names[2], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "recorded",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [sizes[0], 4, *sizes[2:]])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _written(text: str, **constants: np.ndarray | TensorProto) -> ModelProto:
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> recorded {text}')
    for name, content in constants.items():
        made = content if isinstance(content, TensorProto) else numpy_helper.from_array(content)
        made.name = name
        model.graph.initializer.append(made)
    return model


_PLAIN = ("c", "r", "s"), ("x", "t", "u", "y")


def _awkward() -> ModelProto:
    names = ("conv] [ONNX Layer: fake]", "réseau/層 ✓", ", LayerType: kgen")
    tensors = ("x, {a]", "t, Dimensions: [1,2]", "u }, { Name: z", "y } ], Outputs: [ {")
    return _convolution(names, tensors)


def _line_break() -> ModelProto:
    model = _written("(float[4,4] x) => (float[4,4] y) { h = Exp(x) y = Softmax(h) }")
    model.graph.node[0].name = "a\nName: b, LayerType: "
    model.graph.node[1].name = "tab\t\x1f"
    return model


def _half() -> ModelProto:
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float16)
    text = (
        "(float16[1,3,8,8] x) => (float16[1,4,6,6] y) { [conv] t = Conv(x, w) [act] y = Relu(t) }"
    )
    return _written(text, w=weights)


def _bfloat() -> ModelProto:
    weights = np.random.default_rng(0).standard_normal(32)
    made = helper.make_tensor("w", TensorProto.BFLOAT16, [8, 4], weights)
    text = "(bfloat16[2,8] x) => (bfloat16[2,4] y) { [mm] h = MatMul(x, w) [act] y = Tanh(h) }"
    return _written(text, w=made)


def _int8() -> ModelProto:
    text = """(float[1,16,8,8] x) => (float[1,32,8,8] y) {
        [q] a = QuantizeLinear(x, s, z)
        [dq] b = DequantizeLinear(a, s, z)
        [dqw] wf = DequantizeLinear<axis = 0>(w, ws, wz)
        [conv] c = Conv<pads = [1, 1, 1, 1]>(b, wf)
        [relu] r = Relu(c)
        [q2] d = QuantizeLinear(r, s, z)
        [dq2] y = DequantizeLinear(d, s, z)
    }"""
    rng = np.random.default_rng(0)
    return _written(
        text,
        s=np.asarray(0.05, np.float32),
        z=np.asarray(0, np.int8),
        w=rng.integers(-127, 127, (32, 16, 3, 3)).astype(np.int8),
        ws=np.full(32, 0.01, np.float32),
        wz=np.zeros(32, np.int8),
    )


def _integers() -> ModelProto:
    return _written("""(float[4,4] x, int64[4,4] i) => (bool[4,4] y, int64[1,4] k) {
        [cast] f = Cast<to = 1>(i)
        [greater] y = Greater(x, f)
        [argmax] k = ArgMax<axis = 0>(x)
    }""")


def _function() -> ModelProto:
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "trtfuse": 1]>
        recorded (float[2,8] x) => (float[2,4] y) { ["fc + relu"] y = trtfuse.FcRelu(x, w) }
        <opset_import: ["": 21], domain: "trtfuse">
        FcRelu (a, b) => (d) { [fc] c = MatMul(a, b) [relu] d = Relu(c) }""")
    weights = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


def _two_streams() -> ModelProto:
    """Branches that the builder runs on two streams, with a signal and a wait between them."""
    rng = np.random.default_rng(0)
    shapes = {"w": (128, 64, 3, 3), "v": (128, 128, 3, 3), "p": (128, 64, 1, 1), "s": (128, 1, 1)}
    weights = {k: rng.standard_normal(s).astype(np.float16) for k, s in shapes.items()}
    return _written(
        """(float16[1,64,56,56] x) => (float16[1,128,28,28] y) {
        [relu0] x0 = Relu(x)
        [short] a = Conv<strides = [2, 2]>(x0, p)
        [scale0] b = Mul(a, s)
        [conv1] c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x0, w)
        [scale1] d = Mul(c, s)
        [relu1] e = Relu(d)
        [conv2] f = Conv<pads = [1, 1, 1, 1]>(e, v)
        [scale2] g = Mul(f, s)
        [add] h = Add(g, b)
        [relu2] y = Relu(h)
    }""",
        **weights,
    )


#: What is recorded: the model, and its optimization profiles for the input that is not fixed.
RECORDED: dict[str, tuple[Callable[[], ModelProto], tuple[Profile, ...]]] = {
    "awkward": (_awkward, ()),
    "unnamed": (lambda: _convolution(("", "", ""), _PLAIN[1]), ()),
    "line_break": (_line_break, ()),
    "dynamic": (lambda: _convolution(*_PLAIN, ("n", 3, "h", "w")), (_OPEN,)),
    "profiles": (lambda: _convolution(*_PLAIN, ("n", 3, "h", "w")), (_OPEN, _FIXED)),
    "float16": (_half, ()),
    "bfloat16": (_bfloat, ()),
    "int8": (_int8, ()),
    "integers": (_integers, ()),
    "function": (_function, ()),
    "two_streams": (_two_streams, ()),
}


def build(name: str) -> None:
    """Builds one model, with TensorRT's own verbose logger."""
    import tensorrt_rtx as trt

    made, profiles = RECORDED[name]
    logger = trt.Logger(trt.Logger.VERBOSE)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parsed = trt.OnnxParser(network, logger)
    model = made()
    onnx.checker.check_model(model)
    if not parsed.parse(model.SerializeToString()):
        sys.exit(f"TensorRT cannot read {name}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for smallest, best, largest in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape("x", smallest, best, largest)
        config.add_optimization_profile(profile)
    if builder.build_serialized_network(network, config) is None:
        sys.exit(f"TensorRT cannot build {name}")


def main() -> None:
    """Records every log."""
    LOGS.mkdir(exist_ok=True)
    for name in RECORDED:
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        (LOGS / f"{name}.log").write_bytes(done.stdout)


if __name__ == "__main__":
    build(sys.argv[1]) if len(sys.argv) > 1 else main()
