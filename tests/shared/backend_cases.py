"""The cases that the onnx package tests backends with: some two thousand small models."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import onnx
from onnx import ModelProto
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

#: They compute gradients, and models that do are refused.
GRADIENTS = ("test_gradient_of_add", "test_gradient_of_add_and_mul")


@functools.cache
def cases() -> tuple[Case, ...]:
    """Those of models for inference, by kind and name."""
    with warnings.catch_warnings():
        # The expected outputs are computed as the cases are loaded, overflows and all.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"onnx\.backend\.test\.")
        found = [case for kind in KINDS for case in load_model_tests(kind=kind)]
    inference = (case for case in found if case.name not in GRADIENTS)
    return tuple(sorted(inference, key=lambda case: (case.kind, case.name)))


def model_of(case: Case) -> ModelProto:
    if case.model is not None:
        return case.model
    return onnx.load(Path(case.model_dir or "") / "model.onnx")
