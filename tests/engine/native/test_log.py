"""What TensorRT says, made into a line, and what it prints past its logger."""

from __future__ import annotations

import os

import pytest

from trtfuse.engine.native.log import Capture, Log, Message, plain

#: What follows other errors where there is no driver.
NO_DRIVER = "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (no driver)"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic "
            "or shape inputs, but no optimization profile has been defined. In validate at "
            "/_src/optimizer/api/network.cpp:4023)",
            "Network has dynamic or shape inputs, but no optimization profile has been defined",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_turing] "
            "Cannot compile operation '/n/Gemm' for Turing (SM75): FP32 GEMM is not supported. In "
            "compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
            "Cannot compile operation '/n/Gemm' for Turing (SM75): FP32 GEMM is not supported",
        ),
        ("Assertion !layerImpls.empty() failed. nms_0 has no runners", "nms_0 has no runners"),
        ("dimensions (1, 2) must match)", "dimensions (1, 2) must match"),
        ("Two\n lines.", "Two lines"),
        ("First. " + "word " * 100, "First"),
        ("x" * 500, "x" * 400),
    ],
)
def test_a_message_in_one_line(said: str, line: str) -> None:
    assert plain(said) == line


def test_the_reason_is_the_last_error_that_says_something() -> None:
    log = Log()
    assert log.reason() is None
    log.note(
        "error", "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (no driver)"
    )
    assert log.reason() is not None
    log.note("error", "the first")
    log.note("error", "the second.")
    log.note("warning", "beside")
    log.note(
        "error", "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (no driver)"
    )
    assert log.reason() == "the second"


def test_what_is_said_in_every_build_is_left_out() -> None:
    log = Log()
    log.note("error", "Thread context has not been set! Using global log stream.")
    assert log.messages == []


def test_what_native_code_prints_goes_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    os.write(1, b"before\n")
    with Capture(log) as capture:
        os.write(1, b"out\n\n")
        os.write(2, b"\xff err\n")
        with capture.paused():
            os.write(1, b"through\n")
        os.write(2, b"again")
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nthrough\nafter\n", "")
    assert log.messages == [
        Message("warning", text) for text in ("out", "\N{REPLACEMENT CHARACTER} err", "again")
    ]


def test_a_process_without_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    kept = os.dup(2)
    os.close(2)
    try:
        with Capture(log):
            os.write(1, b"out\n")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert log.messages == [Message("warning", "out")]
    assert capfd.readouterr() == ("", "")
