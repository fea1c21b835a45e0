"""What sentences say of shapes, and of ranks and types that are not known.

Where something is not known since ONNX cannot see into a custom operator, or since an input is
declared without a shape, the sentence says so, and what would help. What a file declares of the
shape of a computed value is not believed, so declaring that would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from onnx import defs

from trtfuse.analysis.products import MADE_UP
from trtfuse.analysis.symbols import LIKE_FIRST
from trtfuse.ir.graph import Node, Value


def shown(shape: Iterable[object]) -> str:
    """A shape for a sentence: `[n, ?, 4]`, with `?` for what is not known."""
    return f"[{', '.join(_size(size) for size in shape)}]"


def rank_not_known(value: Value) -> str:
    """Says that the rank of a value is not known."""
    return f"the rank of `{value.name}` is not known{_why_no_shape(value)}"


def shape_not_known(value: Value) -> str:
    """Says that not even the rank of a value is known, where the whole shape matters."""
    return f"the shape of `{value.name}` is not known{_why_no_shape(value)}"


def type_not_known(value: Value) -> str:
    """Says that the element type of a value is not known."""
    origin = _origin(value, _has_type)
    node = origin.producer
    if node is None or not _is_custom(node):
        return f"the type of `{value.name}` is not known"
    return (
        f"the type of `{value.name}` is not known: it comes from {_custom(node)}; declare the type "
        f"of `{origin.name}` in the value_info of the model"
    )


def _why_no_shape(value: Value) -> str:
    """Where the knowledge of the rank of a value ends, and what helps; empty if nothing does."""
    origin = _origin(value, _has_rank)
    node = origin.producer
    if node is None:
        graph = origin.graph
        is_given = origin.is_input and graph.owner is None and graph.function is None
        return f": declare the shape of the input `{origin.name}`" if is_given else ""
    if not _is_custom(node):
        return ""
    return f": it comes from {_custom(node)}; a Reshape of `{origin.name}` to its sizes would tell"


def _origin(value: Value, is_known: Callable[[Value], bool]) -> Value:
    """The value that something is not known of first, among those that another is made from.

    Which that is, a model keeps in mind: of a million values behind one, each asks the next.
    """
    origins = value.graph.model.origins.setdefault(is_known, {})
    passed = []
    while value not in origins:
        passed.append(value)
        above = _unknown_above(value, is_known)
        if above is None:
            origins[value] = value
        else:
            value = above
    origins.update(dict.fromkeys(passed, origins[value]))
    return origins[value]


def _unknown_above(value: Value, is_known: Callable[[Value], bool]) -> Value | None:
    """What a value is made from of which that is not known either."""
    if value.source is not None:
        return value.source
    node = value.producer
    if node is None or _is_custom(node):
        return None
    return next((v for v in node.inputs if v is not None and not is_known(v)), None)


def _has_type(value: Value) -> bool:
    return bool(value.type)


def _has_rank(value: Value) -> bool:
    return value.shape is not None


def _is_custom(node: Node) -> bool:
    """Whether nobody here knows what an operator makes of shapes: ONNX does not have it."""
    operator = node.operator
    if operator.whose in ("standard", "function") or node.op in LIKE_FIRST:
        return False
    return operator.whose == "unknown" or not defs.has(operator.name, operator.domain)


def _custom(node: Node) -> str:
    operator = node.operator
    name = operator.name if operator.whose == "unknown" else operator.base
    return f"the custom operator `{name}` (node `{node.label}`)"


def _size(size: object) -> str:
    if size is None:
        return "?"
    # A product of sizes is named after them.
    name = str(size)
    made_up = name.removeprefix(MADE_UP)
    return "?" if made_up != name and made_up.isdigit() else made_up


def written(shape: Iterable[Any]) -> str:
    """A shape as the command line takes it: `1x3x8x8`, or three with `..` between them.

    Args:
        shape: its sizes; or the smallest, the best and the largest shape, which may be the same.
    """
    parts = tuple(shape)
    if any(isinstance(part, (tuple, list)) for part in parts):
        three = [written(part) for part in parts]
        return three[0] if len(set(three)) == 1 else "..".join(three)
    return "x".join(map(str, parts))
