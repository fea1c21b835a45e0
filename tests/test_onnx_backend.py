"""Every test case of onnx's own backend tests, about 2,000: none may change what it computes.

They are models of one node for most operators, the bodies of functions written out, and models
that PyTorch exported, each with inputs and with the outputs that they have to give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from backend_cases import KINDS, cases, model_of
from onnx import ModelProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.reference import ReferenceEvaluator
from oracle import widened

import trtfuse
from trtfuse.ir.tensor import Array

CHUNKS = 24

#: Their Range takes tensors of one dimension, which ONNX forbids. Its checker and ONNX Runtime see
#: that once these are known to have one, and so refuse what is left when no If is left to decide.
INVALID = ("test_affine_grid_2d_expanded", "test_affine_grid_2d_align_corners_expanded")

Data = tuple[list[Any], list[Any]]
#: Runs a model on inputs in their order.
Runtime = Callable[[ModelProto, list[Any]], list[Any]]


# The cases


def data_of(case: Case, model: ModelProto) -> list[Data]:
    if case.data_sets is not None:
        return [(list(inputs), list(outputs)) for inputs, outputs in case.data_sets]
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info.type for info in model.graph.input if info.name not in constants]
    outputs = [info.type for info in model.graph.output]
    folders = sorted(Path(case.model_dir or "").glob("test_data_set_*"))
    return [
        (
            [_read(folder / f"input_{i}.pb", each) for i, each in enumerate(inputs)],
            [_read(folder / f"output_{i}.pb", each) for i, each in enumerate(outputs)],
        )
        for folder in folders
    ]


def _read(path: Path, type_proto: TypeProto) -> Any:
    content = path.read_bytes()
    if type_proto.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if type_proto.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


# Running and comparing


def on_onnx_runtime(model: ModelProto, inputs: list[Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    # Some cases give a number where it takes arrays only.
    inputs = [np.asarray(each) if isinstance(each, np.generic) else each for each in inputs]
    found: list[Any] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def on_the_reference(model: ModelProto, inputs: list[Any]) -> list[Any]:
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in constants]
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(model)
        found = evaluator.run(None, dict(zip(names, inputs, strict=True)))
    assert isinstance(found, list)
    return found


RUNTIMES: tuple[Runtime, ...] = (on_onnx_runtime, on_the_reference)


def difference(case: Case, expected: Any, found: Any) -> str | None:
    """What is wrong with an output; None if it is what the case asks for."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return "another number of parts"
        parts = (difference(case, *each) for each in zip(expected, found, strict=True))
        return next((each for each in parts if each), None)
    if expected is None or found is None:
        return None if expected is found else "there or not"
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return f"shape {list(found.shape)}, not {list(expected.shape)}"
    if expected.dtype.kind in "OSU":
        return None if (expected.astype(str) == found.astype(str)).all() else "other strings"
    if expected.dtype != found.dtype:
        return f"type {found.dtype}, not {expected.dtype}"
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        close = np.isclose(
            found.astype(wide), expected.astype(wide), case.rtol, case.atol, equal_nan=True
        )
    return None if close.all() else f"{np.count_nonzero(~close)} of {close.size} elements"


def differences(case: Case, run: Runtime, model: ModelProto, data: list[Data]) -> str | None:
    for inputs, outputs in data:
        found = run(model, inputs)
        for info, *each in zip(model.graph.output, outputs, found, strict=True):
            if wrong := difference(case, *each):
                return f"{info.name}: {wrong}"
    return None


def runtime_of(case: Case, model: ModelProto, data: list[Data]) -> Runtime | None:
    """The first runtime on which the original computes what the case asks for."""
    for run in RUNTIMES:
        try:
            if differences(case, run, model, data) is None:
                return run
        except Exception:  # noqa: BLE001 - neither has a type for what it does not have
            continue
    return None


def wrong(case: Case, model: ModelProto, data: list[Data]) -> str | None:
    """Fuses a model; says what is wrong with what comes of it."""
    before = model.SerializeToString(deterministic=True)
    result = trtfuse.fuse(model, objective="graph", verify="rewrite")
    if model.SerializeToString(deterministic=True) != before:
        return "the model that was given has changed"
    report = result.report
    if not report.fused and report.before == report.after:
        same = result.model.SerializeToString(deterministic=True) == before
        return None if same else "nothing was fused, and the model is another"
    onnx.checker.check_model(result.model, full_check=not case.name.startswith(INVALID))
    run = None if case.name.startswith(INVALID) else runtime_of(case, model, data)
    if run is None:
        # None gives what the case asks for; then one has to give the same as before.
        run = on_the_reference
        try:
            data = [(inputs, run(model, inputs)) for inputs, _ in data]
        except TypeError:
            # It has no implementation of the original: neither runtime runs it.
            return None
    found = differences(case, run, result.model, data)
    types = {info.type.tensor_type.elem_type for info in model.graph.output}
    if found is not None and TensorProto.BFLOAT16 in types:
        return wrong_in_float64(case, model, [inputs for inputs, _ in data])
    return found


