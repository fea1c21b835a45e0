"""Equal nodes and equal constants become one: common subexpressions, duplicate initializers.

Which node is the twin of another is no matter of a pattern, so these look at a whole graph. What
they merge is computed by the same operator from the same values, so there is nothing to evaluate.
"""

from __future__ import annotations

import hashlib

from onnx import TensorProto

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import ExternalData, StoredTensor, Tensor
from trtfuse.rewrite.rule import Change, Changes, graph_rule

#: Operators that may give something else each time.
_RANDOM = frozenset(
    (
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)


#: Quantization toolkits give each reader a QuantizeLinear or DequantizeLinear of its own, with its
#: own weights, scale and zero point: so TensorRT and the quantized group take it into one layer.
_QUANTIZATION = frozenset(
    (
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    )
)
#: Layers that take what alone reads them into their kernel, and what they take.
_LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_TAKEN = frozenset(
    (
        "Add",
        "BatchNormalization",
        "Clip",
        "Div",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Max",
        "Min",
        "Mul",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Sub",
        "Tanh",
    )
)


@graph_rule("duplicate-constant", entry="Cleanup")
def duplicate_constant(graph: Graph) -> Changes:
    """c, c  ==  c

    Entry Cleanup (duplicate initializers): what reads an initializer that holds the same as an
    earlier one reads that one. Those that a caller may override stay, those that are outputs, the
    weights, scales and zero points of quantized layers, and what a BatchNormalization that trains
    reads. In a function, constants are nodes.

    Takes: initializers of every type, embedded or external; Constant nodes of functions.
    """
    first: dict[object, Value] = {}
    for value in [*graph.initializers, *_constant_nodes(graph)]:
        tensor = constant(value)
        if tensor is None or value.outputs or not value.uses or graph.is_kept(value):
            continue
        if any(node.op in _QUANTIZATION or _trains(node) for node in value.uses):
            continue
        twin = first.setdefault(_content(tensor), value)
        if twin is value:
            continue
        readers, node = tuple(value.uses), value.producer
        if twin.producer is not None and graph.first not in (twin.producer, None):
            # It has to stand in front of what reads the other.
            graph.move(twin.producer, graph.first)
        graph.replace_uses(value, twin)
        if node is None:
            graph.remove_initializer(value)
        else:
            graph.remove(node)
        yield Change(readers, readers)


def _trains(node: Node) -> bool:
    """Whether it is a BatchNormalization that updates its statistics.

    ONNX Runtime does that in place, and the scale changes with a variance that it shares.
    """
    return node.op.partition("<")[0] == "BatchNormalization" and len(node.outputs) > 1


def _constant_nodes(graph: Graph) -> list[Value]:
    """Constants that stay nodes, where the graph can have no initializers."""
    if not graph.constants_are_nodes:
        return []
    return [node.output for node in graph.canonical() if node.op == "Constant"]


#: Operators of which each node is there for itself.
_STAYING = _RANDOM | _QUANTIZATION


@graph_rule("duplicate-node", entry="Cleanup")
def duplicate_node(graph: Graph) -> Changes:
    """f(x), f(x)  ==  f(x)

    Entry Cleanup (common subexpressions): of nodes with the same operator, attributes and inputs
    one is enough. Nodes with random results, bodies or operators of other domains stay; so do those
    that quantize, of which each reader has its own on purpose, and a convolution or matrix product
    whose only reader goes into its kernel, where that of its twin is another.

    Takes: every operator of the default domain but those of quantization.
    """
    position = {node: index for index, node in enumerate(graph.nodes())}
    first: dict[object, Node] = {}
    for node in list(graph.canonical()):
        standard = "::" not in node.op and not node.op.startswith("function ")
        # What an attribute of the function decides stands in angle brackets.
        if not standard or node.bodies or node.op.partition("<")[0] in _STAYING:
            continue
        kept = first.setdefault(_computes(node), node)
        if kept is node or _stay_apart(node, kept):
            continue
        gone = node
        if _is_output(gone):
            if _is_output(kept):
                # Both names are known outside.
                continue
            kept, gone = gone, kept
            first[_computes(kept)] = kept
        if position[gone] < position[kept]:
            graph.move(kept, gone)
            position[kept] = position[gone]
        for old, new in zip(gone.outputs, kept.outputs, strict=True):
            if old is not None and new is not None:
                graph.replace_uses(old, new)
        graph.remove(gone)
        yield Change((gone, kept), (kept,))


def _computes(node: Node, of: Value | None = None) -> object:
    """What two nodes have in common that compute the same, each of a value of its own if given."""
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
    inputs = (... if value is not None and value is of else value for value in node.inputs)
    left_out = (output is None for output in node.outputs)
    return (node.op, *attributes, None, *inputs, None, *left_out)


def _stay_apart(one: Node, other: Node) -> bool:
    """Whether two equal layers run in fewer kernels than one of them, each with what reads it.

    One layer with two different readers takes neither into its kernel. TensorRT runs products of
    one operand side by side, so for them it is enough that one has such a reader.
    """
    if one.op not in _LAYERS:
        return False
    readers = [(_taken(node), node.output) for node in (one, other)]
    computed = [None if node is None else _computes(node, of) for node, of in readers]
    if None in computed:
        return one.op in ("Gemm", "MatMul") and any(each is not None for each in computed)
    return readers[0][0] is not readers[1][0] and computed[0] != computed[1]


def _taken(layer: Node) -> Node | None:
    """What a layer takes into its kernel: its only reader, if it is of a kind that it takes."""
    value = layer.output
    reader = next(iter(value.uses), None)
    return None if value.shared or reader is None or reader.op not in _TAKEN else reader


def _is_output(node: Node) -> bool:
    return any(value is not None and value.outputs for value in node.outputs)


def _content(tensor: Tensor) -> object:
    """What two equal constants have in common."""
    if isinstance(tensor, StoredTensor) and tensor.external:
        location = ExternalData.of(tensor.proto)
        return tensor.type, tensor.shape, location.file, location.offset
    if tensor.type == TensorProto.STRING:
        # Its array has references to texts, not the texts.
        return tensor.type, tensor.shape, tuple(tensor.array().reshape(-1))
    return tensor.type, tensor.shape, hashlib.sha256(tensor.array().tobytes()).digest()
