"""Groups as calls of model-local functions, one function for each distinct structure.

TensorRT's parser asks for some care. It goes by the name of an operator and ignores its domain, so
a function has a name that no operator has. It takes an attribute that a call leaves out for 0, so
calls state all of them. Older ones confuse a formal input with a tensor of the same name outside,
so formal names are names of nothing else. And it reads functions with the operator sets of the
model, so functions import those. Of a convolution it reads kernel, strides and dilations from the
node itself, without a word where they refer to the call: TensorRT for RTX 1.7.1 builds a layer of
stride 1 then. So these stand in the function. It names the layers of QuantizeLinear and
DequantizeLinear by the node alone and refuses a name that it has already, so a group with these
gets a function of its own, with the names that its nodes had. onnx's reference evaluator has
operators that fail for an attribute that refers to the call; theirs stand in the function as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, defs

from trtfuse.groups.mark import MARK
from trtfuse.groups.members import tells
from trtfuse.groups.names import Names
from trtfuse.groups.partition import Group
from trtfuse.ir.graph import GROUP_DOMAIN, Graph, Node, Value
from trtfuse.ir.operators import Operator
from trtfuse.model.model import Model

#: The first IR version with functions.
_SINCE = 8
#: The first in which initializers need not be inputs.
_LEAST = 4

#: Attributes that stand in a function as they are; with other ones it is another function.
_IN_PLACE = frozenset(("dilations", "kernel_shape", "output_padding", "output_shape", "strides"))

#: Operators that the reference evaluator takes no attribute of a call for.
_UNREFERRED = frozenset(
    (
        *("BitShift", "Celu", "Elu", "HardSigmoid", "Hardmax", "LeakyRelu"),
        *("LogSoftmax", "LpNormalization", "Softmax", "Swish", "ThresholdedRelu"),
    )
)

#: What functions call an activation that takes several nodes after a convolution or product.
_SPELLED = {
    ("Sigmoid", "Mul"): "silu",
    ("Mul", "Sigmoid", "Mul"): "swish",
    ("HardSigmoid", "Mul"): "hard_swish",
    ("Softplus", "Tanh", "Mul"): "mish",
}
#: A function is called after so many operators; after that it says how many there are.
_MOST_NAMED = 4

#: Operators whose nodes need names that no other node has, wherever they are.
_NAMED = frozenset(("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"))

#: What makes one structure unlike another, as a key.
_Structure = tuple[Any, ...]


def takes_functions(model: Model) -> bool:
    """Whether groups may become functions: not before IR 4.

    There, initializers are inputs as well. In an IR version that has functions a caller might
    override those, and a second run could do more than the first.
    """
    return model.ir_version >= _LEAST


def emit(model: Model, groups: Iterable[Group]) -> dict[str, list[str]]:
    """Lets a call of a function take the place of each group.

    The IR version rises to 8, from which on there are functions, if it was lower.

    Returns:
        Which nodes a call stands for, by its name, where that does not tell.
    """
    functions = _Functions(model)
    members: dict[str, list[str]] = {}
    for group in groups:
        model.raise_ir_version(_SINCE)
        names = [node.label for node in group.nodes]
        if not tells(group.name, names):
            members[group.name] = names
        _replace(group.last.home, group, functions)
    return members


def _replace(graph: Graph, group: Group, functions: _Functions) -> None:
    inputs = _inputs(group)
    function = functions.of(group, inputs)
    call = NodeProto(op_type=function.name, domain=GROUP_DOMAIN, name=group.name)
    first = group.nodes[0].proto
    call.doc_string = first.doc_string
    call.metadata_props.extend(entry for entry in first.metadata_props if entry.key != MARK)
    given = (a for node in group.nodes for a in node.proto.attribute if not _in_place(node, a))
    for formal, attribute in zip(function.attribute, given, strict=True):
        written = call.attribute.add()
        written.CopyFrom(attribute)
        written.name = formal
    operator = Operator(GROUP_DOMAIN, function.name, "function")
    made = Node(call, operator, list(inputs), [group.last.output])
    made.stale = True
    graph.insert(made, before=group.last)
    for node in reversed(group.nodes):
        graph.remove(node)


def _inputs(group: Group) -> list[Value]:
    """What a group reads from outside, in the order in which it does."""
    inside = {value for node in group.nodes for value in node.outputs}
    read = (value for node in group.nodes for value in node.inputs)
    return list(dict.fromkeys(v for v in read if v is not None and v not in inside))


class _Functions:
    """The functions that groups become.

    Args:
        model: that they are added to.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._made: dict[_Structure, FunctionProto] = {}
        used = {node.proto.op_type for graph in model.graphs() for node in graph.nodes()}
        own = {function.name for function in model.proto.functions}
        #: A name of a function is that of no operator, and of no function of any domain.
        self._names = Names(_operators() | used | own)
        self._quantizers = Names()

    def of(self, group: Group, inputs: list[Value]) -> FunctionProto:
        """The function of the structure of a group."""
        structure = _structure(group, inputs)
        if structure not in self._made:
            function = self._made[structure] = self._written(group, inputs)
            self.model.add_group_function(function)
        return self._made[structure]

    def _written(self, group: Group, inputs: list[Value]) -> FunctionProto:
        name = self._names.take(function_name(group.rule, [node.op for node in group.nodes]))
        function = FunctionProto(name=name, domain=GROUP_DOMAIN)
        names: dict[Value, str] = {}
        for place, read in enumerate(inputs):
            names[read] = self.model.fresh_name(f"{name}.in{place}")
            function.input.append(names[read])
        labels = Names()
        for node in group.nodes:
            written = function.node.add(op_type=node.proto.op_type)
            if node.op in _NAMED:
                written.name = self._quantizers.take(node.label)
            else:
                written.name = labels.take(node.proto.op_type)
            for value in node.outputs:
                if value is not None:
                    names[value] = self.model.fresh_name(f"{name}.{written.name}")
            written.input.extend("" if value is None else names[value] for value in node.inputs)
            written.output.extend("" if value is None else names[value] for value in node.outputs)
            for attribute in node.proto.attribute:
                if _in_place(node, attribute):
                    written.attribute.add().CopyFrom(attribute)
                    continue
                formal = f"{written.name}_{attribute.name}"
                function.attribute.append(formal)
                written.attribute.append(
                    AttributeProto(name=attribute.name, type=attribute.type, ref_attr_name=formal)
                )
        function.output.append(names[group.last.output])
        return function