def wrong_in_float64(case: Case, model: ModelProto, data: list[list[Any]]) -> str | None:
    """What is wrong with a model that computes in float64 what it did in a type with few digits.

    One step of bfloat16 is more than the cases allow, and folded weights are rounded once.
    """
    wide = widened(model)
    result = trtfuse.fuse(wide, verify="rewrite")
    feeds = [[_widened_array(each) for each in inputs] for inputs in data]
    before = [(inputs, on_the_reference(wide, inputs)) for inputs in feeds]
    return differences(case, on_the_reference, result.model, before)


def _widened_array(array: Any) -> Any:
    narrow = isinstance(array, (np.ndarray, np.generic)) and array.dtype == ml_dtypes.bfloat16
    return array.astype(np.float64) if narrow else array


def with_constants(model: ModelProto, inputs: list[Any]) -> ModelProto | None:
    """The model with all inputs but the first turned into constants, where they are arrays."""
    made = ModelProto()
    made.CopyFrom(model)
    rest = list(made.graph.input[1:])
    for info, array in zip(rest, inputs[1:], strict=True):
        if not isinstance(array, np.ndarray) or not info.type.HasField("tensor_type"):
            return None
        made.graph.initializer.append(numpy_helper.from_array(array, info.name))
    if made.ir_version >= 4:
        del made.graph.input[1:]
    return made if rest else None


def with_all_constant(
    model: ModelProto, inputs: list[Any], outputs: list[Any]
) -> ModelProto | None:
    """The model with all inputs turned into constants, and an input that keeps its results alive.

    Each result goes through a Where whose condition is given at run time, so that none is an
    output of the graph. None where that cannot be said, as of sequences.
    """
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    tensors = all(isinstance(array, np.ndarray) for array in (*inputs, *outputs))
    if not tensors or made.ir_version < 4 or made.opset_import[0].version < 9 or not inputs:
        return None
    if any(array.dtype.kind in "OSU" or array.dtype.num >= 256 for array in outputs):
        # ONNX Runtime has no Where of these.
        return None
    for info, array in zip(graph.input, inputs, strict=True):
        graph.initializer.append(numpy_helper.from_array(array, info.name))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("chosen", TensorProto.BOOL, []))
    for info in graph.output:
        wanted = info.name
        inner = f"{wanted} computed"
        for node in graph.node:
            node.input[:] = [inner if name == wanted else name for name in node.input]
            node.output[:] = [inner if name == wanted else name for name in node.output]
        graph.node.append(helper.make_node("Where", ["chosen", inner, inner], [wanted]))
    return made


#: What stays without a word: what draws numbers, quantizes, or is of another domain.
NEVER_FOLDED = (
    *("Bernoulli", "Dropout", "DynamicQuantizeLinear", "Multinomial", "QuantizeLinear"),
    *("DequantizeLinear", "BatchNormalization", "RandomUniformLike", "Adagrad", "Adam", "Momentum"),
    # Of a preview of ONNX.
    "FlexAttention",
)

#: Why a node whose inputs are all constant stays, where that is no fault.
REASONS = (
    "bounded-growth",
    "exact-cast",
    "same-everywhere",
    "computable",
    "representable",
    "check",
)


def failures(chunk: int, look: Callable[[Case], Iterator[str | None]]) -> list[str]:
    """What is wrong with one case in so many, each with its name."""
    found = []
    for case in cases()[chunk::CHUNKS]:
        try:
            found += [f"{case.name}: {each}" for each in look(case) if each is not None]
        except Exception as error:  # noqa: BLE001 - a case that crashes is one that fails
            found.append(f"{case.name}: {type(error).__name__}: {error}")
    return found


PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def products() -> Iterator[tuple[Case, ModelProto, list[Data]]]:
    """Those that are one product by a constant, from opset 7 on."""
    for case in cases():
        model = model_of(case)
        if len(model.graph.node) != 1 or model.graph.node[0].op_type not in PRODUCTS:
            continue
        data = data_of(case, model)
        if case.kind == "node":
            (inputs, outputs) = data[0]
            made = with_constants(model, inputs)
            if made is None or min(array.ndim for array in (*inputs[:2], *outputs)) < 2:
                continue
            data = [(inputs[:1], outputs)]
        else:
            made = ModelProto()
            made.CopyFrom(model)
            if made.graph.node[0].op_type == "Gemm":
                continue
            # As PyTorch once exported them, at opset 6; the operator has not changed since.
            made.opset_import[0].version = max(13, made.opset_import[0].version)
        yield case, made, data


def add_constant(model: ModelProto, name: str, array: Array) -> None:
    tensor = numpy_helper.from_array(array, name)
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        info = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)


