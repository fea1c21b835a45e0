"""Whatever fails, a caller meets an error of ours with one line, and the original as its cause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from onnx import ModelProto, parser

import trtfuse
from trtfuse.errors import (
    InternalError,
    NotEnoughMemoryError,
    TrtfuseError,
    UsageError,
    nothing_else_raised,
)
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


@pytest.fixture
def proto() -> ModelProto:
    return parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> '
        "g (float[2] x) => (float[2] y) { t = Neg(x) [relu] y = Relu(t) }"
    )


@pytest.fixture
def breaks() -> Iterator[str]:
    @trtfuse.rule("breaks", op.Relu(var("x")))
    def breaks(_: Match, __: Replacement) -> Value:
        """x  ==  y"""
        raise KeyError("on\ntwo lines")

    yield "breaks"
    del CATALOGUE["breaks"]


def test_an_error_in_a_rule_names_the_rule_and_the_node(proto: ModelProto, breaks: str) -> None:
    with pytest.raises(InternalError) as error:
        trtfuse.fuse(proto, rules=[breaks])
    assert str(error.value) == (
        r"internal error of rule 'breaks' at relu, KeyError: 'on\ntwo lines'; please report it "
        "with the model"
    )
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize("name", ["fuse", "explain", "to_networkx"])
def test_an_error_of_ours_is_an_internal_error(
    proto: ModelProto, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("trtfuse.interop.reading.read_proto", fail)
    with pytest.raises(TrtfuseError) as error:
        getattr(trtfuse, name)(proto)
    assert str(error.value) == (
        "internal error, ZeroDivisionError: one two; please report it with the model"
    )
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    with pytest.raises(InternalError):
        trtfuse.verify(proto, proto)


def test_what_a_caller_raises_passes() -> None:
    class Stop(Exception):  # noqa: N818 - it is no error
        pass

    stop = Stop()

    @nothing_else_raised
    def works(*, progress: object) -> None:
        progress("stage", 1, 2)  # type: ignore[operator]

    def told(*_: object) -> None:
        raise stop

    with pytest.raises(Stop) as error:
        works(progress=told)
    assert error.value is stop


def test_our_own_errors_and_wrong_calls_pass(proto: ModelProto) -> None:
    with pytest.raises(UsageError, match="unknown rule 'x'"):
        trtfuse.fuse(proto, rules=["x"])
    with pytest.raises(TypeError, match="nonsense"):
        trtfuse.fuse(proto, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="model"):
        trtfuse.fuse()  # type: ignore[call-arg]


def test_a_lack_of_memory_is_said() -> None:
    @nothing_else_raised
    def works() -> None:
        raise MemoryError("Unable to allocate 7 TiB\nfor an array")

    with pytest.raises(NotEnoughMemoryError) as error:
        works()
    assert str(error.value) == "out of memory: Unable to allocate 7 TiB for an array"
    assert isinstance(error.value, MemoryError)


def test_an_interrupt_passes() -> None:
    @nothing_else_raised
    def works() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        works()
