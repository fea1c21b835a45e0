"""What TensorRT computes at the end of a convolution's kernel, and what needs a kernel of its own.

Found by building with TensorRT for RTX 1.7 (`benchmarks/contexts.py`): a tensor that comes out of a
convolution's kernel is in the convolution's layout, one that a pointwise kernel writes is not.
"""

from __future__ import annotations

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value

_CONVOLUTIONS = ("Conv", "ConvTranspose")
#: Activations that become part of a convolution's kernel. Elu, HardSigmoid and Softplus do not.
ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSwish")
_PRODUCTS = ("Gemm", "MatMul")
#: What a product takes into its kernel besides activations.
_POINTWISE = ("Add", "Div", "Mul", "Sub")
#: Operators that pass their numbers on unchanged.
_SHUFFLES = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
#: Operators that keep the layout of a convolution.
_POOLINGS = ("MaxPool", "AveragePool")
#: Chains are followed this far: an activation of a sum of a convolution.
_DEEPEST = 4


def is_fed_by_convolution(value: Value, deep: int = _DEEPEST) -> bool:
    """Whether a value is in the layout of the convolution that it comes from."""
    node = value.producer
    if node is None or not deep:
        return False
    if node.op in _CONVOLUTIONS:
        return _is_plain(node)
    if node.op in (*ACTIVATIONS, *_POOLINGS):
        return _comes_from(node.inputs[0], deep)
    if node.op == "Add":
        # The sum of a convolution and of anything, once.
        operands = [v for v in node.inputs if v is not None]
        return any(v.producer and v.producer.op in _CONVOLUTIONS and _is_plain(v.producer)
                   for v in operands)  # fmt: skip
    if node.op == "Concat":
        return all(_comes_from(part, deep) for part in node.inputs)
    return node.op == "Mul" and is_pointwise_kernel(value)


def is_fed_by_product(value: Value | None, deep: int = _DEEPEST) -> bool:
    """Whether a value comes from a matrix product, directly or through what it takes in."""
    node = None if value is None else value.producer
    if node is None:
        return False
    if node.op in _PRODUCTS:
        return True
    handed = node.op in (*ACTIVATIONS, *_SHUFFLES, *_POINTWISE)
    return handed and deep > 0 and any(is_fed_by_product(v, deep - 1) for v in node.inputs)


def _comes_from(value: Value | None, deep: int) -> bool:
    return value is not None and is_fed_by_convolution(value, deep - 1)


def _is_plain(conv: Node) -> bool:
    """Whether it has one group, or one for each channel; others are laid out differently."""
    groups, weights = conv.attribute("group"), conv.input(1)
    shape = None if weights is None else weights.shape
    return groups == 1 or (bool(shape) and groups == (shape or (0,))[0])


def is_pointwise_kernel(value: Value) -> bool:
    """Whether it is x * sigmoid(x) of a convolution, which is a kernel of its own."""
    node = value.producer
    if node is None or node.op != "Mul" or len(node.inputs) != 2:
        return False
    first, second = node.inputs
    for x, gate in ((first, second), (second, first)):
        sigmoid = None if gate is None else gate.producer
        if sigmoid is not None and sigmoid.op == "Sigmoid" and sigmoid.inputs[0] is x:
            return x is not None and constant(x) is None and _comes_from(x, 2)
    return False


def reads_space(node: Node) -> bool:
    """Whether a node reduces the spatial axes, as a mean does."""
    return node.op.startswith(("Reduce", "Global"))


def feeds_product(value: Value, deep: int = _DEEPEST) -> bool:
    """Whether a convolution or matrix product reads a value, directly or through such operators."""
    for node in value.uses:
        if node.op in (*_CONVOLUTIONS, *_PRODUCTS):
            return True
        handed = node.op in (*ACTIVATIONS, *_SHUFFLES)
        if handed and deep and feeds_product(node.output, deep - 1):
            return True
    return False
