"""The report on a terminal: what was fused, what was not, and the verdict."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from fusing import rewrite
from models import not_fused
from onnx import ModelProto, helper, numpy_helper, parser
from rich.console import Console

from trtfuse.check.verification import Compared, Verification
from trtfuse.report.entries import verdict
from trtfuse.report.terminal import plain, show
from trtfuse.report.text import LINES, MORE_LINES, SHOWN, summary
from trtfuse.report.wording import counted
from trtfuse.result.comparison import Agreement, Built, Comparison, FusionOutcome, Kernel
from trtfuse.result.report import Census, Fusion, Report
from trtfuse.result.verdict import Cause


def test_a_report_reads_like_this() -> None:
    proto = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        small (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] b)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
          [conv1] a = Conv(x, w)
          [mul1] r = Mul(a, s)
          [relu] t = Relu(r)
          [conv2] b = Conv(t, w)
          [mul2] y = Mul(b, s)
        }
        """
    )
    text = str(rewrite(proto, verify="none").report)
    assert text == (
        "small: 5 nodes, 4 after 1 fusion\n"
        "\n"
        "operator  before  after\n"
        "Mul            2      1\n"
        "others         3      3\n"
        "\n"
        "fused\n"
        "  conv-scale: 1\n"
        "    conv1 + mul1\n"
        "\n"
        "not fused, because\n"
        "  conv-scale, one-consumer: 1\n"
        "    mul2: `b` is an output of the graph\n"
        "\n"
        "not checked"
    )


def empty(nodes: int = 0) -> Report:
    census = Census(nodes, {"Relu": nodes})
    return Report("m.onnx", census, census, [], [], Verification("rewrite"))


