"""Equal nodes and equal constants become one: common subexpressions, duplicate initializers.

Which node is the twin of another is no matter of a pattern, so these look at a whole graph. What
they merge is computed by the same operator from the same values, so there is nothing to evaluate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import ExternalData, StoredTensor, Tensor
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.editor import GraphEditor
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.rule import Change, Changes, Equation, LeftApart, graph_rule

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


#: Of smaller constants it does not matter how often they are there.
_WORTH_A_LINE = 1024

NOT_FROM_OUTSIDE = Condition(
    "named-constant",
    "Neither constant is known outside: as an output, as an input that a caller may override, or "
    "in a quantization annotation.",
    "export without initializers that are inputs as well, if nobody overrides them",
)
SHARED_BY_LAYERS = Condition(
    "shared-by-layers",
    "No reader is a quantized layer, which has its own weights on purpose, or a BatchNormalization "
    "that trains and changes what it reads.",
    "nothing: the layers are quantized, or trained, each by itself",
)


def _stays(value: Value) -> Reason | None:
    """Why a constant is not merged with another that is equal."""
    if value.outputs:
        return Reason(NOT_FROM_OUTSIDE, f"`{value.name}` is an output of the graph")
    if value.overridable:
        return Reason(
            NOT_FROM_OUTSIDE, f"`{value.name}` is an input too, and a caller may override it"
        )
    if value.graph.is_kept(value):
        return Reason(NOT_FROM_OUTSIDE, f"a quantization annotation names `{value.name}`")
    for node in value.uses:
        if node.op in _QUANTIZATION:
            return Reason(SHARED_BY_LAYERS, f"`{value.name}` is read by {node.op} {node.label}")
        if _trains(node):
            return Reason(SHARED_BY_LAYERS, f"{node.label} trains, and may change `{value.name}`")
    return None


def _constants_apart(graph: Graph) -> Iterator[LeftApart]:
    """Large constants that are equal, and stay for a reason."""
    first: dict[object, Value] = {}
    for value in [*graph.initializers, *_constant_nodes(graph)]:
        # What a caller may override is no constant, and may look like one.
        tensor = constant(value) if value.tensor is None else value.tensor
        if tensor is None or not value.uses or tensor.stored_bytes < _WORTH_A_LINE:
            continue
        twin = first.setdefault(_content(tensor), value)
        if twin is value:
            continue
        reason = _stays(value) or _stays(twin)
        if reason is not None:
            nodes = tuple(dict.fromkeys((next(iter(value.uses)), next(iter(twin.uses)))))
            same = f"`{value.name}` holds the same as `{twin.name}`"
            yield nodes, Reason(reason.condition, f"{same}, but {reason.because}")


@graph_rule(
    "duplicate-constant",
    NOT_FROM_OUTSIDE,
    SHARED_BY_LAYERS,
    equation=Equation("c, c", "c"),
    takes="initializers of every type, embedded or external; Constant nodes of functions.",
    entry=CLEANUP.part("duplicate initializers"),
    apart=_constants_apart,
)
def duplicate_constant(edit: GraphEditor) -> Changes:
    """What reads an initializer that holds the same as an earlier one reads that one. Those that a
    caller may override stay, those that are outputs, the weights, scales and zero points of
    quantized layers, and what a BatchNormalization that trains reads. In a function, constants are
    nodes.
    """
    graph = edit.graph
    first: dict[object, Value] = {}
    for value in [*graph.initializers, *_constant_nodes(graph)]:
        tensor = constant(value)
        if tensor is None or not value.uses or _stays(value) is not None:
            continue
        twin = first.setdefault(_content(tensor), value)
        if twin is value:
            continue
        readers, node = tuple(value.uses), value.producer
        if twin.producer is not None and graph.first not in (twin.producer, None):
            # It has to stand in front of what reads the other.
            edit.move(twin.producer, graph.first)
        edit.read_instead(value, twin)
        if node is None:
            edit.remove_constant(value)
        else:
            edit.remove(node)
        yield Change(readers, readers)


def _trains(node: Node) -> bool:
    """Whether it is a BatchNormalization that updates its statistics.

    ONNX Runtime does that in place, and the scale changes with a variance that it shares.
    """
    return node.operator.base == "BatchNormalization" and len(node.outputs) > 1


def _constant_nodes(graph: Graph) -> list[Value]:
    """Constants that stay nodes, where the graph can have no initializers."""
    if not graph.constants_are_nodes:
        return []
    return [node.output for node in graph.canonical() if node.op == "Constant"]


SAME_EACH_TIME = Condition(
    "same-each-time",
    "The operator is one of ONNX that computes the same from the same each time.",
    "nothing, if they are to differ; else read one of them twice",
)
NO_SUBGRAPH = Condition(
    "no-subgraph",
    "The nodes have no subgraphs: these are not compared.",
    "nothing, but to merge the nodes where the model is made",
)
QUANTIZER_FOR_EACH = Condition(
    "quantizer-for-each",
    "The nodes do not quantize or dequantize: each reader has such a node of its own on purpose.",
    "nothing: TensorRT takes each into the layer that reads it",
)
KERNEL_FOR_EACH = Condition(
    "kernel-for-each",
    "TensorRT would not take what reads each node into the kernel of that node, where one node has "
    "two different readers.",
    "nothing: two layers with what reads them take fewer kernels than one",
)
ONE_OUTPUT = Condition(
    "one-output",
    "At most one of the nodes computes outputs of the graph.",
    "name only one of them as an output",
)


def _stays_for_itself(node: Node) -> Reason | None:
    """Why a node is not merged with any other."""
    name = node.operator.base
    if node.operator.whose == "function":
        return Reason(SAME_EACH_TIME, "calls of functions are not merged")
    if node.operator.whose != "standard":
        return Reason(
            SAME_EACH_TIME, f"what the operator `{name}` does besides computing is not known"
        )
    if node.bodies:
        return Reason(NO_SUBGRAPH, f"the subgraphs of {name} are not compared")
    if name in _RANDOM:
        return Reason(SAME_EACH_TIME, f"{name} draws new numbers each time")
    if name in _QUANTIZATION:
        return Reason(
            QUANTIZER_FOR_EACH, f"each reader keeps a {name} of its own, in its own kernel"
        )
    return None


def _stay_two(node: Node, kept: Node) -> Reason | None:
    """Why two equal nodes are not merged."""
    if _stay_apart(node, kept):
        return Reason(KERNEL_FOR_EACH, "what reads one of them would no longer go into its kernel")
    if _is_output(node) and _is_output(kept):
        return Reason(ONE_OUTPUT, "both are outputs of the graph")
    return None


def _nodes_apart(graph: Graph) -> Iterator[LeftApart]:
    """Nodes that are equal, and stay for a reason."""
    first: dict[object, Node] = {}
    for node in graph.canonical():
        captured = frozenset(node.captured())
        twin = first.setdefault((_computes(node), captured), node)
        reason = None if twin is node else _stays_for_itself(node) or _stay_two(node, twin)
        if reason is not None:
            because = f"it computes what {twin.label} does, but {reason.because}"
            yield (node, twin), Reason(reason.condition, because)


@graph_rule(
    "duplicate-node",
    SAME_EACH_TIME,
    NO_SUBGRAPH,
    QUANTIZER_FOR_EACH,
    KERNEL_FOR_EACH,
    ONE_OUTPUT,
    equation=Equation("f(x), f(x)", "f(x)"),
    takes="every operator of the default domain but those of quantization.",
    entry=CLEANUP.part("common subexpressions"),
    apart=_nodes_apart,
)
def duplicate_node(edit: GraphEditor) -> Changes:
    """Of nodes with the same operator, attributes and inputs one is enough. Nodes with random
    results, bodies or operators of other domains stay; so do those that quantize, of which each
    reader has its own on purpose, and a convolution or matrix product whose only reader goes into
    its kernel, where that of its twin is another.
    """
    graph = edit.graph
    position = {node: index for index, node in enumerate(graph.nodes())}
    first: dict[object, Node] = {}
    for node in list(graph.canonical()):
        if _stays_for_itself(node) is not None:
            continue
        kept = first.setdefault(_computes(node), node)
        if kept is node or _stay_two(node, kept) is not None:
            continue
        gone = node
        if _is_output(gone):
            kept, gone = gone, kept
            first[_computes(kept)] = kept
        if position[gone] < position[kept]:
            edit.move(kept, gone)
            position[kept] = position[gone]
        for old, new in zip(gone.outputs, kept.outputs, strict=True):
            if old is not None and new is not None:
                edit.read_instead(old, new)
        edit.remove(gone)
        yield Change((gone, kept), (kept,))


def _computes(node: Node, of: Value | None = None) -> object:
    """What two nodes have in common that compute the same, each of a value of its own if given."""
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
    inputs = (... if value is not None and value is of else value for value in node.inputs)
    left_out = (output is None for output in node.outputs)
    return (node.op, *attributes, None, *inputs, None, *left_out)


def _stay_apart(one: Node, other: Node) -> bool:
    """Whether two equal layers need fewer kernels than a single one that both readers share.

    A layer takes its only reader into its kernel; with two different readers it takes neither.
    TensorRT runs matrix products of the same operand side by side, so there it is enough that one
    of the two has a reader to take in.
    """
    if one.op not in _LAYERS:
        return False
    readers = [(_taken(node), node.output) for node in (one, other)]
    computed = [None if node is None else _computes(node, of) for node, of in readers]
    if None in computed:
        return one.op in ("Gemm", "MatMul") and any(reading is not None for reading in computed)
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
