"""Evaluates a few nodes in float64, with the reference implementation that onnx carries."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, OperatorSetIdProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, Array

#: Changes an array a little.
Move = Callable[[Array], Array]


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
        imports = [helper.make_opsetid(_domain(opset.domain), opset.version) for opset in opsets]
        model = helper.make_model(graph, opset_imports=imports)
        self._evaluator = ReferenceEvaluator(model, new_ops=list(OPERATORS))
        self._move: Move | None = None
        for running in self._evaluator.rt_nodes_:
            running.run = functools.partial(self._moved, running.run)

    def run(self, feeds: Mapping[Value, Array], move: Move | None = None) -> list[Array]:
        """The results for the arrays given to the inputs.

        Args:
            feeds: an array for each input.
            move: applied to what each node computes, before others read it.

        Raises:
            Exception: whatever the reference implementation raises, which has no type of its own.
        """
        self._move = move
        with np.errstate(all="ignore"):
            by_name = {self._name(value): feeds[value] for value in self.inputs}
            arrays = self._evaluator.run(self._results, by_name)
        return [np.asarray(array) for array in arrays]

    def _moved(self, run: Callable[..., tuple[Any, ...]], *given: Any, **named: Any) -> Any:
        results = run(*given, **named)
        if self._move is None:
            return results
        # A sequence comes as a list; its entries were moved where they were computed.
        return tuple(
            result if isinstance(result, list) else self._move(np.asarray(result))
            for result in results
        )

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
    return not node.attribute("ceil_mode") and node.attribute("pads") is None


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
        pads = _padding(auto_pad, sizes, reach, strides, pads)
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


class Squeeze(OpRun):
    """Drops axes. Before opset 13 the one in onnx takes them one by one, each of what is left."""

    op_domain = ""

    def _run(self, x: Array, axes: Array | Sequence[int] | None = None) -> tuple[Array]:
        return (np.squeeze(x, _axes(axes)),)


class Unsqueeze(OpRun):
    """Adds axes of size 1. Before opset 13 the one in onnx adds them one by one, as they come."""

    op_domain = ""

    def _run(self, x: Array, axes: Array | Sequence[int]) -> tuple[Array]:
        return (np.expand_dims(x, _axes(axes) or ()),)


def _axes(listed: Array | Sequence[int] | None) -> tuple[int, ...] | None:
    """The axes as numpy takes them; a single one may be listed as a scalar."""
    return None if listed is None else tuple(int(axis) for axis in np.asarray(listed).reshape(-1))


class LogSoftmax(OpRun):
    """The logarithm of the softmax. The one in onnx takes one axis before opset 13 as well."""

    op_domain = ""

    def _run(self, x: Array, *, axis: int | None = None) -> tuple[Array]:
        axes = self._normalized(x, axis)
        if not x.size:
            return (x,)
        below = x - x.max(axis=axes, keepdims=True)
        return (below - np.log(np.exp(below).sum(axis=axes, keepdims=True)),)

    def _normalized(self, x: Array, axis: int | None) -> tuple[int, ...]:
        """Before opset 13 it was all axes from one on, the second if none was given."""
        if self.run_params["opsets"][""] >= 13:
            return (-1 if axis is None else axis,)
        # What a node leaves out, the reference implementation fills in as the latest opset has it.
        given = any(attribute.name == "axis" for attribute in self.onnx_node.attribute)
        first = axis if given and axis is not None else 1
        return tuple(range(x.ndim))[first:] if first < x.ndim else ()


class Softmax(LogSoftmax):
    """The softmax. The one in onnx takes one axis before opset 13 as well."""

    def _run(self, x: Array, *, axis: int | None = None) -> tuple[Array]:
        axes = self._normalized(x, axis)
        if not x.size:
            return (x,)
        exponential = np.exp(x - x.max(axis=axes, keepdims=True))
        return (exponential / exponential.sum(axis=axes, keepdims=True),)


class MaxPool(OpRun):
    """The maxima under a window. The one in onnx fails for padding beside a kernel of size 1."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        storage_order: int | None = None,  # noqa: ARG002 - of the places of the maxima
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        if len(self.onnx_node.output) > 1:
            raise NotImplementedError("the places of the maxima")
        window = _Window.of(x, kernel_shape, auto_pad, bool(ceil_mode), dilations, pads, strides)
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        x = np.pad(x, window.ends(), constant_values=least)
        y = np.full((*x.shape[:2], *window.out), least, x.dtype)
        for tap in window.taps():
            y = np.maximum(y, x[tap])
        return (y,)


