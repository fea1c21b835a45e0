"""Small models written as text, and what came out of them as lists to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper, parser

from trtfuse.ir.graph import Node, Value
from trtfuse.model.model import Model
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.not_fused import NotFused
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.refusal import Reason

Array = npt.NDArray[Any]

#: The rules of the Scale (F7, F8), for tests in which nothing else is to be done.
SCALES = ("identity-scale", "conv-scale", "fc-scale", "scale-conv", "scale-fc")


def model(
    text: str, *, opset: int = 21, ir_version: int = 8, **constants: npt.ArrayLike
) -> ModelProto:
    """A model from the text of its graph, `(float[2,3] x) => (float[?,?] y) { ... }`.

    Constants become initializers; numbers that are not arrays become float32.
    """
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
    made = parser.parse_model(f"{header} written {text}")
    for name, content in constants.items():
        array = content if isinstance(content, (np.ndarray, np.generic)) else np.float32(content)
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        if ir_version < 4:
            tensor = made.graph.initializer[-1]
            made.graph.input.append(
                onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            )
    onnx.checker.check_model(made, full_check=True)
    return made


def nodes(made: ModelProto | GraphProto) -> list[str]:
    """The nodes of a graph, each as `label: Operator(inputs)`."""
    graph = made.graph if isinstance(made, ModelProto) else made
    return [_line(node) for node in graph.node]


def _line(node: NodeProto) -> str:
    return (
        f"{node.name or '-'}: {node.op_type}({', '.join(node.input)}) -> {', '.join(node.output)}"
    )


def constants(made: ModelProto | GraphProto) -> dict[str, Array]:
    """The initializers of a graph by name."""
    graph = made.graph if isinstance(made, ModelProto) else made
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def attributes(proto: NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}


def fused(result: FusionResult) -> list[tuple[str, str]]:
    """What was fused: rule and nodes, as `conv + bn`."""
    return [(each.rule, each.name) for each in result.report.fused]


def declined(result: FusionResult) -> list[tuple[str, str, str, str]]:
    """What was not: rule, node, guard, and why."""
    return [(each.rule, each.at, each.guard, each.because) for each in result.report.declined]


def body(made: ModelProto, name: str, attribute: str) -> GraphProto:
    """The graph in an attribute of the node of a name."""
    owner = next(each for each in made.graph.node if each.name == name)
    return next(a.g for a in owner.attribute if a.name == attribute)


def node(read: Model, name: str) -> Node:
    """The node of a name, in whatever graph it is."""
    found = [n for graph in read.graph.walk() for n in graph.nodes() if n.proto.name == name]
    (only,) = found
    return only


def value(read: Model, name: str) -> Value:
    """The value of a name in the main graph."""
    graph = read.graph
    computed = [v for n in graph.nodes() for v in n.outputs if v is not None]
    (only,) = [v for v in (*graph.inputs, *graph.initializers, *computed) if v.name == name]
    return only


def not_fused(rule: str, at: str, guard: str, because: str) -> NotFused:
    """An entry of `declined`, as a guard makes it at one node."""
    return NotFused(rule, at, [at], ["Relu"], 1, 1, [Reason(Condition(guard), because)])


def siamese() -> ModelProto:
    """Two branches with the same weights and different scales, which then take weights each."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return model(
        """(float[1,128,4,4] x, float[1,128,4,4] z) => (float[1,128,4,4] y) {
            [conv1] a = Conv<pads = [1, 1, 1, 1]>(x, w) [mul1] b = Mul(a, s) [relu1] c = Relu(b)
            [conv2] d = Conv<pads = [1, 1, 1, 1]>(z, w) [mul2] e = Mul(d, t) [relu2] f = Relu(e)
            [add] y = Add(c, f)
        }""",
        w=weights(128, 128, 3, 3),
        s=weights(128, 1, 1),
        t=weights(128, 1, 1),
    )