@pytest.mark.parametrize(("nodes", "said"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes")])
def test_where_nothing_fused_it_says_so(nodes: int, said: str) -> None:
    assert str(empty(nodes)) == (
        f"m.onnx: {said}, nothing to fuse\n\nchecked: nothing was rewritten"
    )


def long() -> Report:
    fused = [
        Fusion("conv-scale", "rewrite", f"conv{i} + mul{i}", [], [], [], None)
        for i in range(SHOWN + 2)
    ]
    declined = [not_fused("fc-scale", f"n{i}", "check", "of this") for i in range(SHOWN + 3)]
    declined.append(not_fused("fc-scale", "other", "structure", "of that"))
    census = Census(20, {"Mul": 20}), Census(13, {"Mul": 13})
    return Report("m.onnx", *census, fused, declined, Verification("none"))


def test_the_first_of_each_kind_are_shown_and_the_rest_counted() -> None:
    lines = str(long()).splitlines()
    at = lines.index("  conv-scale: 7")
    assert lines[at + 1 : at + 6] == [f"    conv{i} + mul{i}" for i in range(5)]
    assert lines[at + 6] == "    and 2 more"
    at = lines.index("  fc-scale, check: 8")
    assert lines[at + 1 : at + 7] == [*(f"    n{i}: of this" for i in range(5)), "    and 3 more"]
    assert lines[at + 7 : at + 9] == ["  fc-scale, structure: 1", "    other: of that"]


def test_everything_is_shown_where_it_is_asked_for() -> None:
    file = io.StringIO()
    show(
        Console(file=file, width=100, color_system=None),
        summary(long().to_dict(details=False), everything=True),
    )
    text = file.getvalue()
    assert "more" not in text
    assert all(f"    conv{i} + mul{i}\n" in text for i in range(SHOWN + 2))
    assert all(f"    n{i}: of this\n" in text for i in range(SHOWN + 3))


@pytest.mark.parametrize("width", [20, 200])
def test_long_names_are_neither_broken_nor_cut_where_everything_is_asked_for(width: int) -> None:
    name = "/model/backbone/stage_1/block[0]/conv " * 8
    report = empty()
    report.fused = [Fusion("conv-scale", "rewrite", name.strip(), [], [], [], None)]
    report.declined = [not_fused("fc-scale", "n", "check", f"`{name.strip()}` is long")]
    file = io.StringIO()
    data = report.to_dict(details=False)
    show(Console(file=file, width=width, color_system=None), summary(data, everything=True))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert f"    {name.strip()}" in lines
    assert f"    n: `{name.strip()}` is long" in lines


def test_a_summary_does_not_fill_lines_with_names() -> None:
    report = empty()
    report.fused = [Fusion("conv-scale", "rewrite", "conv " * 80, [], [], [], None)]
    report.declined = [not_fused("fc-scale", "n", "check", "long " * 80)]
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert len([line for line in lines if line.endswith("\N{HORIZONTAL ELLIPSIS}")]) == 2


def many(rules: int, places: int, operators: int = 30) -> Report:
    """A report in which there is much of everything."""
    kinds = ("conv-scale", "rewrite"), ("pointwise", "group"), ("identity", "rewrite")
    fused = [
        Fusion(f"{rule}{'' if rule == 'identity' else n}", kind, f"node{k}", [], [], [], None)
        for rule, kind in kinds
        for n in range(rules)
        for k in range(places + n)
    ]
    declined = [
        not_fused("fc-scale", f"{'name/' * 30}{k}", f"guard{n}", "of this and of that")
        for n in range(rules)
        for k in range(places + n)
    ]
    before = Census(2000, {f"Operator{n}": 100 - n for n in range(operators)})
    after = Census(1000, {f"Operator{n}": n for n in range(operators)})
    return Report("m.onnx", before, after, fused, declined, Verification("rewrite"))


@pytest.mark.parametrize(("rules", "places"), [(1, 1), (2, 4), (6, 2), (20, 30)])
def test_a_summary_fits_a_screen(rules: int, places: int) -> None:
    report = many(rules, places)
    data = report.to_dict(details=False)
    assert len(plain(summary(data, hint=True)).splitlines()) <= LINES
    data["engine"] = engine()
    lines = plain(summary(data, hint=True)).splitlines()
    assert len(lines) <= LINES + MORE_LINES
    assert max(map(len, lines)) <= 100


def test_of_many_the_most_frequent_are_told_and_the_others_counted() -> None:
    lines = str(many(20, 30)).splitlines()
    assert [line.split()[0] for line in lines[2:7]] == [
        "operator",
        "Operator0",
        "Operator1",
        "Operator2",
        "others",
    ]
    at = lines.index("fused")
    assert lines[at + 1] == "  conv-scale19: 49, first node0"
    assert "  and 17 more rules" in lines
    at = lines.index("not fused, because")
    assert lines[at + 1].startswith("  fc-scale, guard19: 49, first name/name/")
    assert lines[at + 1].endswith("\N{HORIZONTAL ELLIPSIS}: of this and of that")
    assert "  and 17 more reasons" in lines


def test_the_last_line_says_how_to_see_more() -> None:
    data = many(1, 1).to_dict(details=False)
    last = plain(summary(data, hint=True)).splitlines()[-1]
    assert all(word in last for word in ("-v", "--report", "trtfuse explain"))
    whole = summary(data, hint=True, everything=True)
    assert plain(whole).splitlines()[-1] != last
    assert plain(summary(empty().to_dict(details=False), hint=True)).splitlines()[-1] != last


def engine(cause: Cause | None = None) -> dict[str, Any]:
    """What TensorRT made of a model that it runs in one kernel more."""
    a = Built("m.onnx", 9, 4_100_000, 1.5, 2048, None, 0, ())
    b = Built("m.onnx fused", 10, 4_100_000, 1.0, 1024, None, 0, ())
    groups = [
        FusionOutcome("pointwise", "group", "a + b", ["a", "b"], "one kernel", ["k1"]),
        FusionOutcome("mlp", "group", "c + d", ["c", "d"], "several kernels", ["k2", "k3"]),
    ]
    vanished = [Kernel("k", "kgen", [])]
    shapes = {"x": (1, 2)}
    agreement = Agreement(groups, [])
    return Comparison(a, b, vanished, [], "TensorRT 1", shapes, [], agreement, cause).to_dict()


def test_the_verdict_on_the_engine_is_the_first_line() -> None:
    data = many(1, 1).to_dict(details=False)
    data["engine"] = engine(Cause("conv-scale", {"kernels": 9}, ["conv-scale"]))
    lines = plain(summary(data)).splitlines()
    assert lines[0] == (
        "Worse: 10 kernels instead of 9, because of conv-scale (without it, 9 kernels): try "
        "--skip conv-scale."
    )
    assert lines[1].startswith("m.onnx: 2,000 nodes, 1,000 after ")
    assert "expected as one kernel; in the engine, 1 of 2 are" in lines
    assert "1 kernel vanished, 0 appeared" in lines
    whole = plain(summary(data, everything=True)).splitlines()
    assert "vanished: 1" in whole
    assert "  several kernels: c + d (mlp): k2, k3" in whole


def test_names_are_no_markup_and_no_line_breaks() -> None:
    report = empty()
    report.fused = [Fusion("r", "rewrite", "[bold]a[/bold] :smile:", [], [], [], None)]
    report.declined = [not_fused("r", "one\ntwo", "g", "`three\r\nfour` is so")]
    lines = str(report).splitlines()
    assert "    [bold]a[/bold] :smile:" in lines
    assert len([line for line in lines if "one" in line and "two" in line]) == 1
    assert len([line for line in lines if "three" in line and "four" in line]) == 1


def test_a_name_cannot_give_orders_to_the_terminal() -> None:
    proto = with_name("\x1b[2J\x1b]0;owned\x07name")
    assert "\x1b" not in str(rewrite(proto).report)


def with_name(name: str) -> ModelProto:
    weights = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    scale = numpy_helper.from_array(np.full(2, 2, np.float32), "s")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"], name=name),
        helper.make_node("Mul", ["t", "s"], ["y"], name="mul"),
    ]
    values = [helper.make_tensor_value_info(each, 1, [2, 2]) for each in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weights, scale])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


