"""The models that the onnx package tests its operators with: about two thousand small graphs."""

from __future__ import annotations

import pytest
from backend_cases import cases, model_of
from onnx import ModelProto


@pytest.fixture(scope="session")
def backend_models() -> dict[str, ModelProto]:
    return {f"{case.kind}/{case.name}": model_of(case) for case in cases()}
