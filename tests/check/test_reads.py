"""Constants that the check reads as the numbers that they stand for."""

from __future__ import annotations

import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fusing import rewrite
from models import declined, fused, model
from onnx import TensorProto

from trtfuse.ir.graph import Value
from trtfuse.ir.tensor import stands_for
from trtfuse.rewrite.pattern import Match, const, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Rule

ROOT = math.sqrt(2)


def times_root(as_: Any) -> Rule:
    """x * s is taken for x times a float64 number, with s read as something."""

    def build(m: Match, new: Replacement) -> Value:
        if as_ is not None:
            new.reads(m["s"], np.asarray(as_, np.float64))
        exact = new.constant(np.array(ROOT), TensorProto.DOUBLE, "exact")
        wide = new.Cast(m["x"], to=TensorProto.DOUBLE)
        return new.Cast(new.Div(wide, new.Reciprocal(exact)), to=TensorProto.FLOAT)

    return Rule("times-root", op.Mul(var("x"), const("s")), (), build)


def made(stored: Any = ROOT) -> Any:
    return model("(float[2,3] x) => (float[2,3] y) { [mul] y = Mul(x, s) }", s=stored)


def test_a_rounded_constant_is_read_as_the_number_that_it_stands_for() -> None:
    result = rewrite(made(), rules=[times_root(ROOT)])
    assert fused(result) == [("times-root", "mul")]
    assert result.report.verification.max_error < 1e-14


def test_without_that_the_rounding_is_an_error() -> None:
    ((_, _, guard, because),) = declined(rewrite(made(), rules=[times_root(None)]))
    assert guard == "check"
    assert re.search(r"relative error [\d.]+e-0[89] ", because)


def test_what_it_is_read_as_has_to_be_right() -> None:
    ((_, _, guard, because),) = declined(rewrite(made(), rules=[times_root(ROOT * (1 + 5e-8))]))
    assert guard == "check"
    assert "relative error" in because


@pytest.mark.parametrize(
    "as_", [ROOT * (1 + 3e-7), 0.0, -ROOT, math.nan, math.inf, [ROOT, ROOT]], ids=str
)
def test_a_constant_may_not_be_read_as_a_number_that_is_not_next_to_it(as_: Any) -> None:
    result = rewrite(made(), rules=[times_root(as_)])
    assert declined(result) == [
        ("times-root", "mul", "check", "`s` is read as numbers that are not next to its own")
    ]


def test_what_shares_the_check_of_others_may_not_be_misread_either() -> None:
    def build(m: Match, new: Replacement) -> Value:
        new.reads(m["s"], np.array(1.5 if m.root.label == "m9" else ROOT))
        return new.Mul(
            m["x"], new.constant(np.array(ROOT), TensorProto.FLOAT, "exact"), like=m.root
        )

    calls = " ".join(f"[m{i}] y{i} = Mul(x{i}, s{i})" for i in range(10))
    inputs = ", ".join(f"float[2] x{i}" for i in range(10))
    outputs = ", ".join(f"float[2] y{i}" for i in range(10))
    many = model(f"({inputs}) => ({outputs}) {{ {calls} }}", **{f"s{i}": ROOT for i in range(10)})
    once = Rule(
        "once", op.Mul(var("x"), const("s", where=lambda t: not hasattr(t, "values"))), (), build
    )
    result = rewrite(many, rules=[once])
    assert [miss[1:3] for miss in declined(result)] == [("m9", "check")]


@pytest.mark.parametrize(
    ("dtype", "unit"),
    [
        (np.float16, 2.0**-10),
        (ml_dtypes.bfloat16, 2.0**-7),
        (np.float32, 2.0**-23),
        (float, 2.0**-52),
    ],
)
def test_a_number_stands_for_those_within_one_unit_in_its_last_place(
    dtype: Any, unit: float
) -> None:
    types = {
        np.float16: TensorProto.FLOAT16,
        ml_dtypes.bfloat16: TensorProto.BFLOAT16,
        np.float32: TensorProto.FLOAT,
        float: TensorProto.DOUBLE,
    }
    stored = np.array([1.0, -2.0, 0.0])
    assert stands_for(stored, stored * (1 + unit), types[dtype])
    assert stands_for(stored, stored * (1 - unit), types[dtype])
    assert not stands_for(stored, stored * (1 + 2 * unit), types[dtype])
    assert not stands_for(stored, stored + np.array([0, 0, 1e-30]), types[dtype])
    assert not stands_for(np.array([math.inf]), np.array([1.0]), types[dtype])
    assert not stands_for(stored, stored[:1], types[dtype])


def test_integers_stand_for_themselves_only() -> None:
    assert not stands_for(np.array(3.0), np.array(3.0), TensorProto.INT64)
