"""The opsets that rules are tried at."""

from __future__ import annotations

import pytest
from onnx import defs


@pytest.fixture(params=[7, 9, 13, 14, 17, 22, defs.onnx_opset_version()])
def opset(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number