# The tests


def test_all_cases_are_there() -> None:
    kinds = [case.kind for case in cases()]
    assert kinds.count("node") > 1500
    for kind, least in zip(KINDS[1:], (20, 80, 30), strict=True):
        assert kinds.count(kind) >= least
    assert len({(case.kind, case.name) for case in cases()}) == len(kinds)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_case_changes_what_it_computes(chunk: int) -> None:
    def look(case: Case) -> Iterator[str | None]:
        model = model_of(case)
        yield wrong(case, model, data_of(case, model))

    assert failures(chunk, look) == []


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_case_changes_what_it_computes_if_all_but_its_first_input_are_constant(
    chunk: int,
) -> None:
    def look(case: Case) -> Iterator[str | None]:
        model = model_of(case)
        for inputs, outputs in data_of(case, model):
            made = with_constants(model, inputs) if case.kind == "node" else None
            if made is not None:
                given = inputs[: len(made.graph.input)] if made.ir_version >= 4 else inputs[:1]
                yield wrong(case, made, [(given, outputs)])

    assert failures(chunk, look) == []


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_case_of_constants_is_folded_to_what_it_asks_for_or_says_why_not(
    chunk: int,
) -> None:
    def look(case: Case) -> Iterator[str | None]:
        model = model_of(case)
        if case.kind != "node" or len(model.graph.node) != 1:
            return
        operator = model.graph.node[0].op_type
        if not model.graph.node[0].output[0]:
            # A node is looked at where its first output leads.
            return
        for inputs, outputs in data_of(case, model):
            made = with_all_constant(model, inputs, outputs)
            if made is None:
                continue
            # The Where that keeps a result alive chooses between it and itself.
            result = trtfuse.fuse(made, groups="off", skip=["where-of-one"])
            left = {node.op_type for node in result.model.graph.node} - {"Where", "Identity"}
            reasons = [each for each in result.report.declined if each.guard in REASONS]
            if left and not reasons and operator not in NEVER_FOLDED:
                yield f"{left} stay without a reason"
            found = {t.name: numpy_helper.to_array(t) for t in result.model.graph.initializer}
            for info, expected in zip(model.graph.output, outputs, strict=True):
                array = found.get(f"{info.name} computed")
                if array is not None and not nearly(expected, array):
                    yield difference(case, expected, array)

    assert failures(chunk, look) == []


def nearly(expected: Array, found: Array) -> bool:
    """Whether two arrays are as close as float32 gets where the terms of a sum cancel."""
    if expected.dtype not in (np.float32, np.complex64) or found.shape != expected.shape:
        return False
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return np.allclose(found, expected, 0.0, 1e-5 * largest, equal_nan=True)


def test_every_product_takes_in_what_scales_and_shifts_its_output() -> None:
    count = 0
    for case, model, data in products():
        (node,) = model.graph.node
        graph, output = model.graph, data[0][1][0]
        channels = output.shape[1] if node.op_type.startswith("Conv") else output.shape[-1]
        behind = output.ndim - 2 if node.op_type.startswith("Conv") else 0
        scale, shift = (
            (start + np.arange(channels, dtype=np.float32)).reshape(-1, *(1,) * behind)
            for start in (0.5, -1.0)
        )
        add_constant(model, "scale", scale)
        add_constant(model, "shift", shift)
        node.output[0] = "product"
        graph.node.extend(
            [
                helper.make_node("Mul", ["product", "scale"], ["scaled"]),
                helper.make_node("Add", ["shift", "scaled"], [graph.output[0].name]),
            ]
        )
        report = trtfuse.fuse(model, verify="rewrite").report
        rule = "conv-scale" if node.op_type.startswith("Conv") else "fc-scale"
        # MatMul and Add on more than two dimensions is how a bias is spelled.
        times = 1 if node.op_type == "MatMul" and output.ndim > 2 else 2
        assert [fusion.rule for fusion in report.fused] == [rule] * times, case.name
        scaled = [(inputs, [found * scale + shift]) for inputs, (found,) in data]
        assert wrong(case, model, scaled) is None, case.name
        count += 1
    assert count > 60


def test_every_product_takes_in_what_scales_its_input() -> None:
    count = 0
    for case, model, data in products():
        (node,) = model.graph.node
        add_constant(model, "scale", np.array(0.25, np.float32))
        model.graph.node.insert(0, helper.make_node("Mul", [node.input[0], "scale"], ["scaled"]))
        model.graph.node[1].input[0] = "scaled"
        report = trtfuse.fuse(model, verify="rewrite").report
        rule = "scale-conv" if node.op_type.startswith("Conv") else "scale-fc"
        assert [fusion.rule for fusion in report.fused] == [rule], case.name
        larger = [([inputs[0] * 4], outputs) for inputs, outputs in data]
        assert wrong(case, model, larger) is None, case.name
        count += 1
    assert count > 60
