"""Evaluates a few nodes in float64, with the reference implementation that onnx carries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, OperatorSetIdProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, Array

#: Before this opset Softmax flattens what it gets to a matrix.
_SOFTMAX_OF_ONE_AXIS = 13


class Evaluator:
    """Computes what some nodes compute, with every floating type widened to float64.

    Args:
        nodes: in a topological order.
        results: the values to compute.
        opsets: what the model imports.

    Attributes:
        inputs: the values that the nodes read and do not compute, in order of first use.
    """

    def __init__(
        self, nodes: Iterable[Node], results: Sequence[Value], opsets: Iterable[OperatorSetIdProto]
    ) -> None:
        self._names: dict[Value, str] = {}
        computed: set[Value] = set()
        inputs: dict[Value, None] = {}
        graph = GraphProto(name="neighbourhood")
        for node in nodes:
            inputs.update((v, None) for v in node.inputs if v is not None and v not in computed)
            computed.update(v for v in node.outputs if v is not None)
            graph.node.append(self._widened(node))
        inputs.update((v, None) for v in results if v not in computed)
        self.inputs = tuple(inputs)
        # No types: the reference implementation goes by the arrays it is given.
        graph.input.extend(helper.make_empty_tensor_value_info(self._name(v)) for v in inputs)
        self._results = [self._name(v) for v in results]
        outputs = dict.fromkeys(self._results)
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
        # The reference implementation knows the default domain by one of its spellings only.
        imports = [helper.make_opsetid(_domain(each.domain), each.version) for each in opsets]
        model = helper.make_model(graph, opset_imports=imports)
        ours: list[type[OpRun]] = [Conv, ConvTranspose, BatchNormalization, Erf, Gelu]
        version = next((each.version for each in imports if not each.domain), 0)
        if version < _SOFTMAX_OF_ONE_AXIS:
            ours += [Softmax, LogSoftmax]
        self._evaluator = ReferenceEvaluator(model, new_ops=ours)

    def run(self, feeds: Mapping[Value, Array]) -> list[Array]:
        """The results for the arrays given to the inputs.

        Raises:
            Exception: whatever the reference implementation raises, which has no type of its own.
        """
        with np.errstate(all="ignore"):
            by_name = {self._name(value): feeds[value] for value in self.inputs}
            found = self._evaluator.run(self._results, by_name)
        return [np.asarray(array) for array in found]

    def _name(self, value: Value) -> str:
        # Names of new values are provisional, so values are told apart by identity.
        return self._names.setdefault(value, f"v{len(self._names)}")

    def _widened(self, node: Node) -> NodeProto:
        proto = NodeProto()
        proto.CopyFrom(node.proto)
        proto.ClearField("name")
        proto.domain = _domain(proto.domain)
        del proto.input[:], proto.output[:]
        proto.input.extend("" if v is None else self._name(v) for v in node.inputs)
        proto.output.extend("" if v is None else self._name(v) for v in node.outputs)
        for attribute in proto.attribute:
            if node.op == "Cast" and attribute.name == "to" and attribute.i in FLOATING:
                attribute.i = TensorProto.DOUBLE
            if attribute.name == "auto_pad" and attribute.s == b"VALID" and _rounds_down(node):
                # Under VALID the poolings of onnx forget their dilations.
                attribute.s = b"NOTSET"
        return proto


def _rounds_down(node: Node) -> bool:
    """Whether a pooling has neither pads of its own nor ceil_mode."""
    return not node.attribute("ceil_mode", 0) and node.attribute("pads") is None


def _domain(spelled: str) -> str:
    return "" if spelled == "ai.onnx" else spelled


def _taps(kernel: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The positions in a kernel."""
    return itertools.product(*(range(size) for size in kernel))


def _every(first: Sequence[int], step: Sequence[int], count: Sequence[int]) -> tuple[slice, ...]:
    """`count` positions along each spatial axis, `step` apart."""
    return tuple(
        slice(start, start + stride * (number - 1) + 1, stride) if number > 0 else slice(0)
        for start, stride, number in zip(first, step, count, strict=True)
    )


def _at(spatial: Iterable[int | slice]) -> tuple[Any, ...]:
    """The index of these positions along the spatial axes, which come last."""
    return (..., *spatial)


def _by_group(weights: Array, x: Array) -> Array:
    """(g, m, c) times (n, g, c, ...) is (n, g, m, ...)."""
    n, group, channels, *sizes = x.shape
    product = weights @ x.reshape(n, group, channels, math.prod(sizes))
    return product.reshape(n, group, weights.shape[1], *sizes)


