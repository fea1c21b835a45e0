"""Matrix products by constant weights in a row: F2, F15, F16."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known, shown
from trtfuse.groups.activation import Activations
from trtfuse.groups.partition import (
    ONE_CONSUMER,
    Partition,
    computed,
    joined,
    only_reader,
    other_operand,
)
from trtfuse.groups.target import DEFAULT_KIB, memory_limits
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Tensor, numpy_type
from trtfuse.layers.linear import misspelled_transposition
from trtfuse.layers.scale import Scale, not_constant
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, STATIC_SHAPES, Condition
from trtfuse.rewrite.entries import F2, F15, F16
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.rule import Equation, group_rule

#: How many matrix products one MLP takes.
MOST_LAYERS = 31

TWO_DIMENSIONS = Condition(
    "two-dimensions",
    "The product is one of matrices, or becomes one when the leading axes are flattened.",
    "give the product one constant matrix",
)
CONSTANT_WEIGHTS = Condition(
    "constant-weights",
    "One operand of the product is constant.",
    FOLDED_CONSTANTS,
)
FITS_ON_CHIP = Condition(
    "fits-on-chip",
    "The weights of the product fit the shared memory of a block of the target.",
    "name a `target` with more shared memory, or make the layer narrower",
)
KEEPS_SHAPE = Condition(
    "sum-keeps-shape",
    "The constant that is added does not broadcast.",
    STATIC_SHAPES,
)
NOT_FULL = Condition(
    "most-layers",
    f"An MLP has at most {MOST_LAYERS} matrix products.",
    "nothing: the next MLP begins there",
)

FC_RELU = group_rule(
    "fc-relu",
    ONE_CONSUMER,
    TWO_DIMENSIONS,
    equation=Equation("relu(x w + b)", "one kernel `fc + relu`"),
    doc="A Relu joins the product before it, where the two do not grow to an MLP.",
    takes="Gemm with constant weights, or MatMul by a constant matrix with or without the Add "
    "of a constant bias, and Relu.",
    entry=F2,
    module=__name__,
)
MLP_START = group_rule(
    "mlp-start",
    ONE_CONSUMER,
    CONSTANT_WEIGHTS,
    TWO_DIMENSIONS,
    KEEPS_SHAPE,
    FITS_ON_CHIP,
    equation=Equation("f(x w + b)", "one kernel `fc + f`"),
    doc="What follows a product joins it, where the two do not grow to an MLP of more products.",
    takes="one product by constant weights, with the Add or Sub of constants and activations "
    "after it, each read by the next alone.",
    entry=F15,
    module=__name__,
)
MLP = group_rule(
    "mlp",
    ONE_CONSUMER,
    CONSTANT_WEIGHTS,
    TWO_DIMENSIONS,
    KEEPS_SHAPE,
    FITS_ON_CHIP,
    NOT_FULL,
    equation=Equation("f(g(x v + a) w + b)", "one kernel `2-layer MLP`"),
    doc=f"""An MLP takes in products by constant weights, sums with constants and activations as
    long as each is read by the next alone, up to {MOST_LAYERS} products.

    The weights of each product fit the shared memory that a block may use, by compute capability:
    {memory_limits()}.
    Where no target is given, {DEFAULT_KIB} KiB are assumed.

    A product of more than two dimensions by a matrix counts as one of its leading axes flattened;
    the report notes it.
    """,
    takes="Gemm with any alpha, beta, transA, transB and a constant C or none; MatMul by a "
    "constant matrix, or of one by a matrix; Add and Sub of constants; every activation that "
    "conv-activation takes, and Relu.",
    entry=F16,
    module=__name__,
)

_log = logging.getLogger("trtfuse")


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A matrix product by constant weights, with what a Gemm adds.

    Attributes:
        node: the Gemm or MatMul.
        x: the other operand.
        w, weight: the weights, as a value and as its constant.
    """

    node: Node
    x: Value
    w: Value
    weight: Tensor

    @property
    def bytes(self) -> int:
        """The size of the weights."""
        return self.weight.size * numpy_type(self.weight.type).itemsize

    @property
    def flattened(self) -> bool:
        """Whether it is of more than two dimensions."""
        return (self.x.rank or 0) > 2

    @classmethod
    def of(cls, node: Node) -> MatrixProduct | tuple[Condition, str] | None:
        """The product; why it is none for an MLP; None where there is no product."""
        if node.op not in ("Gemm", "MatMul"):
            return None
        left, right = node.operand(0), node.operand(1)
        x, w = (left, right) if computed(left) else (right, left)
        weight = constant(w)
        if weight is None:
            because = f"both operands are computed, `{right.name}` by {_source(right)}"
            return CONSTANT_WEIGHTS, because
        c = node.input(2)
        if c is not None and computed(c):
            return CONSTANT_WEIGHTS, f"the bias `{c.name}` is {not_constant(c)}"
        if unclear := misspelled_transposition(node):
            return TWO_DIMENSIONS, unclear
        if len(weight.shape) != 2:
            because = f"its weights `{w.name}` have shape {shown(weight.shape)}, no matrix"
            return TWO_DIMENSIONS, because
        if x.rank is None:
            return TWO_DIMENSIONS, rank_not_known(x)
        if x.rank < 2 or (x.rank > 2 and w is left):
            return TWO_DIMENSIONS, f"`{x.name}` has shape {shown(x.shape or ())}, no matrix"
        return cls(node, x, w, weight)


