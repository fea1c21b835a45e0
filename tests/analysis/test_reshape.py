"""What the target of a Reshape says. The oracle is the reference implementation of onnx."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import model
from onnx.reference.ops.op_reshape import reshape_reference_implementation

from trtfuse.analysis.reshape import Target, copies, target
from trtfuse.ir.graph import Node
from trtfuse.model.model import Model


def reshape(allowzero: int | None = None, opset: int = 17) -> Node:
    attribute = "" if allowzero is None else f"<allowzero={allowzero}>"
    text = f"(float[?] x, int64[?] s) => (float[?] y) {{ y = Reshape{attribute}(x, s) }}"
    (node,) = Model(model(text, opset=opset)).graph.nodes()
    return node


#: Made once: reading a model takes longer than all that is asked of it.
RESHAPE = {allowzero: reshape(allowzero) for allowzero in (0, 1)}


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int], int]:
    """Shapes, with a target that may copy sizes and leave one open, and allowzero."""
    allowzero = draw(st.sampled_from((0, 1)))
    own = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 4)), min_size=1, max_size=4)))
    listed = list(draw(st.permutations(own)))
    for axis, size in enumerate(listed):
        if not allowzero and own[axis] == size and draw(st.booleans()):
            listed[axis] = 0
    if draw(st.booleans()):
        listed[draw(st.integers(0, len(listed) - 1))] = -1
    return own, listed, allowzero


@given(reshapes())
def test_it_says_what_the_reference_makes_of_it(
    made: tuple[tuple[int, ...], list[int], int],
) -> None:
    own, listed, allowzero = made
    said = target(RESHAPE[allowzero], listed, own)
    shape = reshape_reference_implementation(np.zeros(own), np.array(listed), allowzero).shape
    assert said.runs
    assert said.rest == (listed.index(-1) if -1 in listed else None)
    known = [size for size in said.sizes if isinstance(size, int)]
    if said.rest is not None:
        known.insert(said.rest, math.prod(own) // math.prod(known))
    assert tuple(known) == shape
    assert [size for size in said.written if isinstance(size, int)] == [
        -1 if axis == said.rest else size for axis, size in enumerate(shape)
    ]


def test_symbols_are_copied_and_what_is_not_known_stays_so() -> None:
    node = reshape(0)
    assert target(node, [0, 0, "m", None, -1], ("n", 3, 5)) == Target(
        ("n", 3, "m", None, None), rest=4, runs=True
    )
    assert target(node, [0, 2], None) == Target((None, 2), rest=None, runs=True)


@pytest.mark.parametrize(("allowzero", "runs"), [(0, False), (1, True)])
def test_a_size_that_is_not_there_cannot_be_copied(allowzero: int, runs: bool) -> None:
    said = target(RESHAPE[allowzero], [2, 3, 0], (2, 3))
    assert (said.runs, said.sizes[2]) == (runs, 0 if runs else None)


@pytest.mark.parametrize(
    ("allowzero", "opset", "copied"),
    [(None, 13, True), (None, 17, True), (0, 17, True), (1, 17, False)],
)
def test_zero_copies_unless_it_is_allowed(allowzero: int | None, opset: int, copied: bool) -> None:
    assert copies(reshape(allowzero, opset)) is copied
