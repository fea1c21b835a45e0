"""Every test case of onnx's own backend tests, about 2,000: none may change what it computes.

They are models of one node for most operators, the bodies of functions written out, and models
that PyTorch exported, each with inputs and with the outputs that they have to give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from backend_cases import KINDS, cases, model_of
from backend_runs import Data, data_of, difference, with_all_constant, with_constants, wrong
from onnx import ModelProto, helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case

import trtfuse
from trtfuse.ir.tensor import Array

CHUNKS = 24

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
