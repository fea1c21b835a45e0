"""The list of what TensorRT does not have is that of the one that is installed."""

from __future__ import annotations

import pytest
from onnx import defs

from trtfuse.engine.missing import MISSING
from trtfuse.engine.parse import ADVICE

trt = pytest.importorskip("tensorrt_rtx", reason="this asks its parser")


def test_what_is_listed_is_what_the_parser_does_not_support() -> None:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    names = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    lacking = {name for name in names if not parser.supports_operator(name)}
    assert lacking <= MISSING
    # An older onnx may not have them all yet.
    assert MISSING & names == lacking


def test_advice_is_on_what_is_missing() -> None:
    assert set(ADVICE) <= MISSING
