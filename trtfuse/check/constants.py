"""What a node computes from constants alone.

Arithmetic on floating-point numbers is done in float64 and rounded once, which is what IEEE
arithmetic gives at run time; everything else is run on ONNX Runtime, in the types that the model
has. ONNX Runtime is right where the reference implementation of some releases of onnx is not
(integer Div, OneHot, ScatterElements), and it has operators that the other lacks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, helper, numpy_helper

from trtfuse.analysis.constants import constant
from trtfuse.analysis.shapes import forget_shape
from trtfuse.errors import one_line
from trtfuse.ir.functions import called_by, functions_of, run_by
from trtfuse.ir.graph import Node, Value, written
from trtfuse.ir.tensor import (
    FLOATING,
    Array,
    FoldedTensor,
    FoundTensor,
    Tensor,
    numpy_type,
    rounded,
)

#: Arithmetic that is done in float64. The reference implementation, with the operators of our own
#: in its place (`trtfuse.analysis.reference_operators`), agrees there with ONNX Runtime on every
#: backend test.
WIDENED = frozenset(
    (
        *("Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "AveragePool"),
        *("BatchNormalization", "Clip", "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum", "Div"),
        *("Einsum", "Elu", "Erf", "Exp", "Gelu", "Gemm", "GlobalAveragePool", "HardSigmoid"),
        *("LeakyRelu", "Log", "LogSoftmax", "MatMul", "Mean", "Mod", "Mul", "Neg", "PRelu", "Pow"),
        *("Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"),
        *("ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Selu", "Sigmoid", "Sin"),
        *("Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh"),
        "ThresholdedRelu",
    )
)

#: What ONNX Runtime has no kernel of for some types, bfloat16 above all; moving, choosing and
#: comparing numbers is exact in the reference implementation too.
MOVED = frozenset(
    (
        *("Abs", "Cast", "Ceil", "Concat", "ConstantOfShape", "Equal", "Expand", "Flatten"),
        *("Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity"),
        *("IsInf", "IsNaN", "Less", "LessOrEqual", "Max", "Min", "ReduceMax", "ReduceMin", "Relu"),
        *("Reshape", "Round", "Sign", "Slice", "Squeeze", "Tile", "Transpose", "Trilu"),
        *("Unsqueeze", "Where"),
    )
)

#: A Loop is run at most so often, counting those around it.
_MOST_ITERATIONS = 10_000
#: What a body or function computes on the way may take so many bytes.
_LARGEST_INSIDE = 1 << 28
#: Constants of more bytes are given as inputs: protobuf holds 2 GiB.
_LARGEST_EMBEDDED = 1 << 20

#: What ONNX Runtime begins its messages with.
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")

#: The types that ONNX Runtime hands over as numpy has them.
_HANDED_OVER = frozenset(
    (
        TensorProto.BOOL,
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
        *(TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.STRING),
    )
)


class NotComputableError(Exception):
    """Why a node cannot be computed."""


class Computation:
    """What a node computes from constants.

    Args:
        node: all that it and its bodies read is constant.
        wanted: those of its outputs that something reads.

    Attributes:
        in_float64: whether it was computed in float64, and not on ONNX Runtime.
    """

    def __init__(self, node: Node, wanted: Sequence[Value]) -> None:
        self.node = node
        self.wanted = tuple(wanted)
        self.in_float64 = False
        self._model: ModelProto | None = None
        self._large: dict[str, Array] = {}
        self._inferred: dict[str, TypeProto] | None = None

    def size(self, value: Value) -> int | None:
        """The bytes of an output before it is computed; None where they depend on the numbers.

        Raises:
            NotComputableError: a body or function would make something far larger on the way.
        """
        inferred = self._types().get(self._name(value))
        if inferred is None or not inferred.tensor_type.HasField("shape"):
            return None
        return _bytes(inferred)

    def run(self) -> list[Tensor]:
        """The wanted outputs.

        Raises:
            NotComputableError: it fails, or nothing here can run it.
        """
        _refuse_undefined(self.node)
        if self._widens():
            try:
                return [self._in_float64()]
            except Exception:  # noqa: BLE001 - the reference evaluator raises anything
                # What it does not have, ONNX Runtime may.
                pass
        return self._on_onnx_runtime()

    def _widens(self) -> bool:
        (first, *more) = self.wanted
        floating = (t.type in FLOATING for v in self.node.inputs if (t := constant(v)) is not None)
        return self.node.op in WIDENED and not more and first.type in FLOATING and any(floating)

    def _in_float64(self) -> Tensor:
        # It takes its time to load; not every run needs it.
        from trtfuse.analysis.reference_operators import Evaluator

        (value,) = self.wanted
        assert value.type is not None
        evaluator = Evaluator([self.node], [value], self.node.home.opset_imports)
        feeds = {v: _widened(tensor) for v in evaluator.inputs if (tensor := constant(v))}
        (array,) = evaluator.run(feeds)
        if value.type not in FLOATING:
            self.in_float64 = True
            return FoundTensor(array.astype(numpy_type(value.type), copy=False), value.type)
        self.in_float64 = True
        stored = rounded(array, value.type)
        if (np.isfinite(array) & ~np.isfinite(stored)).any() or np.isnan(array).any():
            # What it says of itself stops the rewrite.
            return FoldedTensor(array, value.type)
        return FoundTensor(stored, value.type)

    def _on_onnx_runtime(self) -> list[Tensor]:
        import onnxruntime as ort

        model = self._as_model()
        for value in self.wanted:
            if value.type is not None and value.type not in {*_HANDED_OVER, TensorProto.BFLOAT16}:
                name = TensorProto.DataType.Name(value.type).lower()
                raise NotComputableError(f"ONNX Runtime does not hand over {name}")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        try:
            message = model.SerializeToString()
            session = ort.InferenceSession(message, options, ["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - it has an error of its own for each kind
            if self.node.op in WIDENED | MOVED and len(self.wanted) == 1:
                try:
                    return [self._in_float64()]
                except Exception as other:  # noqa: BLE001 - as above
                    raise NotComputableError(_status(other)) from None
            raise NotComputableError(_status(error)) from None
        try:
            outputs = session.run(None, self._large)
        except Exception as error:  # noqa: BLE001 - as above
            raise NotComputableError(_status(error)) from None
        return [_taken(output, value) for output, value in zip(outputs, self.wanted, strict=True)]

    def _types(self) -> dict[str, TypeProto]:
        """What ONNX's inference says of the outputs, knowing every small constant."""
        if self._inferred is None:
            try:
                model = onnx.shape_inference.infer_shapes(self._as_model(), data_prop=True)
            except Exception:  # noqa: BLE001 - it raises several kinds; running it says more
                self._inferred = {}
                return self._inferred
            for inner in _bodies(model.graph):
                for info in inner.value_info:
                    if (_bytes(info.type) or 0) > _LARGEST_INSIDE:
                        raise NotComputableError(f"'{info.name}' inside it is large")
            infos = (*model.graph.value_info, *model.graph.output)
            self._inferred = {info.name: info.type for info in infos}
        return self._inferred

    def _name(self, value: Value) -> str:
        return value.name if self.node.bodies else f"v{self.node.outputs.index(value)}"

    def _as_model(self) -> ModelProto:
        """A model of this node alone, with what it reads as initializers."""
        if self._model is not None:
            return self._model
        node, graph = self.node, GraphProto(name="constants")
        proto = onnx.NodeProto()
        proto.CopyFrom(written(node))
        read: dict[str, Value] = {}
        if node.bodies:
            # Bodies know what they capture by its name.
            values = [v for v in (*node.inputs, *node.captured()) if v is not None]
            for value in values:
                if read.setdefault(value.name, value) is not value:
                    raise NotComputableError(f"it reads two values named '{value.name}'")
        else:
            names = {v: f"c{i}" for i, v in enumerate(node.inputs) if v is not None}
            read = {name: value for value, name in names.items()}
            del proto.input[:], proto.output[:]
            proto.input.extend("" if v is None else names[v] for v in node.inputs)
            proto.output.extend("" if v is None else self._name(v) for v in node.outputs)
        for name, value in read.items():
            tensor = constant(value)
            assert tensor is not None
            if tensor.nbytes > _LARGEST_EMBEDDED and tensor.type in _HANDED_OVER:
                self._large[name] = tensor.array()
                info = helper.make_tensor_value_info(name, tensor.type, tensor.shape)
                graph.input.append(info)
            else:
                graph.initializer.append(_embedded(tensor, name))
        graph.node.append(proto)
        for value in self.wanted:
            name = self._name(value)
            if value.type == TensorProto.BFLOAT16:
                # Its numbers are numbers of float32, which numpy has.
                graph.node.append(
                    helper.make_node("Cast", [name], [f"{name} wide"], to=TensorProto.FLOAT)
                )
                name = f"{name} wide"
            graph.output.append(helper.make_empty_tensor_value_info(name))
        functions = [graph.write_function() for graph in called_by(node)]
        imports = {
            ("" if opset.domain == "ai.onnx" else opset.domain): opset.version
            for opset in node.home.opset_imports
        }
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid(domain, version) for domain, version in imports.items()
            ],
            functions=functions,
            ir_version=min(10, max(8, node.home.model.ir_version)),
        )
        # What a body claims of its values may be what keeps ONNX Runtime from running it.
        for body in _bodies(model.graph):
            # Those that stay are a Loop's count and condition: ONNX Runtime wants their shapes.
            for info in (*body.input[2:], *body.output, *body.value_info):
                forget_shape(info.type)
        going = constant(node.input(1)) if node.op == "Loop" else None
        if going is not None:
            known = helper.make_tensor_type_proto(going.type, going.shape)
            next(iter(_bodies(model.graph))).input[1].type.CopyFrom(known)
        self._model = model
        return model


