"""Constant folding: what follows from constants, or from fixed shapes, becomes a constant."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from onnx import TensorProto, defs

from trtfuse.analysis.constants import constant
from trtfuse.analysis.sizes import FOLLOWED, INTEGERS, sizes
from trtfuse.ir.functions import run_by
from trtfuse.ir.graph import GROUP_DOMAIN, Node, Shape, Value
from trtfuse.ir.tensor import Array, Tensor, numpy_type, type_name
from trtfuse.layers.cut import Cut
from trtfuse.layers.shuffle import squeezes_nothing_or_all
from trtfuse.rewrite.condition import BOUNDED_GROWTH
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.pattern import Match, any_of, given, on_constants, op, rest
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, Guard, guard, rule

if TYPE_CHECKING:
    from trtfuse.check.constants import Computation

#: Operators of the standard domains that do not compute the same every time.
RANDOM = frozenset(
    (
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    )
)

#: Weights that are stored as small integers stay so: TensorRT looks for these operators, and runs
#: what is between them in few bits.
QUANTIZING = frozenset(("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"))

#: Operators that some releases of ONNX Runtime do not compute as ONNX defines them: an Attention
#: that is causal and has a past, a MaxUnpool into a given shape.
DISPUTED = frozenset(("Attention", "MaxUnpool"))

#: Operators with rules of their own: a Constant, and the sizes of a tensor.
_ELSEWHERE = frozenset(("Constant", "Shape", "Size"))

#: Operators whose results are no tensors, even if their inputs are constant.
_NO_TENSORS = frozenset(
    (
        *("Optional", "SequenceConstruct", "SequenceEmpty", "SequenceMap", "SplitToSequence"),
        *("ai.onnx.ml::CastMap", "ai.onnx.ml::ZipMap"),
    )
)


def _is_foldable(m: Match) -> bool:
    """It depends on nothing but its inputs, and no result is an output of the graph."""
    node: Node = m.root
    if any(value is not None and value.outputs for value in node.outputs):
        return False
    if node.op in _ELSEWHERE or node.operator.refers:
        return False
    return all(_is_determined(inner) for inner in run_by(node))


def _is_determined(node: Node) -> bool:
    """Whether a node computes tensors from its inputs, and the same every time."""
    operator = node.operator
    if operator.whose == "function":
        return operator.domain != GROUP_DOMAIN
    # What others call so may do anything.
    ours = operator.whose == "standard" or _is_of_onnx_ml(operator.domain, operator.name)
    return ours and not _varies(node)


@functools.cache
def _is_of_onnx_ml(domain: str, name: str) -> bool:
    return domain == "ai.onnx.ml" and defs.has(name, domain)


def _varies(node: Node) -> bool:
    """Whether a node draws numbers, trains, quantizes, or makes no tensors."""
    name = node.operator.base
    if name in RANDOM or name in QUANTIZING or name in _NO_TENSORS:
        return True
    if name == "Dropout":
        mode = node.input(2)
        trained = constant(mode)
        if node.opset < 7:
            return not node.attribute("is_test")
        return mode is not None and (trained is None or bool(trained.array().any()))
    return name == "BatchNormalization" and bool(node.attribute("training_mode"))


def _can_be_initializer(m: Match) -> bool:
    node: Node = m.root
    held = not node.home.constants_are_nodes and not node.output.outputs
    return held and constant(node.output) is not None


@rule(
    "constant-node",
    given(op.Constant(), _can_be_initializer),
    equation=Equation("constant()", "an initializer"),
    takes="Constant, in any of its attributes but strings and sparse tensors.",
    entry=CLEANUP.part("constant folding"),
    since=1,
)
def constant_node(m: Match, new: Replacement) -> Value:
    """The tensor of a Constant node is an initializer of the same name, unless it is an output, or
    there are none, as in a function.
    """
    output: Value = m.root.output
    tensor = constant(output)
    assert tensor is not None
    return new.constant(tensor, tensor.type, output.name)


def _is_static(shape: Shape) -> TypeGuard[tuple[int, ...]]:
    return all(isinstance(size, int) for size in shape)


#: Under which a match keeps what its node computes, which takes its time.
_COMPUTATION = "computation"
_RESULTS = "results"


def _computation(m: Match) -> Computation:
    # It takes its time to load; not every run needs it.
    from trtfuse.check.constants import Computation

    if _COMPUTATION not in m.bound:
        m.bound[_COMPUTATION] = Computation(m.root, _wanted(m.root))
    computation: Computation = m[_COMPUTATION]
    return computation


def _wanted(node: Node) -> list[Value]:
    """The results that something reads."""
    return [value for value in node.outputs if value is not None and value.uses]


def _known(node: Node) -> Tensor | None:
    """The constant that a node is known to compute, without computing it."""
    return constant(node.outputs[0])


def _outgrows(m: Match) -> str | None:
    """What the driver asks of every rewrite, before the constants are computed."""
    node: Node = m.root
    wanted = _wanted(node)
    sizes: list[int]
    if (known := _known(node)) is not None:
        wanted, sizes = [node.output], [known.stored_bytes]
    else:
        # What is not known before it is computed, the driver looks at afterwards.
        computation = _computation(m)
        sizes = [computation.size(value) or 0 for value in wanted]
    if not wanted:
        return None
    largest = wanted[sizes.index(max(sizes))].name
    return node.home.model.growth.why_not(largest, sum(sizes), [node])


bounded_growth = Guard(BOUNDED_GROWTH.name, _outgrows, BOUNDED_GROWTH.doc, BOUNDED_GROWTH.helps)


@guard(helps="keep the numbers within the range of the integer type")
def exact_cast(m: Match) -> str | None:
    """A Cast to an integer does not overflow: runtimes differ on the result of that."""
    node: Node = m.root
    if node.op not in ("Cast", "CastLike") or _known(node) is not None:
        return None
    value, like = node.operand(0), constant(node.input(1))
    source = constant(value)
    assert source is not None
    target = numpy_type(node.attribute("to") if like is None else like.type)
    array = source.array()
    if target.kind in "iu" and array.dtype.kind in "biuf" and array.size:
        limits = np.iinfo(target)
        # A number is cut off, not rounded.
        array = np.trunc(array) if array.dtype.kind == "f" else array
        if array.min() < limits.min or array.max() > limits.max or not np.isfinite(array).all():
            return f"`{value.name}` has numbers that {target} does not hold"
    return None


def _is_disputed(node: Node) -> bool:
    """Whether runtimes differ on what a node computes."""
    name = node.operator.base
    if name == "Slice":
        cut = Cut.of(node)
        return isinstance(cut, Cut) and cut.disputed
    if name != "Resize":
        return name in DISPUTED
    if node.attribute("coordinate_transformation_mode") != "align_corners" or node.input(3):
        return False
    # With scales that make no whole number of positions, they align the corners differently.
    x, scales = constant(node.input(0)), constant(node.input(2))
    if x is None or scales is None:
        return True
    return any(size * scale % 1 for size, scale in zip(x.shape, scales.exact(), strict=False))


@guard(helps="nothing: it is computed where the model runs")
def same_everywhere(m: Match) -> str | None:
    """Runtimes agree on the result.

    They differ on powers of integers that overflow, on numbers written as text, on a Squeeze whose
    list of axes is empty, on Attention and MaxUnpool, on a Resize by scales that aligns corners,
    and on a Slice that goes backwards to the largest end.
    """
    node: Node = m.root
    first, second = constant(node.input(0)), constant(node.input(1))
    if node.op == "Squeeze" and squeezes_nothing_or_all(node):
        return f"the axes of {node.label} are empty, which some runtimes read as all"
    if _known(node) is not None:
        return None
    disputed = next(filter(_is_disputed, run_by(node)), None)
    if disputed is not None:
        name = disputed.operator.base
        return f"runtimes do not agree on what {name} {disputed.label} computes"
    if first is None:
        return None
    texts = TensorProto.STRING
    if node.op in ("Cast", "CastLike") and first.type != texts and node.output.type == texts:
        return f"{node.label} writes numbers as text, which each runtime does in its own way"
    if node.op == "Pow" and second is not None and numpy_type(first.type).kind in "iu":
        limits = np.iinfo(numpy_type(first.type))
        powers = np.power(first.exact(), second.exact())
        if not ((limits.min <= powers) & (powers <= limits.max)).all():
            return f"powers of the integers of {node.label} overflow {type_name(first.type)}"
    return None


@guard(helps="correct the node: it fails at run time too")
def computable(m: Match) -> str | None:
    """It can be computed: a node that fails at run time stays there to fail."""
    node: Node = m.root
    if _known(node) is None and _wanted(node):
        from trtfuse.check.constants import NotComputableError

        try:
            m.bound[_RESULTS] = _computation(m).run()
        except NotComputableError as error:
            return f"it cannot be computed: {error}"
    return None


@rule(
    "fold-constants",
    given(on_constants(), _is_foldable),
    bounded_growth,
    exact_cast(),
    same_everywhere(),
    computable(),
    equation=Equation("f(constants)", "a constant"),
    takes="every operator of ONNX and ONNX-ML that computes tensors from its inputs alone, If, "
    "Loop and Scan, and calls of the model's functions; never random numbers, and never a "
    "QuantizeLinear or DequantizeLinear, since weights in few bits have to stay so.",
    entry=CLEANUP,
)
def fold_constants(m: Match, new: Replacement) -> tuple[Value | None, ...]:
    """What follows from constants is computed once. Arithmetic on floating-point numbers is done in
    float64 and rounded to its type, which is what IEEE arithmetic gives at run time; everything
    else is what ONNX Runtime computes.
    """
    node: Node = m.root
    known = _known(node)
    if known is not None:
        return (new.constant(known, known.type, node.output.name),)
    wanted = _wanted(node)
    made = zip(wanted, m[_RESULTS], strict=True) if wanted else ()
    constants = {v: new.constant(tensor, tensor.type, v.name) for v, tensor in made}
    # Float64 arithmetic is compared like any rewrite; what ONNX Runtime says is what it is.
    new.as_computed = not wanted or not _computation(m).in_float64
    return tuple(None if v is None else constants.get(v) for v in node.outputs)


def _fixed_sizes(m: Match) -> Array | None:
    """The sizes that a node computes, in the shape of its output; None unless all are fixed."""
    node: Node = m.root
    if node.output.type not in (*INTEGERS, TensorProto.BOOL) and not _is_scales(node.output):
        return None
    shape = node.output.shape
    if shape is None or not _is_static(shape) or node.output.outputs:
        return None
    if node.op == "Squeeze" and squeezes_nothing_or_all(node):
        return None
    computed = None if constant(node.output) is not None else sizes(node.output)
    fixed = [size for size in computed or () if isinstance(size, (int, Fraction))]
    if computed is None or len(fixed) < len(computed) or math.prod(shape) != len(computed):
        return None
    assert node.output.type is not None
    whole = node.output.type != TensorProto.FLOAT
    numbers = [int(size) if whole else float(size) for size in fixed]
    return np.array(numbers, numpy_type(node.output.type)).reshape(shape)


def _is_scales(value: Value) -> bool:
    """Whether a value is nothing but the scales of Resizes: these fail where one is not a number.

    Of an open size, h / h is 1 unless that is 0; what else reads it would see the difference.
    """
    return value.type == TensorProto.FLOAT and all(
        _scales(node) is value and node.inputs.count(value) == 1 for node in value.uses
    )


def _scales(node: Node) -> Value | None:
    """The scales of a Resize or Upsample; before opset 11 a Resize has no region before them."""
    if node.op not in ("Resize", "Upsample"):
        return None
    return node.input(1) if len(node.inputs) == 2 else node.input(2)


def _is_fixed(m: Match) -> bool:
    return _fixed_sizes(m) is not None


@rule(
    "fixed-shape",
    given(any_of(*(op[operator](rest("inputs")) for operator in FOLLOWED)), _is_fixed),
    equation=Equation("shape(x)[i]", "a constant, where the dimension is fixed"),
    takes="Shape, Size, and what Gather, Slice, Concat, Split, Squeeze, Unsqueeze, Reshape, "
    "Expand, Tile, ConstantOfShape, Add, Sub, Mul, Div, Mod, Neg, Abs, Min, Max, Equal, Where "
    "and reductions make of them; Cast, Floor, Ceil and Round too, as long as a float holds the "
    "sizes exactly. The result is an integer or a truth value, or the scales of a Resize or "
    "Upsample.",
    entry=CLEANUP.part("constant folding"),
)
def fixed_shape(m: Match, new: Replacement) -> Value:
    """Exporters compute the targets of Reshape and the ends of Slice with Shape, Gather and Concat
    even of dimensions that do not change. Open dimensions that cancel out are followed too, as
    where Reshape(-1, 8) makes 7 * N rows and 7 * N / N is 7.
    """
    fixed = _fixed_sizes(m)
    assert fixed is not None
    assert m.root.output.type is not None
    return new.constant(fixed, m.root.output.type, m.root.output.name)
