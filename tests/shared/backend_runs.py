"""The cases of onnx's backend tests: their data, and running them on one runtime or another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.reference import ReferenceEvaluator
from oracle import widened

import trtfuse

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
