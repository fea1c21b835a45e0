"""Evaluates a model in float64 straight from the definitions in the ONNX specification.

Slow, and independent of the package and of the reference implementation in onnx. Next to each
result stands the same computation on absolute values: what rounding can do is proportional to it.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.numpy_helper import to_array

Array = npt.NDArray[Any]

#: How far two spellings may be apart, relative to the computation on absolute values.
TOLERANCE = 1e-12

_WIDENED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Number:
    """A tensor, and the size that its rounding is relative to."""

    value: Array
    size: Array


def assert_equivalent(before: ModelProto, after: ModelProto, feeds: Mapping[str, Array]) -> None:
    """Both models compute the same: names, shapes, and values up to the rounding of float64."""
    old, new = evaluate(before, feeds), evaluate(after, feeds)
    assert list(old) == list(new)
    for name, expected in old.items():
        found = new[name].value
        assert found.shape == expected.value.shape, name
        finite = np.isfinite(expected.size)
        error = np.abs(found - expected.value)[finite]
        assert (error <= TOLERANCE * expected.size[finite] + 1e-300).all(), (
            f"{name} is off by {(error / (expected.size[finite] + 1e-300)).max():.3g}"
        )


def evaluate(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Number]:
    """The outputs of a model by name, every floating-point number in float64."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    given: ChainMap[str, Number] = ChainMap({name: _number(feeds[name]) for name in feeds})
    with np.errstate(all="ignore"):
        return _graph(model.graph, given, opset)


def _number(array: Array) -> Number:
    wide = array if array.dtype.kind in "iub" else array.astype(np.float64)
    return Number(wide, wide if wide.dtype.kind == "b" else np.abs(wide))


def _graph(graph: GraphProto, outer: ChainMap[str, Number], opset: int) -> dict[str, Number]:
    scope = outer.new_child()
    for tensor in graph.initializer:
        if tensor.name not in outer.maps[0]:
            scope[tensor.name] = _number(to_array(tensor))
    for node in graph.node:
        for name, result in zip(node.output, _node(node, scope, opset), strict=False):
            scope[name] = result
    return {output.name: scope[output.name] for output in graph.output}


def _node(node: NodeProto, scope: ChainMap[str, Number], opset: int) -> list[Number]:
    attributes = {
        a.name: a.g if a.type == AttributeProto.GRAPH else helper.get_attribute_value(a)
        for a in node.attribute
    }
    inputs = [scope[name] if name else None for name in node.input]
    match node.op_type:
        case "Constant":
            (attribute,) = node.attribute
            content = attributes[attribute.name]
            array = to_array(content) if isinstance(content, TensorProto) else np.array(content)
            return [_number(array)]
        case "If":
            (condition,) = inputs
            assert condition is not None
            branch = attributes["then_branch" if condition.value.item() else "else_branch"]
            return list(_graph(branch, scope, opset).values())
        case "Loop":
            return _loop(attributes["body"], inputs, scope, opset)
    compute = _OPERATORS[node.op_type]
    values = [None if number is None else number.value for number in inputs]
    sizes = [None if number is None else number.size for number in inputs]
    plain = Call(attributes, opset, absolute=False)
    absolute = Call(attributes, opset, absolute=True)
    return [Number(np.asarray(compute(plain, *values)), np.asarray(compute(absolute, *sizes)))]


def _loop(
    body: GraphProto, inputs: Sequence[Number | None], scope: ChainMap[str, Number], opset: int
) -> list[Number]:
    """A loop with a trip count and no condition, whose outputs are all carried."""
    count, _, *carried = inputs
    assert count is not None
    names = [each.name for each in body.input]
    for step in range(int(count.value)):
        given = dict(
            zip(names, (_number(np.int64(step)), _number(np.True_), *carried), strict=True)
        )
        _, *carried = _graph(body, scope.new_child(given), opset).values()
    return [number for number in carried if number is not None]


@dataclass(frozen=True)
class Call:
    """A call of an operator: its attributes, and whether it is of absolute values."""

    attributes: Mapping[str, Any]
    opset: int
    absolute: bool

    def get(self, name: str, default: Any = None) -> Any:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value


def _positions(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(size) for size in sizes))


def _require_channels(x: Array, channels: int) -> None:
    if x.shape[1] != channels:
        raise ValueError(f"{x.shape[1]} channels where there are weights for {channels}")


