"""Constant folding: what follows from constants, or from fixed shapes, becomes a constant."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np
from onnx import TensorProto

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.ir.sizes import FOLLOWED, sizes
from trtfuse.ir.tensor import FLOATING, Array, Tensor, numpy_type, rounded, type_name
from trtfuse.layers.shuffle import squeezes_nothing_or_all
from trtfuse.rewrite.pattern import Match, any_of, const, given, op, rest
from trtfuse.rewrite.rule import Replacement, guard, rule

#: Operators that are folded: they depend on nothing but their inputs, and the reference
#: implementation of each agrees with ONNX Runtime. Random numbers, quantization and everything that
#: carries state stay.
FOLDABLE = (
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Cos",
    "CumSum",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "OneHot",
    "Or",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
)


_constants = rest("constants", const("each", optional=True))


def _is_no_output(m: Match) -> bool:
    """The result is no output of the graph."""
    return not m.root.output.outputs


def _can_be_initializer(m: Match) -> bool:
    node: Node = m.root
    assert node.graph is not None
    held = not node.graph.constants_are_nodes and not node.output.outputs
    return held and constant(node.output) is not None


@rule("constant-node", given(op.Constant(), _can_be_initializer), entry="Cleanup", since=1)
def constant_node(m: Match, new: Replacement) -> Value:
    """constant()  ==  an initializer

    Entry Cleanup (constant folding): the tensor of a Constant node is an initializer of the same
    name, unless it is an output, or there are none, as in a function.

    Takes: Constant, in any of its attributes but strings and sparse tensors.
    """
    output: Value = m.root.output
    tensor = constant(output)
    assert tensor is not None
    return new.constant(tensor, tensor.type, output.name)


def _is_static(shape: Shape) -> TypeGuard[tuple[int, ...]]:
    return all(isinstance(size, int) for size in shape)


def _size(value: Value) -> int | None:
    """The bytes of a value, or None where its shape or type is not fixed."""
    if value.shape is None or value.type is None or not _is_static(value.shape):
        return None
    return math.prod(value.shape) * numpy_type(value.type).itemsize


@guard
def bounded_growth(m: Match) -> str | None:
    """The constant is larger than those that it is made from by at most `fold_limit` bytes."""
    node: Node = m.root
    assert node.graph is not None
    limit = node.graph.model.fold_limit
    known = constant(node.output)
    size = known.nbytes if known is not None else _size(node.output)
    if size is None:
        return f"the shape of `{node.output.name}` is not fixed"
    made_from = sum(tensor.nbytes for v in node.inputs if (tensor := constant(v)) is not None)
    if size <= made_from + limit:
        return None
    return (
        f"`{node.output.name}` would have {size} bytes, made from {made_from}, "
        f"and the limit of growth is {limit}"
    )


@guard
def exact_cast(m: Match) -> str | None:
    """A Cast to an integer does not overflow: what becomes of it then differs between runtimes."""
    node: Node = m.root
    if node.op != "Cast" or constant(node.output) is not None:
        return None
    value = node.inputs[0]
    source = constant(value)
    assert value is not None
    assert source is not None
    target = numpy_type(node.attribute("to"))
    array = source.array()
    if target.kind in "iu" and array.dtype.kind in "biuf" and array.size:
        limits = np.iinfo(target)
        if array.min() < limits.min or array.max() > limits.max or not np.isfinite(array).all():
            return f"`{value.name}` has numbers that {target} does not"
    return None


@guard
def same_everywhere(m: Match) -> str | None:
    """Runtimes agree on the result.

    They do not on a power of integers that overflows, on how a number is written as a text, and on
    whether a Squeeze of no axes is one of all.
    """
    node: Node = m.root
    first, second = constant(node.input(0)), constant(node.input(1))
    if node.op == "Squeeze" and squeezes_nothing_or_all(node):
        return f"the axes of {node.label} are empty, which some runtimes read as all"
    if first is None or constant(node.output) is not None:
        return None
    if node.op == "Cast" and node.attribute("to") == TensorProto.STRING:
        return f"{node.label} writes numbers as texts, each runtime in its own way"
    if node.op == "Pow" and second is not None and numpy_type(first.type).kind in "iu":
        limits = np.iinfo(numpy_type(first.type))
        powers = np.power(first.exact(), second.exact())
        if not ((limits.min <= powers) & (powers <= limits.max)).all():
            return f"powers of the integers of {node.label} overflow {type_name(first.type)}"
    return None


#: Under which a match keeps what its node computes, which takes its time.
_RESULT = "result"


@guard
def computable(m: Match) -> str | None:
    """It can be computed: a node that fails at run time stays there to fail."""
    node: Node = m.root
    if constant(node.output) is None:
        try:
            m.bound[_RESULT] = _evaluated(node)
        except Exception as error:  # noqa: BLE001 - the reference evaluator raises anything
            return f"it cannot be computed: {' '.join(str(error).split())[:200]}"
    return None


def _evaluated(node: Node) -> Array:
    """What a node computes from constants, each rounded to its type as at run time."""
    # It takes its time to load; not every run needs it.
    from trtfuse.check.float64 import Evaluator

    assert node.graph is not None
    evaluator = Evaluator([node], [node.output], node.graph.opset_imports)
    feeds = {value: _widened(tensor) for value in evaluator.inputs if (tensor := constant(value))}
    return evaluator.run(feeds)[0]


def _widened(tensor: Tensor) -> Array:
    array = tensor.array()
    return array.astype(np.float64) if tensor.type in FLOATING else array


@rule(
    "fold-constants",
    given(any_of(*(op[operator](_constants) for operator in FOLDABLE)), _is_no_output),
    bounded_growth(),
    exact_cast(),
    same_everywhere(),
    computable(),
    entry="Cleanup",
)
def fold_constants(m: Match, new: Replacement) -> Value:
    """f(constants)  ==  a constant

    Entry Cleanup: what follows from constants is computed once, in float64, and rounded to its
    type, which is what IEEE arithmetic gives at run time.

    Takes: some 65 operators that depend on nothing but their inputs; never random ones, and never a
    DequantizeLinear.
    """
    node: Node = m.root
    known = constant(node.output)
    if known is not None:
        return new.constant(known, known.type, node.output.name)
    assert node.output.type is not None
    array: Array = m[_RESULT]
    if node.output.type in FLOATING:
        array = rounded(array, node.output.type)
    return new.constant(array, node.output.type, node.output.name)


def _fixed_sizes(m: Match) -> Array | None:
    """The sizes that a node computes, where all are fixed."""
    node: Node = m.root
    shape = node.output.shape
    if shape is None or not _is_static(shape) or node.output.outputs:
        return None
    if node.op == "Squeeze" and squeezes_nothing_or_all(node):
        return None
    found = None if constant(node.output) is not None else sizes(node.output)
    if found is None or not all(isinstance(size, int) for size in found):
        return None
    assert node.output.type is not None
    fits = math.prod(shape) == len(found)
    return np.array(found, numpy_type(node.output.type)).reshape(shape) if fits else None


def _is_fixed(m: Match) -> bool:
    return _fixed_sizes(m) is not None


@rule(
    "fixed-shape",
    given(any_of(*(op[operator](rest("inputs")) for operator in FOLLOWED)), _is_fixed),
    entry="Cleanup",
)
def fixed_shape(m: Match, new: Replacement) -> Value:
    """shape(x)[i]  ==  a constant, where the dimension is fixed

    Entry Cleanup (constant folding): exporters compute the targets of Reshape and the ends of Slice
    with Shape, Gather and Concat even of dimensions that do not change.

    Takes: Shape, Size, and what Gather, Slice, Concat, Squeeze, Unsqueeze, Cast, Reshape, Add, Sub,
    Mul, Div and Where by a constant make of them.
    """
    found = _fixed_sizes(m)
    assert found is not None
    assert m.root.output.type is not None
    return new.constant(found, m.root.output.type, m.root.output.name)