def function_name(rule: str, operators: Sequence[str]) -> str:
    """What the function of a group is called: `conv_silu`, `mlp_31`.

    No function is called as an operator of ONNX, since those begin with a capital.

    Args:
        rule: the name of the rule that formed the group.
        operators: of its nodes, in order.
    """
    kind = rule.removeprefix("spelled-").replace("-", "_")
    if rule == "mlp":
        return f"mlp_{sum(operator in ('Gemm', 'MatMul') for operator in operators)}"
    if rule.startswith("conv-"):
        return "_".join(("conv", *_activation(operators[1:])))
    if rule in ("fc-relu", "mlp-start"):
        biased = operators[0] == "MatMul" and operators[1] == "Add" and len(operators) > 2
        return "_".join(("fc", *_activation(operators[2 if biased else 1 :])))
    if rule in ("pointwise", "quantized", "scale-and-activation"):
        inner = [name for name in operators if name not in _NAMED]
        return "_".join((kind, *_few(inner)))
    return kind


def _activation(operators: Sequence[str]) -> list[str]:
    """The names of what follows a layer; an activation that takes several nodes has one."""
    if tuple(operators) in _SPELLED:
        return [_SPELLED[tuple(operators)]]
    if "Erf" in operators or ("Tanh" in operators and "Mul" in operators):
        return ["gelu"]
    return _few(operators)


def _few(operators: Sequence[str]) -> list[str]:
    """The names of operators in snake case, or how many there are."""
    if len(operators) > _MOST_NAMED:
        return [str(len(operators))]
    return [re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in operators]


@functools.cache
def _operators() -> frozenset[str]:
    """The names of the operators of all domains that ONNX knows."""
    return frozenset(schema.name for schema in defs.get_all_schemas_with_history())


def _in_place(node: Node, attribute: AttributeProto) -> bool:
    """Whether an attribute stands in the function, rather than on its calls."""
    return attribute.name in _IN_PLACE or node.proto.op_type in _UNREFERRED


def _structure(group: Group, inputs: list[Value]) -> _Structure:
    """The nodes of a group and how they are wired: equal where one function does for both."""
    places: dict[Value | None, int] = {}
    parts: list[Any] = [group.rule]
    # With names of their own, no two are alike.
    parts += [node.label for node in group.nodes if node.op in _NAMED]
    computed = (value for node in group.nodes for value in node.outputs)
    places.update((value, place) for place, value in enumerate((*inputs, *computed)) if value)
    for node in group.nodes:
        wires = tuple(places.get(v, -1) for v in (*node.inputs, None, *node.outputs))
        attributes = tuple(
            (a.name, a.type, a.SerializeToString() if _in_place(node, a) else None)
            for a in node.proto.attribute
        )
        parts += [node.proto.op_type, wires, attributes]
    return tuple(parts)