@dataclass(slots=True)
class _Chain:
    """An MLP while it grows.

    Attributes:
        elements: what it is made of: products, sums with constants, activations.
        products: the products among them.
        why_not: why it does not grow further, where something follows that it might take in.
    """

    elements: list[tuple[Node, ...]] = field(default_factory=list)
    products: list[MatrixProduct] = field(default_factory=list)
    relu: bool = False
    why_not: tuple[Condition, str] | None = None

    @property
    def nodes(self) -> list[Node]:
        return [node for element in self.elements for node in element]

    @property
    def output(self) -> Value:
        return self.elements[-1][-1].output


def find(partition: Partition, activations: Activations) -> None:
    """Forms the groups that begin with a matrix product by constant weights."""
    done: set[Node] = set()
    for node in partition.order:
        if not partition.free(node) or node in done:
            continue
        product = MatrixProduct.of(node)
        if product is None:
            continue
        if isinstance(product, tuple):
            if _follows(activations, node.output) is not None:
                partition.decline(MLP_START, node, *product)
            continue
        chain = _Chain([(node,)], [product])
        too_large = _too_large(partition, product)
        grows = partition.allows(MLP) and too_large is None
        _grow(partition, activations, chain, grows)
        done.update(chain.nodes)
        if too_large is not None and (
            len(chain.elements) > 1 or _follows(activations, node.output) is not None
        ):
            partition.decline(MLP_START, node, FITS_ON_CHIP, too_large)
        if chain.why_not is not None:
            rule = MLP if len(chain.elements) > 1 else MLP_START
            partition.decline(rule, chain.elements[-1][-1], *chain.why_not)
        _form(partition, chain, too_large is None)


def _too_large(partition: Partition, product: MatrixProduct) -> str | None:
    """Why the weights of a product are too large for an MLP; None if they are not."""
    if product.bytes <= partition.limit:
        return None
    return (
        f"its weights `{product.w.name}` take {product.bytes} bytes, and a block of "
        f"{partition.target} has {partition.limit} bytes of shared memory"
    )