class AveragePool(OpRun):
    """The averages under a window. The one in onnx has no number for some windows on the edge."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int | None = None,
        count_include_pad: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        window = _Window.of(x, kernel_shape, auto_pad, bool(ceil_mode), dilations, pads, strides)
        counted = np.ones((1, 1, *x.shape[2:]))
        counted = np.pad(counted, window.ends(0), constant_values=float(bool(count_include_pad)))
        # What rounding the size up adds counts in no case.
        beyond = [(0, more) for more in window.beyond]
        counted = np.pad(counted, [(0, 0), (0, 0), *beyond])
        x = np.pad(x, window.ends())
        y = np.zeros((*x.shape[:2], *window.out), x.dtype)
        count = np.zeros((1, 1, *window.out))
        for tap in window.taps():
            y += x[tap]
            count += counted[tap]
        return ((y / count).astype(x.dtype),)


@dataclass(frozen=True)
class _Window:
    """Where the windows of a pooling are.

    Attributes:
        kernel, strides, dilations: for each spatial axis.
        pads: all the beginnings, then all the ends.
        beyond: what rounding the size up adds at each end.
        out: how many windows there are along each axis.
    """

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    beyond: Sequence[int]
    out: Sequence[int]

    @classmethod
    def of(
        cls,
        x: Array,
        kernel: Sequence[int],
        auto_pad: str,
        rounds_up: bool,
        dilations: Sequence[int] | None,
        pads: Sequence[int] | None,
        strides: Sequence[int] | None,
    ) -> _Window:
        sizes, axes = x.shape[2:], range(len(kernel))
        strides, dilations = strides or [1] * len(axes), dilations or [1] * len(axes)
        reach = [dilations[i] * (kernel[i] - 1) + 1 for i in axes]
        pads = _padding(auto_pad, sizes, reach, strides, pads)
        beyond, out = [], []
        for i in axes:
            left = sizes[i] + pads[i] + pads[i + len(axes)] - reach[i]
            count = left // strides[i] + 1
            # One more window, if it begins before the padding at the end.
            more = rounds_up and left % strides[i] and count * strides[i] < sizes[i] + pads[i]
            out.append(count + bool(more))
            beyond.append(count * strides[i] - left if more else 0)
        return cls(kernel, strides, dilations, pads, beyond, out)

    def ends(self, times: int = 1) -> list[tuple[int, int]]:
        """What is added around each axis, with so many times what is beyond."""
        rank = len(self.kernel)
        return [(0, 0), (0, 0)] + [
            (self.pads[i], self.pads[i + rank] + times * self.beyond[i]) for i in range(rank)
        ]

    def taps(self) -> Iterator[tuple[Any, ...]]:
        """For each position in the kernel, what it takes of the padded input in all windows."""
        for tap in _taps(self.kernel):
            first = [at * step for at, step in zip(tap, self.dilations, strict=True)]
            yield _at(_every(first, self.strides, self.out))


class GlobalMaxPool(OpRun):
    """The maximum of each channel. The one in onnx forgets the channels of three dimensions."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class Mean(OpRun):
    """The mean of some tensors. The one in onnx takes no first one that the others broadcast."""

    op_domain = ""

    def _run(self, *tensors: Array) -> tuple[Array]:
        return (np.asarray(sum(tensors[1:], start=tensors[0]) / len(tensors)),)


class Slice(OpRun):
    """Part of a tensor. The one in onnx takes nothing backwards from before the beginning."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        starts: Array | Sequence[int],
        ends: Array | Sequence[int],
        axes: Array | Sequence[int] | None = None,
        steps: Array | None = None,
    ) -> tuple[Array]:
        along = _axes(axes) or range(np.size(starts))
        limits = [np.reshape(limit, -1).tolist() for limit in (starts, ends)]
        by = [1] * len(along) if steps is None else np.reshape(steps, -1).tolist()
        kept = [slice(None)] * x.ndim
        for axis, start, end, step in zip(along, *limits, by, strict=True):
            kept[axis] = slice(max(start, -x.shape[axis]), end, step)
        return (x[tuple(kept)],)


class Tile(OpRun):
    """A tensor side by side with itself. The one in onnx repeats along axes that there are not."""

    op_domain = ""

    def _run(self, x: Array, repeats: Array) -> tuple[Array]:
        if len(repeats) != x.ndim:
            raise ValueError(f"{len(repeats)} repeats for {x.ndim} axes")
        return (np.tile(x, repeats),)


def _padding(
    auto_pad: str,
    sizes: Sequence[int],
    reach: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None,
) -> Sequence[int]:
    """What a window pads: all the beginnings, then all the ends."""
    axes = range(len(sizes))
    if auto_pad.startswith("SAME"):
        wanted = [-(-sizes[i] // strides[i]) for i in axes]
        total = [max(0, (wanted[i] - 1) * strides[i] + reach[i] - sizes[i]) for i in axes]
        return _split(total, auto_pad == "SAME_UPPER")
    return [0] * (2 * len(sizes)) if auto_pad == "VALID" or pads is None else pads


def _split(total: Sequence[int], more_at_end: bool) -> list[int]:
    """Padding shared out to both ends: all the beginnings, then all the ends."""
    begin = [size // 2 if more_at_end else size - size // 2 for size in total]
    return [*begin, *(size - half for size, half in zip(total, begin, strict=True))]


#: The operators that are evaluated here and not by the reference implementation.
OPERATORS = (
    Conv,
    ConvTranspose,
    BatchNormalization,
    Erf,
    Gelu,
    Squeeze,
    Unsqueeze,
    Softmax,
    LogSoftmax,
    MaxPool,
    AveragePool,
    GlobalMaxPool,
    Mean,
    Slice,
    Tile,
)