BOXES = Compared("boxes", True, "normal inputs, batch 1", 1.2e-4, 1.9e-7, 2e-4, 640.0)
SCORES = Compared("scores", True, "wide inputs, batch 2", 5e-8, 5e-2, 4e-8, 1e-6)
KEPT = Compared("kept", True, "normal inputs, batch 1", 0.0, 0.0, 1e-7, 1.0)


def of_outputs(
    *compared: Compared, worst: str | None = None, notes: Sequence[str] = (), **given: Any
) -> Verification:
    """What was found of the outputs of a whole model."""
    return Verification(
        "model",
        all(entry.ok for entry in compared),
        notes=list(notes),
        outputs=len(compared),
        worst=worst,
        compared=list(compared),
        **({"source": "random", "samples": 4} | given),
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Verification("none"), "not checked"),
        (Verification("rewrite"), "checked: nothing was rewritten"),
        (
            Verification("rewrite", True, 2e-16, 1e-10, 3),
            "checked: 3 rewrites in float64, largest error 2.0e-16, tolerance 1.0e-10",
        ),
        (
            Verification("rewrite", True, 2e-16, 1e-10, 1),
            "checked: 1 rewrite in float64, largest error 2.0e-16, tolerance 1.0e-10",
        ),
        (
            Verification("rewrite", True, 0, 1e-10, 8, ["4 share."]),
            "checked: 8 rewrites in float64, largest error 0.0e+00, tolerance 1.0e-10\n4 share.",
        ),
        (
            Verification("model", True, 1e-7, 1e-5, 6),
            "checked: 6 outputs on ONNX Runtime agree, largest error 1.0e-07, tolerance 1.0e-05",
        ),
        (
            Verification("model", False, 1, 1e-5, 6, ["output 'y' differs", "so does 'z'"]),
            "check failed: original and result differ, largest error 1.0e+00, tolerance 1.0e-05\n"
            "output 'y' differs\nso does 'z'",
        ),
        (
            of_outputs(BOXES, SCORES, worst="scores"),
            "checked: 2 outputs agree on 4 sets of random inputs\n"
            "'scores' differs most: by 5.0e-08 (5.0e-02 of its largest value, 1e-06); "
            "rounding alone moves the original by 4.0e-08",
        ),
        (
            of_outputs(BOXES, worst="boxes", source="a.npz, b.npz", samples=1),
            "checked: 1 output agrees on 1 set of inputs from a.npz, b.npz\n"
            "'boxes' differs by 1.2e-04 (1.9e-07 of its largest value, 640); "
            "rounding alone moves the original by 2.0e-04",
        ),
        (
            of_outputs(KEPT, replace(KEPT, output="n"), source="arrays", samples=2),
            "checked: 2 outputs are identical on 2 sets of your inputs",
        ),
        (of_outputs(KEPT), "checked: 1 output is identical on 4 sets of random inputs"),
        (
            of_outputs(BOXES, replace(SCORES, ok=False), worst="scores", notes=["It differs."]),
            "check failed: 1 of 2 outputs differs on 4 sets of random inputs\n"
            "'scores' differs most: by 5.0e-08 (5.0e-02 of its largest value, 1e-06); "
            "rounding alone moves the original by 4.0e-08\nIt differs.",
        ),
        (
            of_outputs(Compared("y", False), notes=["It has another shape."]),
            "check failed: 1 of 1 output differs on 4 sets of random inputs\nIt has another shape.",
        ),
    ],
)
def test_the_verdict_is_a_sentence_with_notes(found: Verification, said: str) -> None:
    assert verdict(asdict(found)) == said.splitlines()


def test_of_everything_each_output_is_told() -> None:
    found = of_outputs(BOXES, KEPT, Compared("names", False), worst="boxes")
    assert verdict(asdict(found), everything=True) == [
        "check failed: 1 of 3 outputs differs on 4 sets of random inputs",
        "'boxes': 1.2e-04 (1.9e-07 of its largest value, 640); "
        "rounding alone moves the original by 2.0e-04",
        "'kept': identical",
        "'names': differs",
    ]


def test_things_are_counted_in_words() -> None:
    assert [counted(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]


def test_notes_on_the_model_come_first() -> None:
    made = rewrite(
        parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> '
            "g (float[2] x) => (float[2] y) { y = Neg(t) t = Plug_in(x) }"
        )
    ).report
    assert len(made.notes) == 3
    lines = str(made).splitlines()
    assert [line.strip() for line in lines[1:4]] == made.notes
    assert all(note.replace("_", r"\_") in made.to_markdown() for note in made.notes[1:2])
    page = made.to_html()
    assert "nodes sorted, because they came before the nodes they read from" in page