def _grow(partition: Partition, activations: Activations, chain: _Chain, grows: bool) -> None:
    """Takes in what follows; products only if it `grows`."""
    while True:
        y = chain.output
        activation = activations.of(y)
        if activation is not None:
            chain.elements.append(activation.nodes)
            continue
        reader = only_reader(y)
        if reader is None or not partition.free(reader):
            follows = _follows(activations, y)
            others = None if follows is None else consumers(y, (follows,))
            chain.why_not = None if others is None else (ONE_CONSUMER, others)
            return
        shift = _shift(reader, y)
        if isinstance(shift, str):
            chain.why_not = KEEPS_SHAPE, shift
            return
        if shift:
            chain.elements.append((reader,))
            continue
        product = MatrixProduct.of(reader) if grows else None
        if not isinstance(product, MatrixProduct):
            chain.why_not = product
            return
        if product.x is not y:
            return
        if (too_large := _too_large(partition, product)) is not None:
            chain.why_not = FITS_ON_CHIP, f"{reader.label} follows: {too_large}"
            return
        if len(chain.products) == MOST_LAYERS:
            because = (
                f"{_name(chain)} has {MOST_LAYERS} layers, the most that there are in one, and "
                f"{reader.label} follows"
            )
            chain.why_not = NOT_FULL, because
            return
        chain.elements.append((reader,))
        chain.products.append(product)


def _form(partition: Partition, chain: _Chain, fits: bool) -> None:
    """Makes a group of a chain, if it is one."""
    flattened = next((product for product in chain.products if product.flattened), None)
    note = None
    if flattened is not None:
        note = f"the leading axes of `{flattened.x.name}` count as flattened to one"
    if len(chain.products) > 1 and partition.allows(MLP):
        _log_growth(chain)
        partition.form(MLP, chain.nodes, _name(chain), note)
        return
    fc_relu = _fc_and_relu(chain)
    if fc_relu is not None and partition.allows(FC_RELU):
        whole = len(fc_relu) == len(chain.nodes)
        if whole or not fits or not partition.allows(MLP_START):
            partition.form(FC_RELU, fc_relu, None, note)
            return
    if fits and len(chain.elements) > 1 and partition.allows(MLP_START):
        partition.form(MLP_START, chain.nodes, None, note)


def _fc_and_relu(chain: _Chain) -> list[Node] | None:
    """The nodes of the FullyConnected and the Relu that a chain begins with, or None."""
    for place, element in enumerate(chain.elements[1:3], 1):
        if element[0].op == "Relu":
            return [node for part in chain.elements[: place + 1] for node in part]
        if place == 2 or element[0].op != "Add" or chain.products[0].node.op != "MatMul":
            return None
    return None


def _name(chain: _Chain) -> str:
    nodes = chain.elements[0][0], chain.elements[-1][-1]
    return f"{len(chain.products)}-layer MLP ({nodes[0].label} .. {nodes[1].label})"


def _log_growth(chain: _Chain) -> None:
    """Tells how an MLP came about, step by step, as the builder does."""
    if not _log.isEnabledFor(logging.INFO):
        return
    so_far = _Chain([chain.elements[0]], [chain.products[0]])
    name = chain.elements[0][0].label
    left = iter(chain.products[1:])
    following = next(left, None)
    for element in chain.elements[1:]:
        so_far.elements.append(element)
        if following is not None and element[0] is following.node:
            so_far.products.append(following)
            following = next(left, None)
        several = len(so_far.products) > 1
        grown = _name(so_far) if several else joined(so_far.nodes)
        _log.info("Fusing %s with %s: %s", name, joined(element), grown)
        name = grown


def _shift(node: Node, x: Value) -> bool | str:
    """Whether a node only adds constants to a value; a sentence where it would broadcast it."""
    if node.op not in ("Add", "Sub") or computed(other_operand(node, x)):
        return False
    seen = Scale.of(node)
    if not isinstance(seen, Scale) or seen.x is not x or seen.shift is None or seen.scale:
        return False
    return seen.shift.broadcasts(x) or True


def _follows(activations: Activations, y: Value) -> Node | None:
    """What reads a value and might be taken in, if nothing else did."""
    activation = activations.among_readers(y)
    if activation is not None:
        return activation
    several = itertools.islice(y.uses, 8)
    return next(
        (n for n in several if isinstance(MatrixProduct.of(n), MatrixProduct) or _shift(n, y)), None
    )


def _source(value: Value) -> str:
    if value.producer is None:
        return "what is given at run time"
    return f"{value.producer.op} {value.producer.label}"