def _embedded(tensor: Tensor, name: str) -> TensorProto:
    proto = tensor.to_proto(name)
    if proto.data_location == TensorProto.EXTERNAL:
        return numpy_helper.from_array(tensor.array(), name)
    return proto


def _widened(tensor: Tensor) -> Array:
    array = tensor.array()
    return array.astype(np.float64) if tensor.type in FLOATING else array


def _taken(output: object, value: Value) -> Tensor:
    """What ONNX Runtime computed, as a tensor of the type that the value has.

    Raises:
        NotComputableError: it is not a tensor, or of another type.
    """
    if not isinstance(output, (np.ndarray, np.generic)):
        raise NotComputableError("what it computes is not a tensor")
    array = np.asarray(output)
    if array.dtype == object:
        return FoundTensor(array, TensorProto.STRING)
    if value.type == TensorProto.BFLOAT16:
        array = array.astype(numpy_type(TensorProto.BFLOAT16))
    element_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    if value.type not in (None, element_type):
        raise NotComputableError(f"it computes {array.dtype}, and the model says otherwise")
    return FoundTensor(array, element_type)


def _status(error: Exception) -> str:
    """What ONNX Runtime or another says, without the code in front and the paths of its source."""
    text = one_line(error)
    _, _, status = text.rpartition("Status Message: ")
    return _CODE.sub("", status or text)[:200]


