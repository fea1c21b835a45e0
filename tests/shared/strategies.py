"""Hypothesis draws models: scales before and after convolutions and matrix products.

Whatever ONNX allows is drawn, also what must not be fused: constants that broadcast along other
axes or change the shape, padding, other consumers, intermediate outputs, dynamic dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    TensorProto,
    defs,
    helper,
    numpy_helper,
    shape_inference,
)

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]

OPSETS = (7, 8, 9, 11, 13, 14, 15, 17, 18, 21, 22, defs.onnx_opset_version())

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


@dataclass(frozen=True)
class Drawn:
    """A model and the shapes of its input that it may run at."""

    model: ModelProto
    shapes: tuple[Shape, ...]

    def feeds(self, shape: Shape) -> dict[str, Array]:
        """Numbers for the inputs, zeros and large ones among them."""
        rng = np.random.default_rng(len(shape))
        normal = rng.standard_normal(shape)
        x = np.where(rng.random(shape) < 0.1, 0.0, normal * 10.0 ** rng.integers(-2, 3, shape))
        return {"x": x, "which": np.array(True)}


@dataclass
class Draft:
    """A model being drawn, one node after the other; `value` is what the last one computes."""

    draw: Draw
    dtype: np.dtype[Any]
    opset: int
    rng: np.random.Generator
    shape: Shape
    value: str = "x"
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    overridable: list[str] = field(default_factory=list)

    @property
    def type(self) -> int:
        return helper.np_dtype_to_tensor_dtype(self.dtype)

    def chance(self, one_in: int) -> bool:
        """True once in so many times; False is the simpler example."""
        return bool(self.draw(st.integers(0, one_in - 1)) == one_in - 1)

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def numbers(self, shape: Shape, kind: str = "normal") -> Array:
        """Numbers that the type holds; of extreme ones float16 does not hold all products."""
        match kind:
            case "ones":
                return np.ones(shape, self.dtype)
            case "zeros":
                return np.zeros(shape, self.dtype)
            case "positive":
                return self.rng.uniform(0.5, 2.0, shape).astype(self.dtype)
            case "extreme":
                large = 2.0 ** self.rng.choice((-14, 14), shape)
                return (large * self.rng.uniform(1.0, 2.0, shape)).astype(self.dtype)
        away = self.rng.choice((-1.0, 1.0), shape) * self.rng.uniform(0.25, 2.0, shape)
        return away.astype(self.dtype)

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.nodes) + len(self.initializers)}"

    def initializer(self, array: Array) -> str:
        name = self.name("c")
        self.initializers[name] = array
        return name

    def constant(self, array: Array) -> str:
        """A constant in one of the ways that exporters write one."""
        way = self.pick("stored", "stored", "stored", "node", "copied", "shaped", "turned", "cast")
        match way:
            case "node":
                return self.node("Constant", value=numpy_helper.from_array(array))
            case "copied":
                return self.node("Identity", self.initializer(array))
            case "shaped":
                target = self.initializer(np.array(array.shape, np.int64))
                return self.node("Reshape", self.initializer(array.reshape(-1)), target)
            case "turned":
                return self.node("Transpose", self.initializer(np.ascontiguousarray(array.T)))
            case "cast":
                wide = self.initializer(array.astype(np.float64))
                return self.node("Cast", wide, to=self.type)
        return self.initializer(array)

    def weights(self, array: Array) -> str:
        """A constant, but sometimes one that a caller may override, or that is computed."""
        if not self.chance(8):
            return self.constant(array)
        stored = self.initializer(array)
        if self.chance(2):
            return self.node("Relu", stored)
        self.overridable.append(stored)
        return stored

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = self.name("v")
        label = self.pick(f"{operator.lower()}_{output}", "", "twin")
        self.nodes.append(helper.make_node(operator, inputs, [output], name=label, **attributes))
        return output

    def step(self, shape: Shape, operator: str, *inputs: str, **attributes: Any) -> None:
        """A node whose output is what the next one begins with."""
        self.value = self.node(operator, *inputs, **attributes)
        self.shape = shape

    # Other readers of a value

    def bystanders(self) -> None:
        """Sometimes makes the value an output, or lets something else read it."""
        if not self.chance(8) or self.value == "x":
            return
        match self.pick("output", "consumer", "dead", "body"):
            case "output":
                self.outputs[self.value] = len(self.shape)
            case "consumer":
                self.outputs[self.node("Relu", self.value)] = len(self.shape)
            case "dead":
                self.node("Relu", self.value)
            case "body":
                branches = {
                    f"{branch}_branch": helper.make_graph(
                        [helper.make_node(operator, [self.value], [f"{branch}_{self.value}"])],
                        branch,
                        [],
                        [self.info(f"{branch}_{self.value}", len(self.shape))],
                    )
                    for branch, operator in (("then", "Neg"), ("else", "Relu"))
                }
                self.outputs[self.node("If", "which", **branches)] = len(self.shape)

    def info(self, name: str, rank: int) -> Any:
        return helper.make_tensor_value_info(name, self.type, [None] * rank)

    # Scales

    def factor_shape(self) -> Shape:
        """The shape of a constant that broadcasts with the value, per channel or not."""
        rank = len(self.shape)
        kind = self.pick("one", "channel", "channel", "channel", "axis", "full", "higher", "wider")
        axis = min(1, rank - 1)
        match kind:
            case "one":
                return self.pick((), (1,), (1,) * rank)
            case "axis":
                axis = self.draw(st.integers(0, rank - 1))
            case "full":
                return self.shape
            case "higher":
                return (1,) * (rank + 1)
            case "wider":
                flat = [i for i, size in enumerate(self.shape) if size == 1]
                if flat and rank < 5:
                    axis = self.pick(*flat)
                    return (1,) * axis + (2,) + (1,) * (rank - axis - 1)
            case _:
                # Where the channels of a product are, or those of a convolution.
                axis = self.pick(axis, rank - 1)
        trailing = (self.shape[axis],) + (1,) * (rank - axis - 1)
        return trailing if self.chance(2) else (1,) * axis + trailing

    def scale(self) -> None:
        """One Scale, in one of its spellings."""
        kinds = ["Mul", "Add", "Sub", "Div", "Neg", "Pow", "none", "from", "batch"]
        operator = self.pick(*(k for k in kinds if k != "batch" or len(self.shape) > 1))
        match operator:
            case "Neg":
                return self.step(self.shape, "Neg", self.value)
            case "batch":
                return self.batch_normalization()
            case "none":
                operator, kind = self.pick(
                    ("Mul", "ones"), ("Div", "ones"), ("Add", "zeros"), ("Sub", "zeros")
                )
                swapped = operator in ("Mul", "Add") and self.chance(2)
            case "Pow":
                kind, swapped = "ones", False
            case "from":
                operator, kind, swapped = "Sub", "normal", True
            case _:
                swapped = self.chance(2)
                kind = "extreme" if self.chance(10 if self.dtype.itemsize > 2 else 3) else "normal"
        shape = self.factor_shape()
        numbers = self.numbers(shape, kind)
        if operator == "Pow" and self.chance(4):
            numbers = numbers + numbers
        factor = self.constant(numbers)
        operands = (factor, self.value) if swapped else (self.value, factor)
        if operator == "Div" and swapped:
            # The divisor must not come near 0, or the quotient may be anything.
            operator = "Mul"
        self.step(np.broadcast_shapes(self.shape, shape), operator, *operands)
        return None

    def batch_normalization(self) -> None:
        channels = (self.shape[1],)
        own = self.dtype
        if self.opset >= 15 and self.dtype.itemsize == 2 and self.chance(2):
            own = np.dtype(np.float32)
        kinds = ("normal", "normal", "normal", "positive")
        parameters = [self.numbers(channels, kind).astype(own) for kind in kinds]
        if self.chance(6):
            kinds = ("ones", "zeros", "zeros", "ones")
            parameters = [self.numbers(channels, kind).astype(own) for kind in kinds]
            attributes: dict[str, float] = {"epsilon": 0.0}
        else:
            attributes = self.pick({}, {"epsilon": 1e-3}, {"epsilon": 0.0})
        names = [self.initializer(array) for array in parameters]
        self.step(self.shape, "BatchNormalization", self.value, *names, **attributes)

    # Layers

    def layer(self) -> None:
        """A convolution or a matrix product, whichever fits the value."""
        rank = len(self.shape)
        fitting = [self.matmul] if rank >= 2 else []
        if rank == 2:
            fitting.append(self.gemm)
        if rank in (3, 4, 5):
            fitting += [self.conv, self.conv_transpose]
        if fitting:
            self.pick(*reversed(fitting))()

    def conv(self) -> None:
        n, channels, *sizes = self.shape
        group = self.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
        maps = group * self.pick(1, 2, 3)
        axes = range(len(sizes))
        attributes: dict[str, Any] = {"group": group} if group > 1 or self.chance(4) else {}
        padding = self.pick("none", "none", "same", "uneven", "VALID", "SAME_UPPER", "SAME_LOWER")
        begin, end = [0 for _ in axes], [0 for _ in axes]
        if padding in ("same", "uneven"):
            begin = [self.pick(0, 1, 2) for _ in axes]
            end = begin if padding == "same" else [self.pick(0, 1) for _ in axes]
            attributes["pads"] = [*begin, *end]
        elif padding != "none":
            attributes["auto_pad"] = padding
        dilations, strides = [1 for _ in axes], [1 for _ in axes]
        # Before opset 11 auto_pad with dilations was not defined.
        if not padding.startswith("SAME"):
            dilations = [self.pick(1, 2) for _ in axes]
            attributes["dilations"] = dilations
        if self.chance(2):
            attributes["strides"] = strides = [self.pick(1, 2) for _ in axes]
        room = [sizes[i] + begin[i] + end[i] for i in axes]
        kernel = [self.pick(*range(1, min(3, (room[i] - 1) // dilations[i] + 1) + 1)) for i in axes]
        if padding.startswith("SAME"):
            out = [-(-sizes[i] // strides[i]) for i in axes]
        else:
            reach = [dilations[i] * (kernel[i] - 1) + 1 for i in axes]
            out = [(room[i] - reach[i]) // strides[i] + 1 for i in axes]
        weights = self.numbers((maps, channels // group, *kernel))
        self.convolved("Conv", weights, (n, maps, *out), attributes)

    def conv_transpose(self) -> None:
        n, channels, *sizes = self.shape
        group = self.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
        maps = group * self.pick(1, 2, 3)
        axes = range(len(sizes))
        attributes: dict[str, Any] = {"group": group} if group > 1 else {}
        strides = [self.pick(1, 2) for _ in axes]
        dilations = [self.pick(1, 2) for _ in axes]
        kernel = [self.pick(1, 2, 3) for _ in axes]
        attributes |= {"strides": strides, "dilations": dilations}
        extra = [0 for _ in axes]
        if self.chance(3):
            extra = [min(self.pick(0, 1), strides[i] - 1) for i in axes]
            attributes["output_padding"] = extra
        full = [
            strides[i] * (sizes[i] - 1) + dilations[i] * (kernel[i] - 1) + 1 + extra[i]
            for i in axes
        ]
        begin = [self.pick(0, min(1, full[i] - 1)) for i in axes]
        end = [self.pick(0, min(1, full[i] - 1 - begin[i])) for i in axes]
        if any(begin) or any(end):
            attributes["pads"] = [*begin, *end]
        out = [full[i] - begin[i] - end[i] for i in axes]
        weights = self.numbers((channels, maps // group, *kernel))
        self.convolved("ConvTranspose", weights, (n, maps, *out), attributes)

    def convolved(self, operator: str, w: Array, shape: Shape, attributes: dict[str, Any]) -> None:
        inputs = [self.value, self.weights(w)]
        if self.chance(2):
            inputs.append(self.weights(self.numbers((shape[1],))))
        if self.chance(6):
            # Another convolution with the same weights, which has to keep them.
            twin = self.node(operator, *inputs, **attributes)
            self.outputs[twin] = len(shape)
        self.step(shape, operator, *inputs, **attributes)

    def gemm(self) -> None:
        rows, inner = self.shape
        attributes: dict[str, Any] = {}
        if self.chance(3):
            rows, inner = inner, rows
            attributes["transA"] = 1
        width = self.pick(1, 2, 3, inner)
        weights = self.numbers((inner, width))
        if self.chance(2):
            attributes["transB"] = 1
            weights = np.ascontiguousarray(weights.T)
        if self.chance(2):
            attributes |= {"alpha": self.pick(0.5, -1.5), "beta": self.pick(2.0, -0.25, 0.0)}
        inputs = [self.value, self.weights(weights)]
        if self.opset < 11 or self.chance(2):
            shapes = (), (1,), (width,), (1, width), (rows, 1), (rows, width)
            inputs.append(self.weights(self.numbers(self.pick(*shapes))))
        if self.chance(6):
            self.outputs[self.node("Gemm", *inputs, **attributes)] = 2
        self.step((rows, width), "Gemm", *inputs, **attributes)

    def matmul(self) -> None:
        *batch, rows, inner = self.shape
        width = self.pick(1, 2, 3, inner)
        stack = self.pick((), (), (), (1,), (2,))
        if stack == (2,) and batch and batch[-1] not in (1, 2):
            stack = ()
        weights = self.weights(self.numbers((*stack, inner, width)))
        shape = (*np.broadcast_shapes(tuple(batch), stack), rows, width)
        self.step(shape, "MatMul", self.value, weights)
        if self.chance(2):
            bias_shape = self.pick((width,), (1,) * (len(shape) - 1) + (width,), (1,))
            bias = self.weights(self.numbers(bias_shape))
            operands = (self.value, bias) if self.chance(2) else (bias, self.value)
            self.bystanders()
            self.step(shape, "Add", *operands)

    # The whole

    def finished(self, declared: Sequence[int | str | None], ir_version: int) -> ModelProto:
        self.outputs[self.value] = len(self.shape)
        tensors = [numpy_helper.from_array(a, name) for name, a in self.initializers.items()]
        inside: list[TensorProto] = []
        nodes = self.nodes
        if self.chance(6):
            if ir_version >= 4:
                inside = [t for t in tensors if t.name not in self.overridable and self.chance(2)]
            nodes = [self.wrapped(inside)]
        outer = [tensor for tensor in tensors if all(tensor is not each for each in inside)]
        inputs = [
            helper.make_tensor_value_info("x", self.type, declared),
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        ]
        listed = [t for t in outer if ir_version < 4 or t.name in self.overridable]
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in listed]
        outputs = [self.info(name, rank) for name, rank in self.outputs.items()]
        graph = helper.make_graph(nodes, "drawn", inputs, outputs, outer)
        imports = [helper.make_opsetid(self.pick("", "ai.onnx"), self.opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
        return shape_inference.infer_shapes(model) if self.chance(3) else model

    def wrapped(self, inside: list[TensorProto]) -> NodeProto:
        """All nodes and some constants in the body of an If, and once more in its other body."""
        own = {name for node in self.nodes for name in node.output}
        own.update(tensor.name for tensor in inside)
        branches = {}
        for branch in ("then", "else"):
            names = {name: f"{branch}_{name}" for name in own}
            nodes = [_renamed(node, names) for node in self.nodes]
            constants = [numpy_helper.from_array(self.initializers[t.name]) for t in inside]
            for tensor, constant in zip(inside, constants, strict=True):
                constant.name = names[tensor.name]
            outputs = [self.info(names[name], rank) for name, rank in self.outputs.items()]
            branches[f"{branch}_branch"] = helper.make_graph(nodes, branch, [], outputs, constants)
        return helper.make_node("If", ["which"], list(self.outputs), name="choice", **branches)


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(names.get(name, name) for name in node.input)
    copy.output.extend(names[name] for name in node.output)
    for attribute in copy.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for output in attribute.g.output:
                output.name = names[node.output[0]] + output.name
            for inner in attribute.g.node:
                inner.input[0] = names.get(inner.input[0], inner.input[0])
                inner.output[0] = names[node.output[0]] + inner.output[0]
    return copy


@st.composite
def models(draw: Draw, dtypes: Sequence[str] = tuple(DTYPES)) -> Drawn:
    """A chain of up to six scales before and after a layer, or around two."""
    opset = draw(st.sampled_from(OPSETS))
    # Conv takes bfloat16 from opset 22 on.
    types = [name for name in dtypes if name != "bfloat16" or opset >= 22]
    dtype = DTYPES[draw(st.sampled_from(types))]
    spatial = draw(st.sampled_from(((), (), (4,), (5,), (4, 3), (3, 4), (3, 2, 2))))
    shape: Shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *spatial)
    if not spatial and draw(st.booleans()):
        shape = (draw(st.integers(1, 2)), 2, 3)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    draft = Draft(draw, dtype, opset, rng, shape)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        for part in (draw(st.integers(0, 3)), None, draw(st.integers(0, 3))):
            if part is None:
                draft.layer()
                draft.bystanders()
                continue
            for _ in range(part):
                draft.scale()
                draft.bystanders()
    if draft.value == "x":
        draft.scale()
    dynamic = [draw(st.booleans()) and draw(st.booleans()) for _ in shape]
    declared = [
        f"d{i}" if free else size for i, (size, free) in enumerate(zip(shape, dynamic, strict=True))
    ]
    other = tuple(size + free for size, free in zip(shape, dynamic, strict=True))
    made = draft.finished(declared, draw(st.sampled_from((8, 3, 10))))
    return Drawn(made, tuple(dict.fromkeys((shape, other))))