def _geometry(call: Call, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    ones = [1] * len(kernel)
    strides, dilations = call.get("strides", ones), call.get("dilations", ones)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    return list(strides), list(dilations), reach


def _shares(total: Sequence[int], upper: bool) -> list[tuple[int, int]]:
    halves = [(size // 2, size - size // 2) for size in total]
    return halves if upper else [(end, begin) for begin, end in halves]


def _conv(call: Call, x: Array, w: Array, b: Array | None = None) -> Array:
    """Each output position is the product of the weights with what the kernel covers there."""
    n, _, *sizes = x.shape
    maps, inner, *kernel = w.shape
    group = call.get("group", 1)
    _require_channels(x, inner * group)
    strides, dilations, reach = _geometry(call, kernel)
    rank, auto = len(kernel), call.get("auto_pad", "NOTSET")
    flat = call.get("pads", [0] * 2 * rank) if auto == "NOTSET" else [0] * 2 * rank
    pads = list(zip(flat[:rank], flat[rank:], strict=True))
    if auto.startswith("SAME"):
        total = [
            max(0, (-(-size // s) - 1) * s + r - size)
            for size, s, r in zip(sizes, strides, reach, strict=True)
        ]
        pads = _shares(total, auto == "SAME_UPPER")
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    out = [(x.shape[2 + i] - reach[i]) // strides[i] + 1 for i in range(rank)]
    w = w.reshape(group, maps // group, -1)
    y = np.zeros((n, maps, *out))
    for at in _positions(out):
        window = x[
            (
                ...,
                *(
                    slice(at[i] * strides[i], at[i] * strides[i] + reach[i], dilations[i])
                    for i in range(rank)
                ),
            )
        ]
        covered = window.reshape(n, group, -1)
        y[(..., *at)] = np.einsum("ngk,gmk->ngm", covered, w).reshape(n, maps)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _conv_transpose(call: Call, x: Array, w: Array, b: Array | None = None) -> Array:
    """Each input position adds the kernel, times its number, to the output."""
    n, channels, *sizes = x.shape
    maps, *kernel = w.shape[1:]
    _require_channels(x, w.shape[0])
    group, rank = call.get("group", 1), len(kernel)
    strides, dilations, reach = _geometry(call, kernel)
    extra = call.get("output_padding", [0] * rank)
    full = [strides[i] * (sizes[i] - 1) + reach[i] + extra[i] for i in range(rank)]
    flat = call.get("pads", [0] * 2 * rank)
    pads = list(zip(flat[:rank], flat[rank:], strict=True))
    auto = call.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = [full[i] - sizes[i] * strides[i] for i in range(rank)]
        pads = _shares(total, auto == "SAME_UPPER")
    x = x.reshape(n, group, channels // group, *sizes)
    w = w.reshape(group, channels // group, maps, *kernel)
    y = np.zeros((n, group, maps, *full))
    for at in _positions(sizes):
        window = tuple(
            slice(at[i] * strides[i], at[i] * strides[i] + reach[i], dilations[i])
            for i in range(rank)
        )
        y[(..., *window)] += np.einsum("ngc,gcm...->ngm...", x[(..., *at)], w)
    y = y.reshape(n, group * maps, *full)
    y = y[(..., *(slice(low, full[i] - high) for i, (low, high) in enumerate(pads)))]
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _gemm(call: Call, a: Array, b: Array, c: Array | None = None) -> Array:
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if call.absolute:
        alpha, beta = abs(alpha), abs(beta)
    product = alpha * ((a.T if call.get("transA") else a) @ (b.T if call.get("transB") else b))
    if c is None:
        return np.asarray(product)
    added = product + beta * c
    if added.shape != product.shape:
        raise ValueError(f"C of shape {c.shape} broadcasts the product of shape {product.shape}")
    return np.asarray(added)


def _batch_normalization(
    call: Call, x: Array, gain: Array, bias: Array, mean: Array, variance: Array
) -> Array:
    assert not call.get("training_mode", 0)
    _require_channels(x, gain.size)
    shape = (-1, *[1] * (x.ndim - 2))
    root = np.sqrt(variance + call.get("epsilon", float(np.float32(1e-5))))
    centred = x + mean.reshape(shape) if call.absolute else x - mean.reshape(shape)
    return np.asarray(centred * (gain / root).reshape(shape) + bias.reshape(shape))


def _axes(call: Call, given: Array | None) -> tuple[int, ...]:
    return tuple(int(axis) for axis in (call.get("axes") if given is None else given))


def _reshape(_: Call, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


def _pow(_: Call, x: Array, exponent: Array) -> Array:
    return np.asarray(x ** exponent.astype(x.dtype))


def _divide(_: Call, a: Array, b: Array) -> Array:
    return np.asarray(a // b if a.dtype.kind in "iu" else a / b)


_OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda call, a, b: a + b if call.absolute else a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": _divide,
    "Neg": lambda call, x: x if call.absolute else -x,
    "Pow": _pow,
    "Relu": lambda _, x: np.maximum(x, 0),
    "Abs": lambda _, x: np.abs(x),
    "Identity": lambda _, x: x,
    "Cast": lambda _, x: x,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": lambda _, a, b: a @ b,
    "BatchNormalization": _batch_normalization,
    "Reshape": _reshape,
    "Transpose": lambda call, x: x.transpose(call.get("perm")),
    "Unsqueeze": lambda call, x, axes=None: np.expand_dims(x, _axes(call, axes)),
    "Squeeze": lambda call, x, axes=None: np.squeeze(x, _axes(call, axes)),
}


def widened(model: ModelProto) -> ModelProto:
    """A copy with every floating type made float64, and the numbers that it had."""
    copy = ModelProto()
    copy.CopyFrom(model)
    _widen(copy.graph)
    for function in copy.functions:
        _widen_nodes(function.node)
    return copy


def _widen(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in _WIDENED:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.type == AttributeProto.GRAPH:
                _widen(attribute.g)
            elif node.op_type == "Cast" and attribute.i in _WIDENED:
                attribute.i = TensorProto.DOUBLE


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _WIDENED:
        array = to_array(tensor).astype(np.float64)
        dims, name = list(tensor.dims), tensor.name
        tensor.Clear()
        tensor.CopyFrom(
            TensorProto(
                dims=dims, name=name, data_type=TensorProto.DOUBLE, raw_data=array.tobytes()
            )
        )
