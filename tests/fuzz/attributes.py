"""Mutations of the attributes of nodes."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, defs, helper, numpy_helper

from .mutation import Mutant, NotHere, Scope, a_scope, label, mutation, pick

_INTS = (0, 1, -1, 2, 3, -2, 7, 2**31, -(2**31), 2**63 - 1, -(2**63))
_FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, float("nan"), float("inf"), -float("inf"), 1e30, 1e-30, 1e-5)
_TEXTS = (b"", b"constant", b"reflect", b"edge", b"wrap", b"SAME_UPPER", b"SAME_LOWER", b"VALID")
_TEXTS += (b"NOTSET", b"linear", b"nearest", b"cubic", b"tanh", b"none", b"bilinear", b"\xff")


def _an_attribute(mutant: Mutant, rng: Random) -> tuple[NodeProto, AttributeProto]:
    scope: Scope = a_scope(mutant, rng)
    node = pick(rng, (node for node in scope.node if node.attribute))
    return node, pick(rng, node.attribute)


def _of(node: NodeProto, attribute: AttributeProto, what: str = "") -> str:
    return f"{label(node)}.{attribute.name} {what}".strip()


def _number(rng: Random, was: int) -> int:
    value: int = rng.choice((was + 1, was - 1, -was, 2 * was, *_INTS))
    return max(-(2**63), min(2**63 - 1, value))


@mutation(4)
def change_attribute(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = _number(rng, attribute.i)
            return _of(node, attribute, f"= {attribute.i}")
        case AttributeProto.FLOAT:
            attribute.f = rng.choice(_FLOATS)
            return _of(node, attribute, f"= {attribute.f}")
        case AttributeProto.STRING:
            attribute.s = rng.choice(_TEXTS)
            return _of(node, attribute, f"= {attribute.s!r}")
        case AttributeProto.INTS:
            _change_numbers(attribute.ints, rng)
            return _of(node, attribute, f"= {list(attribute.ints)}")
        case AttributeProto.FLOATS:
            if not attribute.floats:
                raise NotHere
            attribute.floats[rng.randrange(len(attribute.floats))] = rng.choice(_FLOATS)
        case AttributeProto.STRINGS:
            attribute.strings.append(rng.choice(_TEXTS))
        case AttributeProto.TENSOR:
            attribute.t.data_type = rng.randrange(0, 28)
        case AttributeProto.GRAPH:
            return _of(node, attribute, _change_body(attribute, rng))
        case _:
            raise NotHere
    return _of(node, attribute)


def _change_numbers(numbers: Any, rng: Random) -> None:
    how = rng.choice(("change", "change", "permute", "append", "drop", "clear", "repeat"))
    if not numbers and how not in ("append", "clear"):
        how = "append"
    match how:
        case "change":
            at = rng.randrange(len(numbers))
            numbers[at] = _number(rng, numbers[at])
        case "permute":
            order = list(numbers)
            rng.shuffle(order)
            del numbers[:]
            numbers.extend(order)
        case "append":
            numbers.append(_number(rng, 1))
        case "drop":
            del numbers[rng.randrange(len(numbers)) :]
        case "clear":
            del numbers[:]
        case "repeat":
            numbers.append(numbers[0])


def _change_body(attribute: AttributeProto, rng: Random) -> str:
    body = attribute.g
    how = rng.choice(("no outputs", "fewer", "more", "inputs", "outer", "empty", "rename", "types"))
    match how:
        case "no outputs":
            del body.output[:]
        case "fewer":
            if not body.output:
                raise NotHere
            del body.output[-1]
        case "more":
            if not body.output:
                raise NotHere
            body.output.append(body.output[0])
        case "inputs":
            body.input.append(helper.make_tensor_value_info("another", 1, None))
        case "outer":
            # A body that gives what it only sees.
            if not body.output or not body.node or not body.node[0].input:
                raise NotHere
            body.output[0].name = body.node[0].input[0]
        case "empty":
            del body.node[:]
        case "rename":
            body.name = ""
        case "types":
            for info in body.output:
                info.ClearField("type")
    return how


@mutation(1)
def change_attribute_type(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    if rng.random() < 0.3:
        # The type that it says to have, and not what it holds.
        attribute.type = rng.randrange(0, 16) if rng.random() < 0.7 else 0  # type: ignore[assignment]
        return _of(node, attribute, f"says it is of type {attribute.type}")
    name = attribute.name
    value: Any = rng.choice((1, 1.0, "text", [1, 2], [1.0], [b"text"], np.zeros((), np.float32)))
    if isinstance(value, (np.ndarray, np.generic)):
        value = numpy_helper.from_array(np.asarray(value))
    attribute.CopyFrom(helper.make_attribute(name, value))
    return _of(node, attribute, f"has type {attribute.type}")


@mutation(2)
def delete_attribute(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    told = _of(node, attribute)
    node.attribute.remove(attribute)
    return told


@mutation(0.5)
def duplicate_attribute(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    node.attribute.append(attribute)
    return _of(node, attribute)


@mutation(0.5)
def name_attribute(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    told = _of(node, attribute)
    attribute.name = rng.choice(("", "unknown", "axis", "axes", "value", "to", "perm", "alpha"))
    return f"{told} is {attribute.name}"


@mutation(0.5)
def refer_to_attribute(mutant: Mutant, rng: Random) -> str:
    node, attribute = _an_attribute(mutant, rng)
    attribute.ref_attr_name = rng.choice(("alpha", "axis", attribute.name))
    return _of(node, attribute)


@mutation(3)
def add_attribute(mutant: Mutant, rng: Random) -> str:
    """One that the operator has in some version, with any value."""
    scope = a_scope(mutant, rng)
    node = pick(rng, scope.node)
    choices = {}
    for version in (6, 12, 17, 25):
        try:
            schema = defs.get_schema(node.op_type, version, node.domain)
        except defs.SchemaError:
            continue
        choices |= schema.attributes
    present = {attribute.name for attribute in node.attribute}
    name = pick(rng, (name for name in choices if name not in present))
    value: Any
    match choices[name].type:
        case defs.OpSchema.AttrType.INT:
            value = rng.choice((0, 1, 1, -1, 2))
        case defs.OpSchema.AttrType.FLOAT:
            value = rng.choice(_FLOATS)
        case defs.OpSchema.AttrType.STRING:
            value = rng.choice(_TEXTS)
        case defs.OpSchema.AttrType.INTS:
            value = [rng.choice((0, 1, 1, 2, -1)) for _ in range(rng.randint(1, 4))]
        case defs.OpSchema.AttrType.FLOATS:
            value = [rng.choice(_FLOATS)]
        case _:
            raise NotHere
    node.attribute.append(helper.make_attribute(name, value))
    return f"{label(node)}.{name} = {value!r}"
