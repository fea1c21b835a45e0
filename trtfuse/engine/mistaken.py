"""What TensorRT takes for something else without a word, and what ends the process.

Its ONNX parser goes by the name of an operator and ignores the domain, gives parameters of
functions the wrong tensors, and forgets attributes. Each of these was seen in the networks that
TensorRT for RTX 1.7.1 made; the engine would compute something else.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping

from onnx import FunctionProto, ModelProto, NodeProto, defs

from trtfuse.engine.unsupported import called, exported_from, label, nodes_of
from trtfuse.errors import Unsupported
from trtfuse.ir.graph import Value
from trtfuse.ir.operators import DEFAULT
from trtfuse.layers.limits import RANK
from trtfuse.model.model import Model

_BY_NAME = "it goes by the name alone and"
_RENAME = "give the function a name of its own, or inline it"
_MERGE = "merge some of them with a Reshape, or run this part outside the engine"
_ON_NODE = "write it on the node, or inline the function"

#: What is wrong with a node, and what to do about it.
Trouble = tuple[str, str]


def in_doubt(model: ModelProto) -> tuple[str, ...]:
    """The names that the parser may take for an operator of its own, though they are none."""
    foreign = {node.op_type for node, _ in nodes_of(model) if node.domain not in DEFAULT}
    return tuple(sorted(foreign | {function.name for function in model.functions}))


def mistaken(
    model: ModelProto, known: Collection[str], origins: Mapping[str, str]
) -> Iterator[Unsupported]:
    """The nodes that the parser would take for something else.

    Args:
        model: valid ONNX.
        known: of the names `in_doubt`, those that the parser has an operator for.
        origins: for names of nodes, what they were fused from.
    """
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    for node, place in nodes_of(model):
        function = functions.get((node.domain, node.op_type, node.overload))
        if function is not None:
            namesakes = sum(f.name == node.op_type for f in model.functions)
            troubles = [*_name_of(node, known, namesakes), *_misread_call(node, function)]
        else:
            troubles = [*_domain_of(node, known)]
        for because, advice in troubles:
            origin = origins.get(label(node)) or place or exported_from(node)
            operator = called(node.domain, node.op_type)
            yield Unsupported(operator, label(node), because, advice, origin)


def _domain_of(node: NodeProto, known: Collection[str]) -> Iterator[Trouble]:
    """The parser ignores the domain of an operator."""
    if node.domain in DEFAULT or node.op_type not in _standard():
        return
    if node.op_type in known:
        yield (
            f"it ignores the domain and takes this for the ONNX operator {node.op_type}",
            "use the ONNX operator if that is what is meant, else run it outside",
        )


@functools.cache
def _standard() -> frozenset[str]:
    """The names of all operators of ONNX's own domain."""
    return frozenset(schema.name for schema in defs.get_all_schemas() if schema.domain == "")


def _name_of(node: NodeProto, known: Collection[str], namesakes: int) -> Iterator[Trouble]:
    """The parser ignores the domain and the overload of a function."""
    if node.op_type in known:
        yield f"{_BY_NAME} takes this function for the operator {node.op_type}", _RENAME
    elif namesakes > 1:
        yield f"{_BY_NAME} mixes up {namesakes} functions of this name", _RENAME


def _misread_call(node: NodeProto, function: FunctionProto) -> Iterator[Trouble]:
    given = {attribute.name: attribute for attribute in node.attribute}
    for name in function.attribute:
        if name not in given:
            yield f"it takes the attribute {name}, which is omitted, for 0", _ON_NODE
    for name, attribute in given.items():
        if attribute.ref_attr_name:
            yield (
                f"it loses the attribute {name}, which one function hands to another",
                _ON_NODE,
            )
    # Parameters are given their tensors one after the other, under their own names. So a tensor
    # that is called like an earlier parameter is taken for what that parameter was given.
    bound: dict[str, str] = {}
    for parameter, tensor in zip(function.input, node.input, strict=False):
        if bound.get(tensor, tensor) != tensor:
            yield (
                f"it takes '{bound[tensor]}' for '{tensor}', since a parameter of the function has "
                "that name",
                "rename the parameters, or inline the function",
            )
        bound[parameter] = tensor


def beyond_rank(model: Model, origins: Mapping[str, str]) -> Iterator[Unsupported]:
    """The nodes whose results have more dimensions than TensorRT takes.

    It refuses some, and from 11 dimensions on TensorRT for RTX 1.7.1 ends the whole process.
    """
    for graph in model.graphs():
        for value in graph.inputs:
            if value.rank is not None and value.rank > RANK.most:
                yield Unsupported("input", value.name, _dimensions(value), _MERGE)
        for node in graph.nodes():
            for output in node.outputs:
                if output is not None and output.rank is not None and output.rank > RANK.most:
                    origin = origins.get(label(node.proto)) or exported_from(node.proto)
                    because = _dimensions(output)
                    yield Unsupported(node.op, node.label, because, _MERGE, origin)


def _dimensions(value: Value) -> str:
    return f"`{value.name}` has {value.rank} dimensions, and TensorRT takes {RANK.most}"


def crashing(model: ModelProto, origins: Mapping[str, str]) -> Iterator[Unsupported]:
    """The nodes at which TensorRT for RTX (1.7.1) ends the whole process instead of failing."""
    same = {n.output[0]: n.input[0] for n, _ in nodes_of(model) if n.op_type == "Identity"}

    def source(name: str) -> str:
        passed = set()
        # Functions may use each other's names, so that this could go round in a circle.
        while name in same and name not in passed:
            passed.add(name)
            name = same[name]
        return name

    for node, place in nodes_of(model):
        attention = node.op_type == "Attention" and node.domain in DEFAULT
        if attention and source(node.input[0]) == source(node.input[1]):
            yield Unsupported(
                "Attention",
                label(node),
                "it crashes where query and key are one tensor",
                "spell it out with MatMul and Softmax",
                origins.get(label(node)) or place or exported_from(node),
            )
