"""What a builder makes a rewrite of: new nodes and constants, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, defs, helper

from trtfuse.ir.graph import Graph, Node, Value, text
from trtfuse.ir.operators import Operator, attribute_types, misspelled, operator_of
from trtfuse.ir.tensor import Array, Float64, FoldedTensor, Tensor
from trtfuse.rewrite.mistake import RuleError


class Replacement:
    """What a builder makes: new nodes and constants that no graph holds yet.

    `new.Gemm(x, w, transB=1)` makes a node of the default domain and returns its output;
    `new.op("com.microsoft::Gelu", x)` one of another domain.

    Args:
        graph: the graph that the nodes are meant for.

    Attributes:
        as_computed: whether the constants are what a runtime computed, so that there is no algebra
            to check.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.as_computed = False
        self.nodes: list[Node] = []
        self.constants: list[Value] = []
        self.read_as: dict[Value, Float64] = {}

    @property
    def opset(self) -> int:
        """The version of the default domain."""
        return self.graph.opset

    def __getattr__(self, operator: str) -> Callable[..., Value]:
        if not operator[:1].isupper():
            raise AttributeError(operator)
        return functools.partial(self.op, operator)

    def op(
        self, operator: str, *inputs: Value | None, like: Node | None = None, **attributes: Any
    ) -> Value:
        """A new node; returns its output.

        Args:
            operator: as in `Node.op`.
            inputs: what it reads; None for an optional input left out.
            like: the node whose name, doc string and metadata it takes over.
            attributes: by name; an attribute that is None is left out.

        Raises:
            UsageError: ONNX has no such operator or attribute at the opset of the graph.
        """
        attributes = {name: value for name, value in attributes.items() if value is not None}
        if self.opset and (why_not := misspelled(operator, attributes, self.opset)):
            raise RuleError(f"the builder makes {why_not}")
        domain, _, op_type = operator.rpartition("::")
        if self.opset and not domain:
            types = attribute_types(operator, self.opset)
            attributes = {
                name: _as_declared(operator, name, value, types[name])
                for name, value in attributes.items()
            }
        proto = helper.make_node(op_type, [], [], domain=domain or None, **attributes)
        if like is not None:
            proto.name = text(like.proto.name)
            proto.doc_string = text(like.proto.doc_string)
            proto.metadata_props.extend(like.proto.metadata_props)
        whose = "custom" if domain else "standard"
        return self._add(proto, operator_of(domain, op_type, whose), inputs)

    def again(self, node: Node, *inputs: Value | None, **attributes: Any) -> Value:
        """The same node with other inputs, and the attributes given set anew."""
        proto = NodeProto()
        proto.CopyFrom(node.proto)
        for name, value in attributes.items():
            kept = [a for a in proto.attribute if a.name != name]
            del proto.attribute[:]
            proto.attribute.extend([*kept, helper.make_attribute(name, value)])
        return self._add(proto, node.operator, inputs)

    def constant(self, content: Tensor | Array, element_type: int, like: Value | str) -> Value:
        """A new constant.

        Args:
            content: the tensor, or its numbers in float64.
            element_type: a `TensorProto.DataType`.
            like: its name, or the value that it is made from, to be named after.
        """
        stem = like if isinstance(like, str) else like.name.removesuffix("_fused") + "_fused"
        value = Value(stem, self.graph)
        value.tensor = (
            content
            if isinstance(content, Tensor)
            else FoldedTensor(np.asarray(content), element_type)
        )
        self.constants.append(value)
        return value

    def reads(self, value: Value, as_: Float64) -> None:
        """Says which numbers a constant of the old spelling stands for.

        sqrt(2) in a graph is the float32 next to it, so GELU spelled out is GELU only up to the
        rounding of its constants. The check evaluates the old spelling with these numbers.

        Args:
            value: the constant.
            as_: its numbers before they were rounded, each within one unit in the last place of
                the constant's type; the check refuses the rewrite otherwise.
        """
        self.read_as[value] = as_

    def _add(self, proto: NodeProto, operator: Operator, inputs: tuple[Value | None, ...]) -> Value:
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        node = Node(proto, operator, given, [])
        node.stale = True
        output = Value(f"{proto.name or proto.op_type}_output", self.graph, node)
        node.outputs.append(output)
        self.nodes.append(node)
        return output


#: What Python has for an attribute of a type, and for its elements.
_PYTHON: dict[defs.OpSchema.AttrType, tuple[type, type | None]] = {
    defs.OpSchema.AttrType.FLOAT: (float, None),
    defs.OpSchema.AttrType.INT: (int, None),
    defs.OpSchema.AttrType.FLOATS: (list, float),
    defs.OpSchema.AttrType.INTS: (list, int),
}


def _as_declared(operator: str, name: str, value: Any, declared: defs.OpSchema.AttrType) -> Any:
    """The value of an attribute in the type that ONNX declares: 1 is 1.0 where that is a float.

    Raises:
        RuleError: it cannot be of that type.
    """
    if declared not in _PYTHON:
        return value
    whole, element = _PYTHON[declared]
    numbers = np.asarray(value)
    kinds = "iub" if int in (whole, element) else "iubf"
    fits = numbers.dtype.kind in kinds or not numbers.size
    if not fits or numbers.ndim != (whole is list):
        wanted = f"a list of {element.__name__}" if element else whole.__name__
        raise RuleError(f"the builder makes {operator} with {name} = {value!r}; it takes {wanted}")
    return numbers.astype(element or whole).tolist()
