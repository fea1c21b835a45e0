"""Models whose reports have everything, nothing, or odd things in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from models import model
from onnx import ModelProto, helper, numpy_helper, parser

import trtfuse

#: Names that would be markup, code or the end of a script if they were not text.
ODD = (
    "<script>alert('x')</script>",
    "</script><img src=x onerror=alert(1)>",
    "quo\"te's & <b>bold</b>",
    "Größe 层/1 😀 \u202eabc",
    "{{ 7 * 7 }} ${7} `y` \\u003c",
    "a\u2028b\u2029c\nd\te\x01f",
)


def everything() -> ModelProto:
    """Fusions one after the other, cleanups, near misses, a body, and an open batch."""
    return parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "custom": 1]>
        everything (float[batch, 2, 4, 4] x, bool c) =>
          (float[batch, 2, 4, 4] y, float[batch, 2, 4, 4] shared, float[batch, 2, 4, 4] third)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2, 2, 1, 1] v = {4, 3, 2, 1},
         float[1, 2, 1, 1] s = {2, 3}, float[1] one = {1},
         float[1, 1, 1, 4] wide = {1, 2, 3, 4}> {
          [conv1] a = Conv(x, w)
          [mul1] b = Mul(a, s)
          [add1] ba = Add(b, s)
          [nothing] d = Mul(ba, one)
          [relu1] r = Relu(d)
          [conv2] shared = Conv(r, w)
          [mul2] e = Mul(shared, s)
          [conv4] f = Conv(e, w)
          [mul4] h = Mul(f, wide)
          [conv5] i = Conv(r, v)
          [mul5] j = Mul(i, s)
          [add5] third = Add(j, i)
          [dead] u = Neg(e)
          [if1] y = If(c) <
            then_branch = yes () => (float[batch, 2, 4, 4] o) {
              [conv3] p = Conv(r, w)
              [mul3] q = Mul(p, s)
              [thing] o = custom.Thing(q)
            },
            else_branch = no () => (float[batch, 2, 4, 4] o) { [abs1] o = Abs(h) }
          >
        }
        """
    )


def odd_names() -> ModelProto:
    """A model with names that look like markup, of nodes, values, inputs and the graph."""
    proto = everything()
    names = iter(ODD * 4)
    for node, name in zip(proto.graph.node, names, strict=False):
        node.name = name
    renamed = {"a": ODD[0], "b": ODD[1], "shared": ODD[2], "x": ODD[3], "w": ODD[4]}
    proto.graph.name = ODD[1]
    for node in proto.graph.node:
        for wires in (node.input, node.output):
            wires[:] = [renamed.get(wire, wire) for wire in wires]
        for attribute in node.attribute:
            for inner in attribute.g.node:
                inner.input[:] = [renamed.get(wire, wire) for wire in inner.input]
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        info.name = renamed.get(info.name, info.name)
    return proto


def nothing_fuses() -> ModelProto:
    return model("(float[2] x) => (float[2] z) { [a] y = Relu(x) [b] z = Tanh(y) }")


def one_node() -> ModelProto:
    return model("(float[2] x) => (float[2] y) { [only] y = Relu(x) }")


def empty() -> ModelProto:
    return model("(float[2] x) => (float[2] x) { }")


def erased() -> ModelProto:
    """Everything goes but what its outputs need."""
    return model("(float[2] x) => (float[2] z) { y = Identity(x) u = Neg(x) z = Relu(y) }")


EDGES: dict[str, Callable[[], ModelProto]] = {
    "nothing fuses": nothing_fuses,
    "one node": one_node,
    "empty": empty,
    "erased": erased,
    "odd names": odd_names,
}


def tangled(seed: int, nodes: int = 14) -> dict[str, Any]:
    """A report with one picture, of nodes that read from each other every way, before and after.

    It is drawn twice: as a fusion, and as a group, where a frame is around the nodes.
    """
    rng = random.Random(seed)
    values: list[list[Any]] = [[["batch", 3, 224, 224], "float32", False] for _ in range(3)]
    sides = []
    for _ in range(2):
        made = list(range(3))
        side = []
        for k in range(nodes):
            reads = rng.sample(made, min(len(made), rng.randint(1, 3)))
            for _ in range(rng.randint(0, 6) if rng.random() < 0.3 else 0):
                reads.append(len(values))
                values.append([[64, 32, 3, 3], "float32", True])
            results = list(range(len(values), len(values) + rng.randint(1, 2)))
            sizes = [["batch", "sequence_length", 4, 64], [8], [], None]
            values += [[rng.choice(sizes), "float32", False] for _ in results]
            made += results
            side.append(
                [rng.choice(["Conv", "Add", f"com.example::Operator{k}"]), reads, results, ""]
            )
        sides.append(side)
    data = trtfuse.fuse(one_node()).report.to_dict()
    names = [f"/encoder/layers.{k}/attention/WWWMMM/value_{k}" for k in range(len(values))]
    labels = [f"/encoder/layers.{k}/attention/MMMWWW/MatMul_{k}" for k in range(nodes)]
    entry = {"kind": "rewrite", "error": None, "name": "tangle", "nodes": labels, "wires": names}
    entry |= {
        "operators": [node[0] for node in sides[0]],
        "into": [f"{label}_new" for label in labels],
    }
    entry["picture"] = 0
    data["pictures"] = [{"before": sides[0], "after": sides[1], "values": values}]
    data["fused"] = [
        {**entry, "rule": "conv-scale"},
        {**entry, "rule": "pointwise", "kind": "group"},
    ]
    return data


def large(nodes: int) -> ModelProto:
    """A network of so many nodes, with long names, of which a third fuse and some nearly do."""
    rng = np.random.default_rng(0)
    made, tensors = [], []

    def weight(name: str, *shape: int) -> str:
        tensors.append(numpy_helper.from_array(rng.random(shape).astype(np.float32) + 1, name))
        return name

    def node(operator: str, name: str, *inputs: str) -> str:
        made.append(helper.make_node(operator, inputs, [f"{name}_output_0"], name=name))
        return f"{name}_output_0"

    statistics = [weight(name, 4) for name in ("gain", "bias", "mean", "variance")]
    scale, x, block = weight("scale", 1, 4, 1, 1), "x", 0
    while len(made) < nodes - 6:
        path = f"/backbone/stages.{block // 30}/blocks.{block % 30}"
        c = node("Conv", f"{path}/conv1/Conv", x, weight(f"{path[1:]}.weight", 4, 4, 1, 1))
        n = node("BatchNormalization", f"{path}/bn1/BatchNormalization", c, *statistics)
        r = node("Relu", f"{path}/act/Relu", n)
        if block % 3 == 0:
            d = node("Conv", f"{path}/conv2/Conv", r, weight(f"{path[1:]}.second", 4, 4, 1, 1))
            m = node("Mul", f"{path}/scale/Mul", d, scale)
            r = node("Add", f"{path}/shortcut/Add", m, d)
        x = r if block % 3 == 1 else node("Add", f"{path}/residual/Add", r, x)
        block += 1
    while len(made) < nodes:
        x = node("Tanh", f"/head/tail.{len(made)}/Tanh", x)
    dims = ["batch", 4, 8, 8]
    graph = helper.make_graph(
        made,
        "large",
        [helper.make_tensor_value_info("x", 1, dims)],
        [helper.make_tensor_value_info(x, 1, dims)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