def _bytes(known: TypeProto) -> int | None:
    """The bytes of a tensor of a type, if its shape is known and fixed."""
    tensor = known.tensor_type
    if not tensor.HasField("shape") or not tensor.elem_type:
        return None
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if any(size is None or size < 0 for size in sizes):
        return None
    return math.prod(size or 0 for size in sizes) * numpy_type(tensor.elem_type).itemsize


def _bodies(graph: GraphProto) -> Iterable[GraphProto]:
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            for attribute in node.attribute:
                graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
                yield from graphs
                pending.extend(graphs)


def _refuse_undefined(node: Node) -> None:
    """Raises for what is not defined, or has no end, before anything runs it."""
    for inner in run_by(node):
        _refuse_left_out(inner)
        _refuse_division(inner)
    _refuse_endless(node)


def _refuse_left_out(node: Node) -> None:
    """Refuses a node that leaves out an input it needs; ONNX Runtime's kernel would crash.

    Raises:
        NotComputableError: that is so.
    """
    domain, name = node.operator.domain, node.operator.name
    if node.operator.whose == "function":
        return
    opsets = {opset.domain: opset.version for opset in node.home.opset_imports}
    version = opsets.get(domain, 1) if domain else node.opset
    if not onnx.defs.has(name, version, domain):
        return
    formal = onnx.defs.get_schema(name, version, domain).inputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    for index, value in enumerate(node.inputs):
        if value is None and formal[min(index, len(formal) - 1)].option != optional:
            raise NotComputableError(f"{node.label} has no input {index}, which {name} needs")


def _refuse_division(node: Node) -> None:
    """An integer divided by zero ends the process, wherever it is computed."""
    divided = node.input(0)
    if node.op not in ("Div", "Mod", "BitShift") or divided is None or divided.type in FLOATING:
        return
    dividend, divisor = constant(divided), constant(node.input(1))
    if divisor is None:
        raise NotComputableError(f"it divides integers in {node.label} by what it computes")
    by = divisor.array()
    if by.dtype.kind not in "iu":
        return
    if node.op == "BitShift":
        if (by >= 8 * by.dtype.itemsize).any():
            raise NotComputableError(f"{node.label} shifts by more bits than there are")
    elif (by == 0).any():
        raise NotComputableError(f"{node.label} divides integers by zero")
    elif (by.dtype.kind == "i" and (by == -1).any()) and (
        dividend is None or (dividend.array() == np.iinfo(by.dtype).min).any()
    ):
        raise NotComputableError(f"{node.label} divides the smallest integer by -1")


def _refuse_endless(node: Node) -> None:
    """Raises where a Loop may go on for long."""
    functions = functions_of(node.home)
    pending = [(node, 1)]
    while pending:
        current, times = pending.pop()
        if current.op == "Loop":
            trips = constant(current.input(0))
            if trips is None or trips.size != 1:
                raise NotComputableError(f"it is not known how often the Loop {current.label} runs")
            going = constant(current.input(1))
            if going is not None and going.size != 1:
                # ONNX Runtime reads one, and ends the process where there is none.
                raise NotComputableError(f"the condition of the Loop {current.label} is not one")
            times *= max(1, int(trips.array().reshape(())))
            if times > _MOST_ITERATIONS:
                raise NotComputableError(f"the Loop {current.label} may run {times} times")
        graphs = list(current.bodies)
        if (function := functions.get(current.operator.base)) is not None:
            graphs.append(function)
        pending.extend((inner, times) for graph in graphs for inner in graph.nodes())
