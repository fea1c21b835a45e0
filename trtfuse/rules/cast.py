"""Casts: chains that lose nothing, and CastLike of a type that is known."""

from __future__ import annotations

from onnx import TensorProto

from trtfuse.analysis.wording import type_not_known
from trtfuse.ir.graph import Value
from trtfuse.ir.tensor import type_name
from trtfuse.ir.types import INTEGERS, PLAIN, holds
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.guards import known_type
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


@guard(helps="nothing, if it is there to round; else leave out the Casts")
def nothing_lost(m: Match) -> str | None:
    """The type in between holds every number of the first type, and none of the types is special.

    A Cast to float16 and back rounds, and is often there to round.
    """
    x, y = m["x"], m["y"]
    types = x.type, y.type, m.root.attribute("to")
    if x.type is None or y.type is None:
        return type_not_known(y if x.type is not None else x)
    special = next((element_type for element_type in types if element_type not in PLAIN), None)
    if special is not None:
        return f"a Cast from or to {type_name(special)} depends on more than the number"
    if not holds(y.type, x.type):
        return (
            f"`{y.name}` is {type_name(y.type)}, which does not hold every {type_name(x.type)} "
            "exactly"
        )
    return None


@guard(helps="cast to an integer type in between, or directly")
def wraps_alike(m: Match) -> str | None:
    """No integer goes through a floating type to an integer type that does not hold it.

    What becomes of a number out of range is up to the runtime there, while integers wrap around.
    """
    x, y, to = m["x"], m["y"], m.root.attribute("to")
    into_integers = to in INTEGERS and to != TensorProto.BOOL
    if x.type not in INTEGERS or y.type in INTEGERS or not into_integers or holds(to, x.type):
        return None
    return (
        f"{type_name(to)} does not hold every {type_name(x.type)}, and the integer would wrap "
        f"around where the {type_name(y.type)} is out of range"
    )


@rule(
    "cast-cast",
    op.Cast(op.Cast(var("x"), out="y")),
    nothing_lost(),
    wraps_alike(),
    equation=Equation(
        "cast(cast(x, b), c)", "cast(x, c), where b holds every x; x itself where it is of type c"
    ),
    takes="Cast between bool, integers of 8 to 64 bits, float16, bfloat16, float32 and float64; "
    "the inner one may have other readers.",
    entry=CLEANUP,
    shared=("y",),
)
def cast_cast(m: Match, new: Replacement) -> Value:
    """Float16 to float32 and back, int32 to int64 and back, bool to float and back: nothing is lost
    on the way. A chain that rounds stays: float32 to float16 and back is a precision that somebody
    chose.
    """
    x: Value = m["x"]
    return x if x.type == m.root.attribute("to") else new.again(m.root, x)


@rule(
    "cast-like",
    op.CastLike(var("x"), var("like")),
    known_type("like"),
    equation=Equation("cast_like(x, y)", "cast(x, to=type of y)"),
    takes="CastLike; in a function, where all calls pass the same type.",
    entry=CLEANUP,
    since=15,
)
def cast_like(m: Match, new: Replacement) -> Value:
    """Functions of newer exporters give constants the type of an input this way. As a Cast it is
    folded, and what is around it, such as GELU, is seen for what it is.
    """
    like: Value = m["like"]
    node = m.root
    kept = {name: node.given(name) for name in ("saturate", "round_mode")}
    return new.Cast(m["x"], to=like.type, like=node, **kept)