class Conv(OpRun):
    """The convolution. The one in onnx convolves group after group, 50 times as slow."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        *,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,  # noqa: ARG002 - w has it
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        n, _, *sizes = x.shape
        maps, inner, *kernel = w.shape
        axes = range(len(sizes))
        strides, dilations = strides or [1] * len(sizes), dilations or [1] * len(sizes)
        reach = [dilations[i] * (kernel[i] - 1) + 1 for i in axes]
        if auto_pad.startswith("SAME"):
            wanted = [-(-sizes[i] // strides[i]) for i in axes]
            total = [max(0, (wanted[i] - 1) * strides[i] + reach[i] - sizes[i]) for i in axes]
            pads = _split(total, auto_pad == "SAME_UPPER")
        elif auto_pad == "VALID" or pads is None:
            pads = [0] * (2 * len(sizes))
        x = np.pad(x, [(0, 0), (0, 0), *((pads[i], pads[i + len(sizes)]) for i in axes)])
        out = [(x.shape[i + 2] - reach[i]) // strides[i] + 1 for i in axes]
        x = x.reshape(n, group, inner, *x.shape[2:])
        w = w.reshape(group, maps // group, inner, *kernel)
        y = np.zeros((n, group, maps // group, *out), x.dtype)
        for tap in _taps(kernel):
            first = [tap[i] * dilations[i] for i in axes]
            y += _by_group(w[_at(tap)], x[_at(_every(first, strides, out))])
        y = y.reshape(n, maps, *out)
        return (y if b is None else y + b.reshape(-1, *(1 for _ in axes)),)


class ConvTranspose(OpRun):
    """The deconvolution. The one in onnx fails on a batch of two with groups."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        *,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,  # noqa: ARG002 - w has it
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        n, channels, *sizes = x.shape
        maps, *kernel = w.shape[1:]
        axes = range(len(sizes))
        strides, dilations = strides or [1] * len(sizes), dilations or [1] * len(sizes)
        extra = output_padding or [0] * len(sizes)
        full = [
            strides[i] * (sizes[i] - 1) + dilations[i] * (kernel[i] - 1) + 1 + extra[i]
            for i in axes
        ]
        if output_shape or auto_pad.startswith("SAME"):
            wanted = output_shape or [sizes[i] * strides[i] for i in axes]
            pads = _split([full[i] - wanted[i] for i in axes], auto_pad == "SAME_UPPER")
        pads = pads or [0] * (2 * len(sizes))
        x = x.reshape(n, group, channels // group, *sizes)
        # From (g, c, m) to (g, m, c), as the product wants it.
        w = w.reshape(group, -1, maps, *kernel).swapaxes(1, 2)
        y = np.zeros((n, group, maps, *full), x.dtype)
        for tap in _taps(kernel):
            first = [tap[i] * dilations[i] for i in axes]
            y[_at(_every(first, strides, sizes))] += _by_group(w[_at(tap)], x)
        y = y.reshape(n, group * maps, *full)
        ends = [(pads[i], pads[i + len(sizes)]) for i in axes]
        y = np.pad(y, [(0, 0), (0, 0), *((max(0, -low), max(0, -high)) for low, high in ends)])
        inside = (
            slice(max(0, low), y.shape[i + 2] - max(0, high)) for i, (low, high) in enumerate(ends)
        )
        y = y[_at(inside)]
        return (y if b is None else y + b.reshape(-1, *(1 for _ in axes)),)


class BatchNormalization(OpRun):
    """The normalization in inference mode. Before opset 14 the one in onnx always trains."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        gain: Array,
        bias: Array,
        mean: Array,
        variance: Array,
        *,
        epsilon: float | None = None,
        momentum: float | None = None,  # noqa: ARG002 - of training
        spatial: int | None = None,
        training_mode: int | None = None,
    ) -> tuple[Array, ...]:
        if training_mode or spatial == 0:
            raise NotImplementedError("a BatchNormalization that is no Scale")
        shape = (-1, *(1 for _ in x.shape[2:]))
        scale = gain / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
        y = (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)
        # The other outputs that old models list belong to training, and nothing reads them.
        return (y, *(np.empty(0) for _ in self.onnx_node.output[1:]))


_erf = np.vectorize(math.erf, otypes=[np.float64])


class Erf(OpRun):
    """The error function. The one in onnx rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (_erf(x).astype(x.dtype),)


class Gelu(OpRun):
    """GELU. The one in onnx is a function of Erf or Tanh, with constants rounded to float32."""

    op_domain = ""

    def _run(self, x: Array, *, approximate: str | None = None) -> tuple[Array]:
        if approximate == "tanh":
            gate = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        else:
            gate = _erf(x / math.sqrt(2))
        return ((0.5 * x * (1 + gate)).astype(x.dtype),)


def _flattened(x: Array, axis: int) -> Array:
    """X as a matrix, its rows the axes in front of one."""
    return x.reshape(math.prod(x.shape[: axis % x.ndim]), -1)


class Softmax(OpRun):
    """Softmax before opset 13, over all axes from one on. The one in onnx takes the one alone."""

    op_domain = ""

    def _run(self, x: Array, *, axis: int | None = None) -> tuple[Array]:
        rows = _flattened(x, 1 if axis is None else axis)
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        return ((powers / powers.sum(axis=1, keepdims=True)).reshape(x.shape),)


class LogSoftmax(OpRun):
    """LogSoftmax before opset 13, as Softmax."""

    op_domain = ""

    def _run(self, x: Array, *, axis: int | None = None) -> tuple[Array]:
        rows = _flattened(x, 1 if axis is None else axis)
        below = rows - rows.max(axis=1, keepdims=True)
        sums = np.exp(below).sum(axis=1, keepdims=True)
        return ((below - np.log(sums)).reshape(x.shape),)


def _split(total: Sequence[int], more_at_end: bool) -> list[int]:
    """Padding shared out to both ends: all the beginnings, then all the ends."""
    begin = [size // 2 if more_at_end else size - size // 2 for size in total]
    return [*begin, *(size - half for size, half in zip(total, begin, strict=True))]
