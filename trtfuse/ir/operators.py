"""Which operators ONNX has at which versions, which of them broadcast, and names of nodes."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import onnx
from onnx import NodeProto, OperatorSetIdProto

from trtfuse.errors import ModelError

#: The two spellings of ONNX's own domain.
DEFAULT = ("", "ai.onnx")

#: Operators that broadcast two operands, each from the opset on that has it do so.
OF_TWO = (
    "Add",
    "And",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Xor",
)
#: Operators that broadcast any number of operands.
OF_MANY = ("Max", "Mean", "Min", "Sum")
#: Operators that compute element by element what they broadcast.
ELEMENTWISE = frozenset((*OF_TWO, *OF_MANY, "Where"))


#: Whose an operator is: ONNX's own at the opset of the graph, in ONNX's own domain though it is not
#: there at that opset, of another domain, or a function of the model.
Whose = Literal["standard", "unknown", "custom", "function"]


class Operator(NamedTuple):
    """What a node runs.

    Attributes:
        domain: empty for ONNX's own.
        name: of the operator, or of the function.
        whose: whose it is.
        overload: of a function.
        refers: the attributes whose values are left to the call of the function around the node.
    """

    domain: str
    name: str
    whose: Whose = "standard"
    overload: str = ""
    refers: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """What it is called, whatever attributes refer to a function around."""
        match self.whose:
            case "standard":
                return self.name
            case "function":
                overload = f":{self.overload}" if self.overload else ""
                return f"function {self.domain}::{self.name}{overload}"
            case _:
                return f"{self.domain or 'ai.onnx'}::{self.name}"

    def __str__(self) -> str:
        """As `Node.op` has it: `Conv`, `com.microsoft::Gelu`, `Softmax<@axis>`."""
        return f"{self.base}<@{', @'.join(self.refers)}>" if self.refers else self.base


#: An operator, the same object for the same: a model has few, and many nodes of each.
operator_of = functools.cache(Operator)
#: How it is spelled, worked out once for each.
spelled = functools.cache(str)


@functools.cache
def own_operator(name: str, opset: int) -> Operator:
    """An operator in ONNX's own domain, which may not have it at the opset."""
    return operator_of("", name, "standard" if is_standard(name, opset) else "unknown")


NOT_UTF_8 = "the model has a string that is not UTF-8, which protobuf requires"


def plain_domain(spelled: str | bytes) -> str:
    """A domain in one spelling: ONNX's own is empty.

    Raises:
        ModelError: it is not UTF-8, so that protobuf gives the bytes.
    """
    if isinstance(spelled, bytes):
        raise ModelError(NOT_UTF_8)
    return "" if spelled == "ai.onnx" else spelled


def default_opset(imports: Iterable[OperatorSetIdProto], ir_version: int) -> int:
    """The imported version of ONNX's own operators.

    0 where none is imported, or several are: runtimes differ on which of them counts. Before IR 3
    there were no operator sets, and the operators were those of version 1.
    """
    versions = {opset.version for opset in imports if opset.domain in DEFAULT}
    if not versions and ir_version < 3:
        return 1
    return versions.pop() if len(versions) == 1 else 0


@functools.cache
def is_standard(operator: str, opset: int) -> bool:
    """Whether ONNX's own domain has an operator at an opset, as the installed onnx knows it."""
    if not 0 < opset <= onnx.defs.onnx_opset_version():
        return False
    try:
        return not onnx.defs.get_schema(operator, opset, "").deprecated
    except (onnx.defs.SchemaError, TypeError):
        # protobuf gives a string that is not UTF-8 as bytes.
        return False


def misspelled(operator: str, attributes: Iterable[str], opset: int | None = None) -> str | None:
    """What of an operator and its attributes ONNX does not have, as in "Rleu, which ...".

    Args:
        operator: as in `Node.op`; what is of another domain is not looked at.
        attributes: the names of attributes.
        opset: the version; None for any.
    """
    if "::" in operator or operator.startswith("function "):
        return None
    at = "" if opset is None else f" at opset {opset}"
    exists = _ever_had(operator) if opset is None else is_standard(operator, opset)
    if not exists:
        near = difflib.get_close_matches(operator, _standard_operators(), n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != operator else ""
        return f"{operator}, which ONNX does not have{at}{hint}"
    for name in attributes:
        known = _attributes(operator, opset)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            return f"the attribute '{name}' of {operator}, which ONNX does not have{at}{hint}"
    return None


@functools.cache
def defaults(operator: str, opset: int) -> Mapping[str, Any]:
    """What ONNX takes for attributes that a node leaves out, as `onnx.helper` has their values.

    Args:
        operator: the name of one of ONNX's own.
        opset: the version of these; 0 for the newest.
    """
    version = opset or onnx.defs.onnx_opset_version()
    if not onnx.defs.has(operator, version, ""):
        return {}
    schema = onnx.defs.get_schema(operator, version, "")
    given = (attribute.default_value for attribute in schema.attributes.values())
    return {
        default.name: onnx.helper.get_attribute_value(default) for default in given if default.name
    }


@functools.cache
def attribute_types(operator: str, opset: int) -> Mapping[str, onnx.defs.OpSchema.AttrType]:
    """Of what types ONNX declares the attributes of an operator of its own, by name."""
    schema = onnx.defs.get_schema(operator, opset, "")
    return {name: attribute.type for name, attribute in schema.attributes.items()}


@functools.cache
def _attributes(operator: str, opset: int | None) -> frozenset[str]:
    """The attributes that an operator has at an opset, or has had at any."""
    if opset is not None:
        return frozenset(attribute_types(operator, opset))
    attributes: set[str] = set()
    version = onnx.defs.onnx_opset_version()
    while version and onnx.defs.has(operator, version, ""):
        schema = onnx.defs.get_schema(operator, version, "")
        attributes |= set(schema.attributes)
        version = schema.since_version - 1
    return frozenset(attributes)


#: Whether ONNX's own domain has an operator at some opset.
_ever_had = functools.cache(onnx.defs.has)


def _standard_operators() -> list[str]:
    return [schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain]


@functools.cache
def newest(domain: str) -> int:
    """The newest version of an operator set that the installed onnx knows; else 1."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return max((s.since_version for s in schemas if s.domain == domain), default=1)


def name_of(proto: NodeProto) -> str:
    """The name of a node, as `Node.label` has it."""
    first = next((name for name in proto.output if name), None)
    return str(proto.name or (f"node_of_{first}" if first else proto.op_type))


def label(proto: NodeProto) -> str:
    """What a message calls a node."""
    if proto.name or not proto.op_type or not any(proto.output):
        return f"node '{name_of(proto)}'"
    return f"node '{name_of(proto)}' ({proto.op_type})"
