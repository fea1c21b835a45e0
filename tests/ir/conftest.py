"""The models that the onnx package tests its operators with: about two thousand small graphs."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


@pytest.fixture(scope="session")
def backend_models() -> dict[str, ModelProto]:
    with warnings.catch_warnings():
        # Some cases compute their expected results beyond the edges of a type.
        warnings.simplefilter("ignore")
        cases = [case for kind in KINDS for case in load_model_tests(kind=kind)]
    return {
        f"{case.kind}/{case.name}": case.model
        or onnx.load(Path(case.model_dir or "") / "model.onnx")
        for case in cases
    }
