"""Hypothesis draws whole graphs out of the operators that the rules touch.

Values are read more than once, outputs lie anywhere, dimensions are open, constants are stored or
computed, and parts are in bodies and functions. Each graph runs at two sizes of its open
dimensions; the draft keeps the shape of each value at both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper
from onnx import shape_inference as inference

Array = npt.NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
#: The size of a dimension in each of the two runs.
Dim = tuple[int, int]
Shape = tuple[Dim, ...]

OPSETS = (
    21, 17, 13, 11, 20, 23, defs.onnx_opset_version(), 7, 8, 9, 10, 12, 14, 15, 16, 18, 19, 22,
)  # fmt: skip
IR_VERSIONS = (8, 10, 3, 4, 7)

#: No value has more elements or dimensions than this.
_MOST_ELEMENTS = 400
_HIGHEST_RANK = 5
#: A value whose numbers may be larger than ten to this is squashed before it is used.
_LARGEST = 4.0

_choices = functools.cache(lambda count: st.integers(0, count - 1))


@dataclass(frozen=True)
class Tensor:
    """A value of floating type.

    Attributes:
        name: its name.
        shape: the size of each dimension in each run.
        large: the power of ten that its numbers stay below, by a rough reckoning.
    """

    name: str
    shape: Shape
    large: float

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Drawn:
    """A model and inputs for its two runs."""

    model: ModelProto
    feeds: tuple[dict[str, Array], ...]

    def __repr__(self) -> str:
        # What Hypothesis shows of a failing example.
        import onnx.printer

        return f"{onnx.printer.to_text(self.model)}\n{self.feeds}"


@dataclass
class Scope:
    """A graph or body being drawn."""

    nodes: list[NodeProto] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    is_function: bool = False


def _fixed(dim: Dim) -> bool:
    return dim[0] == dim[1]


def _is_static(shape: Shape) -> bool:
    return all(_fixed(dim) for dim in shape)


def _static(shape: Sequence[int]) -> Shape:
    return tuple((size, size) for size in shape)


def _first(shape: Shape) -> tuple[int, ...]:
    return tuple(dim[0] for dim in shape)


def _small(shape: Shape) -> bool:
    runs = zip(*shape, strict=True) if shape else ()
    return len(shape) <= _HIGHEST_RANK and all(math.prod(run) <= _MOST_ELEMENTS for run in runs)


def _broadcast(first: Shape, second: Shape) -> Shape | None:
    try:
        runs = [
            np.broadcast_shapes(*([dim[run] for dim in shape] for shape in (first, second)))
            for run in (0, 1)
        ]
    except ValueError:
        return None
    return tuple(zip(*runs, strict=True))


class Draft:
    """A model being drawn, node after node."""

    def __init__(self, draw: Draw, opset: int, ir_version: int, dtype: np.dtype[Any]) -> None:
        self.draw = draw
        self.opset = opset
        self.ir_version = ir_version
        self.dtype = dtype
        self.type = helper.np_dtype_to_tensor_dtype(dtype)
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.scopes = [Scope()]
        self.functions: list[FunctionProto] = []
        self.overridable: list[str] = []
        self.same_names = True
        self.count = 0
        self.budget = 0

    # Choices

    def pick(self, *choices: Any) -> Any:
        """One of several, the first of which is the simplest."""
        return choices[self.draw(_choices(len(choices)))]

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(_choices(one_in)) == one_in - 1)

    def permutation(self, count: int) -> list[int]:
        free = list(range(count))
        return [free.pop(self.draw(_choices(len(free)))) for _ in range(count)]

    def some(self, count: int) -> list[int]:
        """Some of so many, at least one, in order."""
        chosen = [i for i in range(count) if self.chance(2)]
        return chosen or [self.draw(_choices(count))]

    def axis(self, axis: int, rank: int) -> int:
        """An axis, counted from either end where the opset allows it."""
        return axis - rank if self.opset >= 11 and self.chance(3) else axis

    def numbers(self, shape: Sequence[int], kind: str = "normal") -> Array:
        match kind:
            case "ones":
                array: Array = np.ones(shape)
            case "zeros":
                array = np.zeros(shape)
            case "positive":
                array = self.rng.uniform(0.5, 2.0, shape)
            case _:
                array = self.rng.choice((-1.0, 1.0), shape) * self.rng.uniform(0.25, 1.5, shape)
        return np.asarray(array, self.dtype)

    # Values

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def visible(self) -> list[Tensor]:
        """All values that a node here may read, the latest last."""
        found: list[Tensor] = []
        for scope in reversed(self.scopes):
            found = scope.values + found
            if scope.is_function:
                break
        return found

    def value(self) -> Tensor:
        """A value to go on from: most of the time the last one."""
        values = self.visible()
        match self.draw(_choices(6)):
            case 5:
                chosen = values[self.draw(_choices(len(values)))]
            case 4:
                chosen = values[-1 - self.draw(_choices(min(5, len(values))))]
            case _:
                chosen = values[-1]
        return self.squashed(chosen)

    def squashed(self, x: Tensor) -> Tensor:
        if x.large <= _LARGEST:
            return x
        return self.add(self.pick("Tanh", "Sigmoid"), [x], x.shape, 0)

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        names = [self.name("v") for _ in range(outputs)]
        label = self.pick(f"{operator.lower()}_{names[0]}", "", "twin")
        if label == "twin" and not self.same_names:
            label = ""
        self.scope.nodes.append(helper.make_node(operator, inputs, names, name=label, **attributes))
        return names

    def add(
        self,
        operator: str,
        inputs: Sequence[Tensor | str],
        shape: Shape,
        large: float,
        **attributes: Any,
    ) -> Tensor:
        """A node that computes a value which others may read."""
        names = [each if isinstance(each, str) else each.name for each in inputs]
        made = Tensor(self.node(operator, names, **attributes), shape, large)
        self.scope.values.append(made)
        return made

    # Constants

    def constant(self, array: Array) -> str:
        """A constant in one of the ways to write one."""
        if array.dtype == self.dtype and array.ndim and self.chance(8):
            way = self.pick("copied", "shaped", "turned", "negated")
            if way == "copied":
                return self.node("Identity", [self.stored(array)])
            if way == "turned":
                return self.node("Transpose", [self.stored(np.ascontiguousarray(array.T))])
            if way == "negated":
                return self.node("Neg", [self.stored(-array)])
            target = self.stored(np.array(array.shape, np.int64))
            return self.node("Reshape", [self.stored(array.reshape(-1)), target])
        return self.stored(array)

    def stored(self, array: Array) -> str:
        """An initializer of this graph or of the outermost one, or a Constant node."""
        tensor = numpy_helper.from_array(np.asarray(array))
        as_node = self.opset >= 9 or array.dtype.kind == "f"
        if any(scope.is_function for scope in self.scopes) or (as_node and self.chance(4)):
            return self.node("Constant", [], value=tensor)
        tensor.name = self.name("c")
        inside = self.ir_version >= 4 and self.chance(2)
        (self.scope if inside else self.scopes[0]).stored.append(tensor)
        return tensor.name

    def weights(self, shape: Sequence[int], kind: str = "normal") -> str:
        """A constant, or now and then what looks like one: overridable, shared or computed."""
        array = self.numbers(shape, kind)
        if not self.chance(10) or self.scopes[0].is_function:
            return self.constant(array)
        main = self.scopes[0].stored
        like = [t.name for t in main if tuple(t.dims) == tuple(shape) and t.data_type == self.type]
        if any(scope.is_function for scope in self.scopes):
            return self.constant(array)
        if like and kind == "normal" and self.chance(2):
            return like[self.draw(_choices(len(like)))]
        tensor = numpy_helper.from_array(array, self.name("c"))
        main.append(tensor)
        if self.ir_version >= 4:
            self.overridable.append(tensor.name)
        return tensor.name

    def integers(self, numbers: Sequence[int]) -> str:
        """A vector of integers, now and then computed from others."""
        array = np.array(numbers, np.int64)
        if len(numbers) > 1 and self.chance(8):
            cut = 1 + self.draw(_choices(len(numbers) - 1))
            parts = [self.stored(array[:cut]), self.stored(array[cut:])]
            return self.node("Concat", parts, axis=0)
        return self.stored(array)

    def factor_shape(self, x: Tensor) -> list[int]:
        """The shape of a constant that broadcasts with a value, most often without changing it."""
        rank = x.rank
        axes = [i for i in range(rank) if _fixed(x.shape[i])]
        kind = self.pick("channel", "one", "last", "axis", "full", "higher", "wider")
        if kind == "one" or not axes:
            return list(self.pick((), (1,), (1,) * rank))
        if kind == "full" and _is_static(x.shape):
            return list(_first(x.shape))
        if kind == "higher" and rank < _HIGHEST_RANK:
            return [1] * (rank + 1)
        if kind == "wider":
            flat = [i for i in axes if x.shape[i] == (1, 1)]
            if flat:
                axis = self.pick(*flat)
                return [2] + [1] * (rank - axis - 1)
        axis = 1 if kind == "channel" and 1 in axes else axes[-1]
        if kind == "axis":
            axis = self.pick(*axes)
        trailing = [x.shape[axis][0]] + [1] * (rank - axis - 1)
        return trailing if self.chance(2) else [1] * axis + trailing

    def factor(self, x: Tensor, kind: str = "normal") -> tuple[str, Shape] | None:
        shape = self.factor_shape(x)
        result = _broadcast(x.shape, _static(shape))
        if result is None or not _small(result):
            return None
        return self.weights(shape, kind), result

    # The whole

    def grow(self, steps: int) -> None:
        """Adds about so many parts."""
        for _ in range(steps):
            if self.budget <= 0:
                return
            before, values = self.count, self.scope.values
            x, known = self.value(), len(values)
            family = self.pick(*_FAMILIES)
            family[self.draw(_choices(len(family)))](self, x)
            if self.chance(4):
                continue
            # Nobody else reads what a part has inside.
            del values[known : len(values) - 1]
            self.budget -= max(1, (self.count - before) // 3)

    def information(self, name: str, shape: Shape | None) -> Any:
        if shape is None:
            return helper.make_tensor_value_info(name, self.type, None)
        dims = [dim[0] if _fixed(dim) and self.chance(2) else None for dim in shape]
        return helper.make_tensor_value_info(name, self.type, dims)


# The families of parts


def elementwise(g: Draft, x: Tensor) -> None:
    operator = g.pick(
        "Relu", "Neg", "Abs", "Sigmoid", "Tanh", "LeakyRelu", "Identity", "Softplus", "Elu",
        "HardSigmoid", "Selu", "Erf",
    )  # fmt: skip
    if operator == "Erf" and g.opset < 9:
        operator = "Abs"
    g.add(operator, [x], x.shape, x.large + (0.3 if operator == "Selu" else 0))


def clipped(g: Draft, x: Tensor) -> None:
    low, high = g.pick((-1.0, 1.0), (0.0, 6.0), (0.0, None), (None, 0.5), (None, None), (0.0, 1.0))
    if g.opset < 11:
        bounds = {"min": low, "max": high}
        g.add("Clip", [x], x.shape, x.large, **{k: v for k, v in bounds.items() if v is not None})
        return
    if g.chance(4) and low is not None:
        g.add("Max", [x, g.stored(np.array(low, g.dtype))], x.shape, x.large)
        return
    listed = ["" if v is None else g.stored(np.array(v, g.dtype)) for v in (low, high)]
    while listed and not listed[-1]:
        listed.pop()
    g.add("Clip", [x, *listed], x.shape, x.large)


def twice(g: Draft, x: Tensor) -> None:
    """Activations nested in each other."""
    operator = g.pick("Relu", "Abs", "Sigmoid", "Tanh", "Softplus")
    y = g.add(operator, [x], x.shape, x.large)
    after = g.pick("Relu", "Abs")
    g.add(after, [y], x.shape, x.large)


def scale(g: Draft, x: Tensor) -> None:
    """Operators on a value and a constant."""
    kinds = g.pick("Mul", "Add", "Sub", "Div", "none", "from", "Pow")
    kind = "normal"
    operator, swapped = kinds, g.chance(2)
    if kinds == "none":
        operator, kind = g.pick(
            ("Mul", "ones"), ("Add", "zeros"), ("Sub", "zeros"), ("Div", "ones")
        )
        swapped = swapped and operator in ("Mul", "Add")
    elif kinds == "from":
        operator, swapped = "Sub", True
    elif kinds == "Div":
        swapped = False
    elif kinds == "Pow":
        kind, swapped = "ones", False
    made = g.factor(x, kind)
    if made is None:
        return elementwise(g, x)
    constant, shape = made
    g.add(operator, [constant, x] if swapped else [x, constant], shape, x.large + 0.7)
    return None


def squared(g: Draft, x: Tensor) -> None:
    if g.chance(2):
        g.add("Mul", [x, x], x.shape, 2 * x.large)
        return
    two = np.array(2.0, g.dtype) if g.opset < 12 or g.chance(2) else np.array(2, np.int64)
    g.add("Pow", [x, g.stored(two)], x.shape, 2 * x.large)


def between(g: Draft, x: Tensor) -> None:
    """Operators on two values."""
    fitting = []
    for y in [*g.visible()[-24:], x]:
        shape = _broadcast(x.shape, y.shape)
        if shape is not None and _small(shape):
            fitting.append((y, shape))
    if not fitting:
        elementwise(g, x)
        return
    y, shape = fitting[-1 - g.draw(_choices(len(fitting)))]
    y = g.squashed(y)
    operator = g.pick("Add", "Mul", "Sub", "Max", "Min", "Sum", "Mean", "Div", "Where")
    operands = [x, y] if g.chance(2) else [y, x]
    if operator == "Div":
        one = g.add("Abs", [y], y.shape, y.large)
        below = g.add("Add", [one, g.stored(np.ones((), g.dtype))], y.shape, y.large)
        g.add("Div", [x, below], shape, x.large)
        return
    if operator == "Where" and g.opset >= 9:
        g.add("Where", ["which", *operands], shape, max(x.large, y.large)) if not _in_function(
            g
        ) else g.add("Add", operands, shape, x.large + y.large)
        return
    if operator == "Where":
        operator = "Add"
    if operator in ("Max", "Min", "Sum", "Mean") and g.opset < 8:
        operator = "Add"
    large = x.large + y.large if operator == "Mul" else max(x.large, y.large) + 0.3
    g.add(operator, operands, shape, large)


def _in_function(g: Draft) -> bool:
    return any(scope.is_function for scope in g.scopes)


def normalized(g: Draft, x: Tensor) -> None:
    """A BatchNormalization."""
    if x.rank < 2 or not _fixed(x.shape[1]):
        return scale(g, x)
    kinds = ("ones", "zeros", "zeros", "ones") if g.chance(6) else ("normal",) * 3 + ("positive",)
    parameters = [g.weights([x.shape[1][0]], kind) for kind in kinds]
    attributes = g.pick({}, {"epsilon": 1e-3}, {"epsilon": 0.0})
    g.add("BatchNormalization", [x, *parameters], x.shape, x.large + 1, **attributes)
    return None


def _window(
    g: Draft, x: Tensor, *, pooling: bool
) -> tuple[list[int], Shape, dict[str, Any]] | None:
    """A kernel over the spatial axes, what sizes come out, and the attributes."""
    spatial = x.shape[2:]
    attributes: dict[str, Any] = {}
    auto = g.pick("", "", "", "SAME_UPPER", "VALID") if not pooling else ""
    kernel, out = [], []
    begin, end, strides, dilations = [], [], [], []
    for dim in spatial:
        size = min(dim)
        taps = 1 + g.draw(_choices(min(3, size)))
        dilation = 2 if not auto and not pooling and 2 * taps - 1 <= size and g.chance(6) else 1
        low, high = (0, 0) if auto else (g.pick(0, 0, 1), g.pick(0, 0, 1))
        if pooling:
            low, high = min(low, taps - 1), min(high, taps - 1)
        step = g.pick(1, 1, 2)
        reach = dilation * (taps - 1) + 1
        kernel.append(taps)
        begin.append(low)
        end.append(high)
        strides.append(step)
        dilations.append(dilation)
        if auto == "SAME_UPPER":
            out.append(tuple(-(-each // step) for each in dim))
        else:
            out.append(tuple((each + low + high - reach) // step + 1 for each in dim))
    if auto:
        attributes["auto_pad"] = auto
    elif any(begin + end) or g.chance(4):
        attributes["pads"] = begin + end
    if set(strides) != {1} or g.chance(4):
        attributes["strides"] = strides
    if set(dilations) != {1}:
        attributes["dilations"] = dilations
    if pooling or g.chance(2):
        attributes["kernel_shape"] = kernel
    return kernel, tuple(out), attributes  # type: ignore[return-value]


def convolution(g: Draft, x: Tensor) -> None:
    if x.rank not in (3, 4) or not _fixed(x.shape[1]):
        return product(g, x)
    window = _window(g, x, pooling=False)
    assert window is not None
    kernel, out, attributes = window
    channels = x.shape[1][0]
    group = g.pick(1, 1, channels)
    maps = group * g.pick(1, 2) if group > 1 else g.pick(2, 3, 4)
    shape = (x.shape[0], (maps, maps), *out)
    if not _small(shape):
        return elementwise(g, x)
    if g.chance(5) and "auto_pad" not in attributes:
        amounts = [0, 0, *(1 for _ in out), 0, 0, *(g.pick(0, 1) for _ in out)]
        added = [amounts[2 + i] + amounts[2 + i + x.rank] for i in range(len(out))]
        padded = tuple(
            (dim[0] + more, dim[1] + more) for dim, more in zip(x.shape[2:], added, strict=True)
        )
        strides = attributes.get("strides", [1] * len(out))
        if set(strides) == {1}:
            x = _pad(g, x, amounts, (*x.shape[:2], *padded))
            out = tuple((d[0] + m, d[1] + m) for d, m in zip(out, added, strict=True))
            shape = (x.shape[0], (maps, maps), *out)
            if not _small(shape):
                return None
    weights = [g.weights([maps, channels // group, *kernel])]
    if g.chance(2):
        weights.append(g.weights([maps]))
    attributes |= {"group": group} if group > 1 else {}
    y = g.add("Conv", [x, *weights], shape, x.large + 1.5, **attributes)
    if g.chance(8):
        # Another one with the same weights.
        g.add("Conv", [x, *weights], shape, x.large + 1.5, **attributes)
    if g.chance(2):
        g.pick(normalized, scale, elementwise)(g, y)
    return None


def deconvolution(g: Draft, x: Tensor) -> None:
    if x.rank not in (3, 4) or not _fixed(x.shape[1]):
        return product(g, x)
    channels = x.shape[1][0]
    group = g.pick(1, 1, channels)
    maps = g.pick(1, 2)
    kernel = [g.pick(1, 2, 3) for _ in x.shape[2:]]
    strides = [g.pick(1, 2) for _ in kernel]
    pads = [g.pick(0, 0, 1) if taps > 2 else 0 for taps in kernel]
    out = tuple(
        tuple(step * (size - 1) + taps - 2 * pad for size in dim)
        for dim, taps, step, pad in zip(x.shape[2:], kernel, strides, pads, strict=True)
    )
    shape: Shape = (x.shape[0], (maps * group,) * 2, *out)  # type: ignore[assignment]
    if not _small(shape) or any(min(dim) < 1 for dim in shape):
        return elementwise(g, x)
    weights = [g.weights([channels, maps, *kernel])]
    if g.chance(2):
        weights.append(g.weights([maps * group]))
    attributes = {"strides": strides, "pads": pads + pads, "group": group}
    y = g.add("ConvTranspose", [x, *weights], shape, x.large + 1.5, **attributes)
    if g.chance(2):
        g.pick(normalized, scale)(g, y)
    return None


def product(g: Draft, x: Tensor) -> None:
    """A Gemm or a MatMul by constant weights."""
    if x.rank < 2 or not _fixed(x.shape[-1]):
        return scale(g, x)
    width, inner = g.pick(2, 3, 1, 4), x.shape[-1][0]
    if x.rank == 2 and g.chance(2):
        turned = _fixed(x.shape[0]) and g.chance(4)
        rows = x.shape[1] if turned else x.shape[0]
        inner = x.shape[0][0] if turned else inner
        across = g.chance(2)
        weights = [g.weights([width, inner] if across else [inner, width])]
        attributes: dict[str, Any] = {"transB": 1} if across else {}
        attributes |= {"transA": 1} if turned else {}
        if g.chance(3):
            attributes |= {"alpha": g.pick(0.5, -1.5), "beta": g.pick(2.0, -0.25, 0.0)}
        if g.opset < 11 or g.chance(2):
            weights.append(g.weights(g.pick((width,), (1,), (), (1, width))))
        y = g.add("Gemm", [x, *weights], (rows, (width, width)), x.large + 1, **attributes)
    else:
        stack = g.pick((), (), (), (1,))
        shape = (*x.shape[:-1], (width, width))
        if len(stack) + 2 > len(shape):
            stack = ()
        y = g.add("MatMul", [x, g.weights([*stack, inner, width])], shape, x.large + 1)
        if g.chance(2):
            bias = g.weights(g.pick((width,), (1, width), (1,)))
            y = g.add("Add", [y, bias] if g.chance(2) else [bias, y], shape, x.large + 1)
    if g.chance(3):
        g.pick(product, scale)(g, y)
    return None


def through_activation(g: Draft, x: Tensor) -> None:
    """A layer, an activation and a scale by one positive number, in either order."""

    def scaled(y: Tensor) -> Tensor:
        factor = g.stored(np.array(g.pick(0.5, 2.0, -1.0), g.dtype))
        return g.add(g.pick("Mul", "Div"), [y, factor], y.shape, y.large + 0.3)

    def activated(y: Tensor) -> Tensor:
        operator = g.pick("Relu", "LeakyRelu", "PRelu")
        one = np.array([0.25] if y.shape else 0.25, g.dtype)
        slope = [g.stored(one)] if operator == "PRelu" else []
        return g.add(operator, [y, *slope], y.shape, y.large)

    if g.chance(2):
        convolution(g, activated(scaled(x)))
    else:
        convolution(g, x)
        scaled(activated(g.squashed(g.scope.values[-1])))


def product_of_two(g: Draft, x: Tensor) -> None:
    if x.rank < 2:
        return between(g, x)
    turned = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    shape = tuple(x.shape[axis] for axis in turned)
    result = (*x.shape[:-1], x.shape[-2])
    if not _small(result):
        return elementwise(g, x)
    y = g.add("Transpose", [x], shape, x.large, perm=turned)
    g.add("MatMul", [x, y], result, 2 * x.large + 1)
    return None


def _pad(g: Draft, x: Tensor, amounts: list[int], shape: Shape, mode: str = "constant") -> Tensor:
    attributes: dict[str, Any] = {"mode": mode} if mode != "constant" or g.chance(4) else {}
    if g.opset < 11:
        return g.add("Pad", [x], shape, x.large, pads=amounts, **attributes)
    filler = g.pick("", "zero", "half")
    inputs: list[Tensor | str] = [x, g.integers(amounts)]
    if filler and mode == "constant":
        number = {"zero": 0.0, "half": 0.5}[filler]
        inputs.append(g.stored(np.array(number, g.dtype)))
    return g.add("Pad", inputs, shape, x.large, **attributes)


def pad(g: Draft, x: Tensor) -> None:
    if not x.rank:
        return elementwise(g, x)
    mode = g.pick("constant", "constant", "edge", "reflect")
    begin = [g.pick(0, 0, 1) if min(dim) > 1 else 0 for dim in x.shape]
    end = [g.pick(0, 0, 1) if min(dim) > 1 else 0 for dim in x.shape]
    shape = tuple(
        (dim[0] + a + b, dim[1] + a + b) for dim, a, b in zip(x.shape, begin, end, strict=True)
    )
    if _small(shape):
        _pad(g, x, begin + end, shape, mode)
    return None


def pooling(g: Draft, x: Tensor) -> None:
    if x.rank not in (3, 4):
        return reduction(g, x)
    operator = g.pick("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")
    if operator.startswith("Global"):
        ones = ((1, 1),) * (x.rank - 2)
        g.add(operator, [x], (*x.shape[:2], *ones), x.large)
        return None
    window = _window(g, x, pooling=True)
    assert window is not None
    _, out, attributes = window
    if operator == "AveragePool":
        attributes |= g.pick({}, {"count_include_pad": 1})
        if g.chance(4) and "strides" not in attributes:
            amounts = [0, 0, *(1 for _ in out), 0, 0, *(1 for _ in out)]
            shape = (*x.shape[:2], *((d[0] + 2, d[1] + 2) for d in x.shape[2:]))
            out = tuple((d[0] + 2, d[1] + 2) for d in out)
            x = _pad(g, x, amounts, shape)
    if _small((*x.shape[:2], *out)):
        g.add(operator, [x], (*x.shape[:2], *out), x.large, **attributes)
    return None


def transposition(g: Draft, x: Tensor) -> None:
    if not x.rank:
        elementwise(g, x)
        return
    if g.chance(8):
        g.add("Transpose", [x], x.shape[::-1], x.large)
        return
    if x.rank == 4 and g.chance(2):
        perm = list(g.pick((0, 2, 3, 1), (0, 3, 1, 2)))
    else:
        perm = g.permutation(x.rank)
    g.add("Transpose", [x], tuple(x.shape[axis] for axis in perm), x.large, perm=perm)


def _factors(g: Draft, count: int) -> list[int]:
    """A shape of so many elements."""
    shape = []
    for divisor in (2, 3, 2, 5, 7):
        if count % divisor == 0 and g.chance(2):
            shape.append(divisor)
            count //= divisor
    return [*shape, count] if len(shape) < _HIGHEST_RANK else [*shape[:-1], shape[-1] * count]


def reshaping(g: Draft, x: Tensor) -> None:
    """A Reshape: its leading dimensions as they are, the others put together anew."""
    kept = 0
    while kept < x.rank and not _is_static(x.shape[kept:]):
        kept += 1
    if kept == x.rank or g.chance(3):
        kept = g.draw(_choices(min(x.rank + 1, _HIGHEST_RANK)))
    rest = x.shape[kept:]
    target: list[int] = [0 if not _fixed(d) or g.chance(2) else d[0] for d in x.shape[:kept]]
    if _is_static(rest):
        inner = _factors(g, math.prod(_first(rest)))
        while len(inner) + kept > _HIGHEST_RANK:
            inner = [inner[0] * inner[1], *inner[2:]]
        shape = (*x.shape[:kept], *_static(inner))
        if g.chance(3):
            inner[g.draw(_choices(len(inner)))] = -1
        target += inner
    else:
        shape = (*x.shape[:kept], tuple(math.prod(d[i] for d in rest) for i in (0, 1)))  # type: ignore[assignment]
        target.append(-1)
    if g.chance(3):
        # The sizes that are copied are asked for, as exporters do.
        return _computed_target(g, x, target, shape)
    g.add("Reshape", [x, g.integers(target)], shape, x.large)
    return None


def _computed_target(g: Draft, x: Tensor, target: list[int], shape: Shape) -> None:
    sizes = g.node("Shape", [x.name])
    if g.opset >= 15 and g.chance(4) and x.rank:
        sizes = g.node("Shape", [x.name], start=0)
    parts = []
    for axis, size in enumerate(target):
        if size:
            parts.append(g.integers([size]))
            continue
        if g.chance(2):
            index = g.stored(np.array(axis, np.int64))
            scalar = g.node("Gather", [sizes, index], axis=0)
            parts.append(_unsqueezed(g, scalar, [0]))
        else:
            parts.append(_sliced(g, sizes, [axis], [axis + 1], [0], None))
    made = g.node("Concat", parts, axis=0) if len(parts) > 1 or g.chance(2) else parts[0]
    g.add("Reshape", [x, made], shape, x.large)


def _unsqueezed(g: Draft, name: str, axes: list[int]) -> str:
    if g.opset < 13:
        return g.node("Unsqueeze", [name], axes=axes)
    return g.node("Unsqueeze", [name, g.integers(axes)])


def flattening(g: Draft, x: Tensor) -> None:
    if not x.rank:
        unsqueezing(g, x)
        return
    axis = g.draw(_choices(x.rank + 1))
    parts = x.shape[:axis], x.shape[axis:]
    shape = tuple((math.prod(d[0] for d in part), math.prod(d[1] for d in part)) for part in parts)
    given = g.axis(axis, x.rank) if axis < x.rank else axis
    g.add("Flatten", [x], shape, x.large, **({} if given == 1 else {"axis": given}))


def squeezing(g: Draft, x: Tensor) -> None:
    flat = [axis for axis, dim in enumerate(x.shape) if dim == (1, 1)]
    if not flat:
        return unsqueezing(g, x)
    chosen = [flat[i] for i in g.some(len(flat))]
    shape = tuple(dim for axis, dim in enumerate(x.shape) if axis not in chosen)
    listed = [g.axis(axis, x.rank) for axis in chosen]
    # Before opset 11 inference is wrong about axes that are not in order.
    if g.opset >= 11 and g.chance(4):
        listed.reverse()
    only = [axis for axis, dim in enumerate(x.shape) if 1 in dim]
    # At opset 10 inference is wrong about what a Slice leaves of size 1.
    if only == chosen and g.opset != 10 and g.chance(4):
        g.add("Squeeze", [x], shape, x.large)
    elif g.opset < 13:
        g.add("Squeeze", [x], shape, x.large, axes=listed)
    else:
        g.add("Squeeze", [x, g.integers(listed)], shape, x.large)
    return None


def unsqueezing(g: Draft, x: Tensor) -> None:
    more = g.pick(1, 1, 2)
    rank = x.rank + more
    if rank > _HIGHEST_RANK:
        return transposition(g, x)
    chosen = sorted(g.permutation(rank)[:more])
    rest = iter(x.shape)
    shape = tuple((1, 1) if axis in chosen else next(rest) for axis in range(rank))
    listed = [g.axis(axis, rank) for axis in chosen]
    if g.chance(4):
        listed.reverse()
    if g.opset < 13:
        g.add("Unsqueeze", [x], shape, x.large, axes=listed)
    else:
        g.add("Unsqueeze", [x, g.integers(listed)], shape, x.large)
    return None


def reduced(
    g: Draft, operator: str, x: Tensor, axes: list[int] | None, keepdims: bool, large: float
) -> Tensor:
    """A Reduce; None are all axes."""
    over = list(range(x.rank)) if axes is None else axes
    shape = tuple(
        (1, 1) if axis in over else dim
        for axis, dim in enumerate(x.shape)
        if keepdims or axis not in over
    )
    attributes: dict[str, Any] = {} if keepdims and g.chance(2) else {"keepdims": int(keepdims)}
    inputs: list[Tensor | str] = [x]
    if axes is not None:
        listed = [g.axis(axis, x.rank) for axis in axes]
        if g.opset >= (13 if operator == "ReduceSum" else 18):
            inputs.append(g.integers(listed))
        else:
            attributes["axes"] = listed
    elif g.opset >= (13 if operator == "ReduceSum" else 18) and g.chance(3):
        inputs.append(g.stored(np.zeros(0, np.int64)))
    return g.add(operator, inputs, shape, large, **attributes)


def reduction(g: Draft, x: Tensor) -> None:
    if not x.rank:
        return elementwise(g, x)
    operator = g.pick(
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
        "ReduceSumSquare", "ReduceLogSumExp",
    )  # fmt: skip
    large = 2 * x.large + 1.5 if operator == "ReduceSumSquare" else x.large + 1.5
    if operator == "ReduceLogSumExp":
        x = g.add("Tanh", [x], x.shape, 0)
    if x.rank == 4 and g.chance(4):
        axes: list[int] | None = [2, 3]
    else:
        axes = None if g.chance(6) else g.some(x.rank)
    if axes is not None and g.chance(4) and len(axes) > 1:
        axes = axes[::-1]
    y = reduced(g, operator, x, axes, g.chance(2), large)
    if y.rank and g.chance(4):
        reduced(g, operator, g.squashed(y), g.some(y.rank), g.chance(2), large)
    return None


def nothing_reduced(g: Draft, x: Tensor) -> None:
    """A Reduce over no axes, where there is one."""
    operator = g.pick("ReduceSum", "ReduceMean", "ReduceL1", "ReduceMax")
    if g.opset < (13 if operator == "ReduceSum" else 18):
        return reduction(g, x)
    inputs: list[Tensor | str] = [x]
    if g.chance(2):
        inputs.append(g.stored(np.zeros(0, np.int64)))
    g.add(operator, inputs, x.shape, x.large, noop_with_empty_axes=1)
    return None


def norms(g: Draft, x: Tensor) -> None:
    """Sums of squares, of absolute values and of exponentials, spelled out."""
    if not x.rank:
        return elementwise(g, x)
    axes, kept = g.some(x.rank), g.chance(2)
    match g.pick("l2", "l1", "lse", "stable", "normalize"):
        case "l1":
            reduced(g, "ReduceSum", g.add("Abs", [x], x.shape, x.large), axes, kept, x.large + 1.5)
        case "lse":
            y = g.add("Tanh", [x], x.shape, 0)
            y = reduced(g, "ReduceSum", g.add("Exp", [y], y.shape, 0.5), axes, kept, 2)
            g.add("Log", [y], y.shape, 1)
        case "stable":
            most = reduced(g, "ReduceMax", x, axes, True, x.large)
            y = g.add("Sub", [x, most], x.shape, x.large)
            y = reduced(g, "ReduceSum", g.add("Exp", [y], y.shape, 0), axes, True, 2)
            y = g.add("Log", [y], y.shape, x.large)
            g.add("Add", [y, most] if g.chance(2) else [most, y], y.shape, x.large)
        case "normalize" if g.opset >= 8:
            y = reduced(g, "ReduceL2", x, axes, True, x.large + 1)
            y = g.add("Add", [y, g.stored(np.array(0.5, g.dtype))], y.shape, y.large)
            wide = g.add("Expand", [y, g.node("Shape", [x.name])], x.shape, y.large)
            g.add("Div", [x, wide], x.shape, 0.5)
        case _:
            if g.chance(2):
                y = g.add("Mul", [x, x], x.shape, 2 * x.large)
            else:
                two = g.stored(np.array(2.0, g.dtype))
                y = g.add("Pow", [x, two], x.shape, 2 * x.large)
            y = reduced(g, "ReduceSum", y, axes, kept, y.large + 1.5)
            g.add("Sqrt", [y], y.shape, x.large + 1)
    return None


def layer_norm(g: Draft, x: Tensor) -> None:
    """A normalization of the last axes, or of others, spelled out."""
    if not x.rank:
        elementwise(g, x)
        return
    axes = (
        list(range(x.rank - 1 - g.draw(_choices(x.rank)), x.rank)) if g.chance(3) else [x.rank - 1]
    )
    if g.chance(8):
        axes = g.some(x.rank)
    y = x
    if not g.chance(4):
        mean = reduced(g, "ReduceMean", x, axes, True, x.large)
        y = g.add("Sub", [x, mean], x.shape, x.large)
    if g.chance(2):
        square = g.add("Mul", [y, y], x.shape, 2 * x.large)
    else:
        square = g.add("Pow", [y, g.stored(np.array(2.0, g.dtype))], x.shape, 2 * x.large)
    variance = reduced(g, "ReduceMean", square, axes, True, 2 * x.large)
    epsilon = g.stored(np.array(g.pick(1e-2, 0.5), g.dtype))
    variance = g.add("Add", [variance, epsilon], variance.shape, 2 * x.large)
    if g.chance(2):
        root = g.add("Sqrt", [variance], variance.shape, x.large)
        y = g.add("Div", [y, root], x.shape, 1)
    else:
        root = g.add("Sqrt", [variance], variance.shape, x.large)
        root = g.add("Reciprocal", [root], variance.shape, 1)
        y = g.add("Mul", [y, root], x.shape, 1)
    for operator in ("Mul", "Add"):
        if g.chance(2):
            made = g.factor(y)
            if made is not None:
                constant, shape = made
                y = g.add(operator, [y, constant], shape, 1.5)


def gelu(g: Draft, x: Tensor) -> None:
    def number(content: float) -> str:
        return g.stored(np.array(content, g.dtype))

    if g.opset >= 9 and g.chance(2):
        if g.chance(2):
            inner = g.add("Div", [x, number(math.sqrt(2))], x.shape, x.large)
        else:
            inner = g.add("Mul", [x, number(1 / math.sqrt(2))], x.shape, x.large)
        gate = g.add("Erf", [inner], x.shape, 0)
    else:
        cube = g.add("Pow", [x, number(3.0)], x.shape, 3 * x.large)
        cube = g.add("Mul", [cube, number(0.044715)], x.shape, 3 * x.large)
        inner = g.add("Add", [x, cube], x.shape, 3 * x.large)
        inner = g.add("Mul", [inner, number(math.sqrt(2 / math.pi))], x.shape, 3 * x.large)
        gate = g.add("Tanh", [inner], x.shape, 0)
    gate = g.add("Add", [gate, number(1.0)], x.shape, 0.3)
    if g.chance(2):
        y = g.add("Mul", [x, gate], x.shape, x.large)
        g.add("Mul", [y, number(0.5)], x.shape, x.large)
    else:
        y = g.add("Mul", [x, number(0.5)], x.shape, x.large)
        g.add("Mul", [y, gate], x.shape, x.large)


def hard_sigmoid(g: Draft, x: Tensor) -> None:
    def number(content: float) -> str:
        return g.stored(np.array(content, g.dtype))

    y = g.add("Add", [x, number(3.0)], x.shape, x.large)
    if g.opset < 11:
        y = g.add("Clip", [y], x.shape, 1, min=0.0, max=6.0)
    else:
        y = g.add("Clip", [y, number(0.0), number(6.0)], x.shape, 1)
    y = g.add("Div", [y, number(6.0)], x.shape, 0)
    if g.chance(2):
        g.add("Mul", [x, y], x.shape, x.large)


def softmax(g: Draft, x: Tensor) -> None:
    if not x.rank:
        return elementwise(g, x)
    axis = g.draw(_choices(x.rank))
    y = g.add("Softmax", [x], x.shape, 0, axis=g.axis(axis, x.rank))
    if g.chance(2):
        g.add("Log", [y], x.shape, x.large + 1)
    return None


def functions_of_positive(g: Draft, x: Tensor) -> None:
    match g.pick("exp", "sqrt", "log", "reciprocal"):
        case "exp":
            y = g.add("Tanh", [x], x.shape, 0)
            g.add("Exp", [y], x.shape, 0.5)
        case "sqrt":
            y = g.add("Abs", [x], x.shape, x.large)
            g.add("Sqrt", [y], x.shape, x.large)
        case kind:
            y = g.add("Mul", [x, x], x.shape, 2 * x.large)
            y = g.add("Add", [y, g.stored(np.array(0.5, g.dtype))], x.shape, 2 * x.large)
            g.add("Log" if kind == "log" else "Reciprocal", [y], x.shape, 2)


def nothing(g: Draft, x: Tensor) -> None:
    """Operators that do nothing, or look like it."""
    match g.pick("Identity", "Dropout", "Cast", "Casts", "Pad", "Tile", "Slice", "Sum", "Expand"):
        case "Dropout":
            inputs: list[Tensor | str] = [x]
            if g.opset >= 12 and g.chance(2):
                inputs.append(g.stored(np.array(0.3, np.float32)))
                if g.chance(2) and g.opset >= 12 and g.opset >= 9:
                    inputs.append(g.stored(np.array(False)))
            g.add("Dropout", inputs, x.shape, x.large)
        case "Cast" if g.opset >= 9:
            g.add("Cast", [x], x.shape, x.large, to=g.type)
        case "Casts" if g.opset >= 9:
            wide = g.node("Cast", [x.name], to=TensorProto.DOUBLE)
            g.add("Cast", [wide], x.shape, x.large, to=g.type)
        case "Pad" if x.rank:
            _pad(g, x, [0] * (2 * x.rank), x.shape)
        case "Tile" if x.rank:
            g.add("Tile", [x, g.integers([1] * x.rank)], x.shape, x.large)
        case "Slice" if x.rank:
            axis = g.draw(_choices(x.rank))
            end = x.shape[axis][0] if _fixed(x.shape[axis]) and g.chance(2) else 2**31 - 1
            name = _sliced(g, x.name, [0], [end], [axis], x.rank)
            g.scope.values.append(Tensor(name, x.shape, x.large))
        case "Sum":
            g.add("Sum", [x], x.shape, x.large)
        case "Expand" if g.opset >= 8 and _is_static(x.shape):
            g.add("Expand", [x, g.integers(_first(x.shape))], x.shape, x.large)
        case _:
            g.add("Identity", [x], x.shape, x.large)


def _sliced(
    g: Draft,
    name: str,
    starts: list[int],
    ends: list[int],
    axes: list[int],
    rank: int | None,
    steps: list[int] | None = None,
) -> str:
    if g.opset < 10:
        given = {} if axes == list(range(rank or 1)) and g.chance(2) else {"axes": axes}
        return g.node("Slice", [name], starts=starts, ends=ends, **given)
    listed = [g.axis(axis, rank) if rank else axis for axis in axes]
    inputs = [name, g.integers(starts), g.integers(ends), g.integers(listed)]
    if steps is not None or g.chance(4):
        inputs.append(g.integers(steps or [1] * len(axes)))
    return g.node("Slice", inputs)


def slicing(g: Draft, x: Tensor) -> None:
    if not x.rank:
        return elementwise(g, x)
    axes = g.some(x.rank)[:2]
    starts, ends, steps = [], [], []
    shape = list(x.shape)
    for axis in axes:
        dim = x.shape[axis]
        start = g.pick(0, 0, 1, -1, -2)
        end = g.pick(2**31 - 1, min(dim), -1, min(dim) + 2, 2)
        step = g.pick(1, 1, 2) if g.opset >= 10 else 1
        if step == 1 and g.opset >= 10 and g.chance(8):
            start, end, step = -1, -(2**31), -1
        taken = [len(range(size)[start:end:step]) for size in dim]
        if min(taken) < 1:
            start, end, step, taken = 0, 2**31 - 1, 1, list(dim)
        starts.append(start)
        ends.append(end)
        steps.append(step)
        shape[axis] = (taken[0], taken[1])
    stepped = steps if set(steps) != {1} else None
    name = _sliced(g, x.name, starts, ends, axes, x.rank, stepped)
    g.scope.values.append(Tensor(name, tuple(shape), x.large))
    return None


def joining(g: Draft, x: Tensor) -> None:
    """A Concat with another value, or with itself."""
    if not x.rank:
        return between(g, x)
    axis = g.draw(_choices(x.rank))

    def around(y: Tensor) -> Shape:
        return (*y.shape[:axis], *y.shape[axis + 1 :])

    fitting = [y for y in g.visible() if y.rank == x.rank and around(y) == around(x)]
    others = [fitting[-1 - g.draw(_choices(len(fitting)))] for _ in range(g.pick(1, 1, 2, 0))]
    parts = [x, *others]
    total = tuple(sum(each.shape[axis][run] for each in parts) for run in (0, 1))
    shape: Shape = (*x.shape[:axis], total, *x.shape[axis + 1 :])  # type: ignore[assignment]
    if _small(shape):
        large = max(each.large for each in parts)
        g.add("Concat", parts, shape, large, axis=g.axis(axis, x.rank))
    return None


def splitting(g: Draft, x: Tensor) -> None:
    axes = [axis for axis, dim in enumerate(x.shape) if _fixed(dim) and dim[0] > 1]
    if not axes:
        return elementwise(g, x)
    axis = g.pick(*axes)
    size = x.shape[axis][0]
    first = 1 + g.draw(_choices(size - 1))
    sizes = [first, size - first]
    given, inputs = {"axis": g.axis(axis, x.rank)}, [x.name]
    if sizes[0] == sizes[1] and g.chance(2):
        given |= {"num_outputs": 2} if g.opset >= 18 else {}
    elif g.opset < 13:
        given |= {"split": sizes}  # type: ignore[dict-item]
    else:
        inputs.append(g.integers(sizes))
    names = g.nodes("Split", inputs, 2, **given)
    for name, part in zip(names, sizes, strict=True):
        shape = (*x.shape[:axis], (part, part), *x.shape[axis + 1 :])
        g.scope.values.append(Tensor(name, shape, x.large))
    return None


def widening(g: Draft, x: Tensor) -> None:
    """An Expand or a Tile."""
    if not x.rank:
        return elementwise(g, x)
    flat = [axis for axis, dim in enumerate(x.shape) if dim == (1, 1)]
    if g.opset >= 8 and flat and g.chance(2):
        axis = g.pick(*flat)
        target = [2 if i == axis else 1 for i in range(axis if g.chance(2) else 0, x.rank)]
        wide = (*x.shape[:axis], (2, 2), *x.shape[axis + 1 :])
        if _small(wide):
            g.add("Expand", [x, g.integers(target)], wide, x.large)
        return None
    repeats = [g.pick(1, 1, 2) for _ in x.shape]
    shape = tuple((dim[0] * n, dim[1] * n) for dim, n in zip(x.shape, repeats, strict=True))
    if _small(shape):
        g.add("Tile", [x, g.integers(repeats)], shape, x.large)
    return None


def gathering(g: Draft, x: Tensor) -> None:
    if not x.rank:
        return elementwise(g, x)
    axis = g.draw(_choices(x.rank))
    least = min(x.shape[axis])
    count = g.pick(None, 1, 2)
    low = -1 if g.opset >= 11 and g.chance(3) else 0
    index = [low if low else g.draw(_choices(least)) for _ in range(count or 1)]
    array = np.array(index if count else index[0], np.int64)
    middle = () if count is None else ((count, count),)
    shape = (*x.shape[:axis], *middle, *x.shape[axis + 1 :])
    if _small(shape):
        g.add("Gather", [x, g.stored(array)], shape, x.large, axis=g.axis(axis, x.rank))
    return None


# Bodies


def _body(g: Draft, x: Tensor) -> Tensor:
    """Some parts that begin with a value, brought to its shape."""
    g.scope.values.append(g.add("Identity", [x], x.shape, x.large) if g.chance(4) else x)
    g.grow(1 + g.draw(_choices(4)))
    y = g.squashed(g.scope.values[-1])
    if y.shape != x.shape:
        if y.rank:
            y = reduced(g, "ReduceMean", y, None, False, y.large)
        y = g.add("Add", [x, y], x.shape, max(x.large, y.large))
    if y is x or not any(y.name in node.output for node in g.scope.nodes):
        y = g.add(g.pick("Tanh", "Identity", "Relu"), [x], x.shape, x.large)
    return y


def choice(g: Draft, x: Tensor) -> None:
    """An If: by an input, or by a constant."""
    if len(g.scopes) > 2 or _in_function(g):
        return elementwise(g, x)
    condition = "which"
    if g.chance(3):
        condition = g.name("c")
        g.scopes[0].stored.append(numpy_helper.from_array(np.array(g.chance(2)), condition))
    branches = {}
    for branch in ("then_branch", "else_branch"):
        g.scopes.append(Scope())
        y = _body(g, x)
        body = g.scopes.pop()
        rank = y.shape if g.chance(2) else None
        output = g.information(y.name, rank)
        branches[branch] = helper.make_graph(body.nodes, branch, [], [output], body.stored)
    g.add("If", [condition], x.shape, x.large + 2, **branches)
    return None


def loop(g: Draft, x: Tensor) -> None:
    """A Loop that carries one value through two or three turns."""
    if len(g.scopes) > 2 or _in_function(g):
        return elementwise(g, x)
    truth = g.name("c")
    g.scopes[0].stored.append(numpy_helper.from_array(np.array(True), truth))
    count = g.name("c")
    turns = np.array(g.pick(2, 3, 1), np.int64)
    g.scopes[0].stored.append(numpy_helper.from_array(turns, count))
    g.scopes.append(Scope())
    carried = Tensor(g.name("x"), x.shape, 4)
    y = _body(g, carried)
    if y.large > 1:
        y = g.add("Tanh", [y], y.shape, 0)
    turn, going, on = g.name("i"), g.name("on"), g.name("on")
    body = g.scopes.pop()
    body.nodes.insert(0, helper.make_node("Identity", [going], [on]))
    inputs = [
        helper.make_tensor_value_info(turn, TensorProto.INT64, []),
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        helper.make_tensor_value_info(carried.name, g.type, [None] * x.rank),
    ]
    outputs = [
        helper.make_tensor_value_info(on, TensorProto.BOOL, []),
        helper.make_tensor_value_info(y.name, g.type, [None] * x.rank),
    ]
    graph = helper.make_graph(body.nodes, "turn", inputs, outputs, body.stored)
    g.add("Loop", [count, truth, x], x.shape, 1, body=graph)
    return None


def function(g: Draft, x: Tensor) -> None:
    """A function that is called once or twice."""
    if len(g.scopes) > 2 or _in_function(g) or g.ir_version < 8 or g.opset < 9:
        return elementwise(g, x)
    g.scopes.append(Scope(is_function=True))
    parameter = Tensor(g.name("x"), x.shape, 4)
    y = _body(g, parameter)
    if y.large > 4:
        y = g.add("Tanh", [y], y.shape, 0)
    body = g.scopes.pop()
    name = g.name("Part")
    imports = [helper.make_opsetid("", g.opset)]
    made = helper.make_function("own", name, [parameter.name], [y.name], body.nodes, imports)
    g.functions.append(made)
    for _ in range(g.pick(1, 2)):
        x = g.add(name, [x], x.shape, max(y.large, x.large), domain="own")
    return None


Part = Callable[[Draft, Tensor], None]
_SHUFFLES: tuple[Part, ...] = (
    transposition, reshaping, squeezing, unsqueezing, flattening,
)  # fmt: skip
_FAMILIES: tuple[tuple[Part, ...], ...] = (
    (elementwise, clipped, twice, squared, functions_of_positive, nothing),
    (scale, normalized),
    (between, between, joining),
    (convolution, convolution, deconvolution, pooling, pad),
    (convolution, pooling, through_activation),
    (product, product_of_two, through_activation),
    _SHUFFLES,
    _SHUFFLES,
    (reduction, norms, nothing_reduced),
    (layer_norm, layer_norm, gelu, gelu, hard_sigmoid, softmax),
    (nothing, slicing, splitting, widening, gathering),
    (choice, loop, function),
)


def _finished(g: Draft, symbols: Sequence[Sequence[int | str | None]]) -> ModelProto:
    main = g.scopes[0]
    inputs_drawn = main.values[: len(symbols)]
    read = {name for node in main.nodes for name in node.input}
    outputs: dict[str, Tensor] = {}
    for value in main.values[len(symbols) :]:
        # What only bodies read is an output as well.
        if value.name not in read or g.chance(12):
            outputs[value.name] = value
    if not outputs or g.chance(12):
        value = inputs_drawn[g.draw(_choices(len(inputs_drawn)))]
        outputs[value.name] = value
    infos = [
        helper.make_tensor_value_info(value.name, g.type, dims)
        for value, dims in zip(inputs_drawn, symbols, strict=True)
    ]
    infos.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    listed = [t for t in main.stored if g.ir_version < 4 or t.name in g.overridable]
    infos += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in listed]
    results = [g.information(value.name, value.shape) for value in outputs.values()]
    graph = helper.make_graph(main.nodes, "drawn", infos, results, main.stored)
    imports = [helper.make_opsetid("", g.opset)]
    if g.functions:
        imports.append(helper.make_opsetid("own", 1))
    return helper.make_model(
        graph, opset_imports=imports, ir_version=g.ir_version, functions=g.functions
    )


def _shapes(g: Draft) -> Iterator[tuple[Shape, list[int | str | None]]]:
    """Shapes of one or two inputs, with dimensions that are open or fixed."""
    batch, length = g.pick((2, 3), (1, 2)), g.pick((4, 6), (3, 5), (4, 1))
    kind = g.pick("image", "rows", "matrix", "signal", "scalar")
    sizes = {
        "image": (2, g.pick(2, 3, 4), 4, g.pick(4, 3)),
        "rows": (2, 3, 4),
        "matrix": (g.pick(2, 3), 4),
        "signal": (2, 3, 6),
        "scalar": g.pick((6,), (1,), ()),
    }[kind]
    shape: list[Dim] = [(size, size) for size in sizes]
    symbols: list[int | str | None] = list(sizes)
    if sizes and g.chance(2):
        shape[0], symbols[0] = batch, g.pick("batch", "batch", None)
    if len(sizes) > 2 and g.chance(3):
        shape[-1], symbols[-1] = length, "length"
    yield tuple(shape), symbols
    if g.chance(2):
        if g.chance(2):
            yield tuple(shape), list(symbols)
        else:
            yield tuple(shape[-1:]), list(symbols[-1:])


@st.composite
def graphs(
    draw: Draw, dtype: str = "float32", opsets: Sequence[int] = OPSETS, same_names: bool = True
) -> Drawn:
    """A model of 5 to 60 nodes or so; ONNX Runtime takes none with two nodes of the same name."""
    opset = opsets[draw(_choices(len(opsets)))]
    ir_version = IR_VERSIONS[draw(_choices(len(IR_VERSIONS)))]
    g = Draft(draw, opset, ir_version, np.dtype(dtype))
    g.same_names = same_names
    symbols = []
    for number, (shape, dims) in enumerate(_shapes(g)):
        g.scope.values.append(Tensor(f"x{number}" if number else "x", shape, 1.0))
        symbols.append(dims)
    inputs = list(g.scope.values)
    g.budget = g.pick(5, 8, 12, 16, 24, 40)
    g.grow(g.budget)
    model = _finished(g, symbols)
    if g.chance(4):
        model = inference.infer_shapes(model)
    feeds = []
    for run in (0, 1):
        given: dict[str, Array] = {"which": np.array(bool(run))}
        for each in inputs:
            size = [dim[run] for dim in each.shape]
            numbers = np.where(g.rng.random(size) < 0.1, 0.0, g.rng.standard_normal(size) * 2)
            given[each.name] = numbers.astype(dtype)
        feeds.append(given)
    return Drawn(model, tuple(feeds))
