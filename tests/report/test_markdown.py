"""The report as Markdown, held against a renderer: what is shown is what was meant."""

from __future__ import annotations

import itertools

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from models import not_fused

from trtfuse.check.verification import Verification
from trtfuse.result.comparison import Agreement, Built, Comparison, FusionOutcome
from trtfuse.result.not_fused import NotFused
from trtfuse.result.report import Census, Fusion, Report

NAMES = [
    "plain",
    "layer_1_conv",
    "__init__",
    "a|b",
    "|",
    "a`b",
    "`a`",
    "``",
    "<b>bold</b>",
    "a<b",
    "<!-- -->",
    "<script>alert(1)</script>",
    "a > b",
    "*a*",
    "**a**",
    "a\\b",
    "a\\|b",
    "a\\",
    "&amp;",
    "&lt;b&gt;",
    "[text](http://example.org)",
    "![image](x.png)",
    "[a][b]",
    "http://example.org/a_b",
    "~~gone~~",
    "$x_1$",
    "# title",
    "- item",
    "/model/stage.0/conv:0",
    "Größe 层",
]


def rendered(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shown(token: Token) -> str:
    """What a reader sees of a line: text as it is, code in its backticks, nothing else."""
    parts = []
    for child in token.children or []:
        assert child.type in ("text", "code_inline", "text_special"), (child.type, token.content)
        parts.append(f"`{child.content}`" if child.type == "code_inline" else child.content)
    return "".join(parts)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every row of every table."""
    found: list[list[list[str]]] = []
    tokens = rendered(text)
    for before, token in itertools.pairwise(tokens):
        assert token.type not in ("html_block", "html_inline")
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and before.type in ("td_open", "th_open"):
            found[-1][-1].append(shown(token))
    return found


def report(fused: list[Fusion], declined: list[NotFused], model: str = "m.onnx") -> Report:
    return Report(
        model,
        Census(4, {"Mul": 3, "custom::Some_Thing": 1}),
        Census(3, {"Mul": 2, "custom::Some_Thing": 1}),
        fused,
        declined,
        Verification("rewrite", True, 2e-16, 1e-10, 2, ["1 rewrite shares another's check"]),
        {"read": 0.123, "rewrite": 4.5},
        {"trtfuse": "0.1.0", "onnx": "1.2.3"},
    )


def test_a_report_reads_like_this() -> None:
    fused = [
        Fusion("conv-scale", "rewrite", "conv1 + mul1", [], [], ["conv1"], 1.5e-16),
        Fusion("identity-scale", "rewrite", "mul2", [], [], [], None),
        Fusion("conv-scale", "rewrite", "conv3 + mul3", [], [], ["a", "b"], 0.0),
    ]
    declined = [not_fused("fc-scale", "mul4", "one-consumer", "`t` has 2 consumers: mul4, relu")]
    text = report(fused, declined).to_markdown()
    tokens = rendered(text)
    lines = [
        (before.type, shown(token))
        for before, token in itertools.pairwise(tokens)
        if token.type == "inline" and before.type in ("heading_open", "paragraph_open")
    ]
    assert lines == [
        ("heading_open", "m.onnx"),
        ("paragraph_open", "4 nodes, 3 after 3 fusions."),
        (
            "paragraph_open",
            "checked: 2 rewrites in float64, largest error 2.0e-16, tolerance 1.0e-10",
        ),
        ("paragraph_open", "1 rewrite shares another's check"),
        ("heading_open", "Operators"),
        ("heading_open", "Fused by conv-scale"),
        ("heading_open", "Fused by identity-scale"),
        ("heading_open", "Not fused"),
        ("paragraph_open", "read 0.12 s, rewrite 4.50 s; trtfuse 0.1.0, onnx 1.2.3"),
    ]
    assert [token.type for token in tokens].count("list_item_open") == 2
    assert tables(text) == [
        [
            ["operator", "before", "after"],
            ["Mul", "3", "2"],
            ["custom::Some_Thing", "1", "1"],
        ],
        [
            ["nodes", "into", "error"],
            ["conv1 + mul1", "conv1", "1.5e-16"],
            ["conv3 + mul3", "a, b", "0.0e+00"],
        ],
        [["nodes", "into", "error"], ["mul2", "(erased)", ""]],
        [
            ["node", "rule", "guard", "because"],
            ["mul4", "fc-scale", "one-consumer", "`t` has 2 consumers: mul4, relu"],
        ],
    ]


def test_a_report_of_nothing_has_no_empty_sections() -> None:
    text = report([], []).to_markdown()
    assert "## Fused" not in text
    assert "## Not fused" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    text = report(
        [Fusion("r", "rewrite", f"{name} + other", [], [], [name], None)],
        [not_fused("r", name, "g", "of this")],
    ).to_markdown()
    _, fused, declined = tables(text)
    assert fused[1] == [f"{name} + other", name, ""]
    assert declined[1] == [name, "r", "g", "of this"]


@pytest.mark.parametrize("name", [name for name in NAMES if "`" not in name])
def test_a_name_in_a_sentence_is_shown_as_it_is(name: str) -> None:
    because = f"`{name}` has 2 consumers: {name}, relu"
    text = report([], [not_fused("r", "n", "g", because)]).to_markdown()
    assert tables(text)[-1][1] == ["n", "r", "g", because]


@pytest.mark.parametrize("name", ["a`b", "`", "``a`"])
def test_a_backtick_in_a_sentence_stays_in_its_cell(name: str) -> None:
    because = f"`{name}` has 2 consumers"
    text = report([], [not_fused("r", "n", "g", because)]).to_markdown()
    *_, (_, row) = tables(text)
    assert row[:3] == ["n", "r", "g"]
    assert row[3].endswith(" has 2 consumers")


@pytest.mark.parametrize("name", ["one\ntwo", "one\r\ntwo", "one\n\n# two", "one\n| two |"])
def test_a_line_break_in_a_name_does_not_break_the_table(name: str) -> None:
    text = report([], [not_fused("r", name, "g", f"`{name}` is so")]).to_markdown()
    *_, (_, row) = tables(text)
    assert len(row) == 4
    assert row[0] == " ".join(name.split())


@pytest.mark.parametrize("name", NAMES)
def test_the_path_of_the_model_is_shown_as_it_is(name: str) -> None:
    tokens = rendered(report([], [], f"folder/{name}.onnx").to_markdown())
    assert tokens[0].tag == "h1"
    assert shown(tokens[1]) == f"folder/{name}.onnx"


def test_of_groups_it_says_what_the_builder_did() -> None:
    made = report([], [])
    made.fused = [
        Fusion("pointwise", "group", "a + b", ["a", "b"], [], ["a", "b"], None),
        Fusion("mlp", "group", "c + d", ["c", "d"], [], ["call"], None),
    ]
    assert "## Expected as one kernel by pointwise" in made.to_markdown()
    assert tables(made.to_markdown())[1:] == [
        [["nodes", "into"], ["a + b", "(as they are)"]],
        [["nodes", "into"], ["c + d", "call"]],
    ]
    built = Built("m", 9, 100, 1.5, 2048, None, 0, ())
    outcomes = [
        FusionOutcome("pointwise", "group", "a + b", ["a", "b"], "one kernel", ["k1"]),
        FusionOutcome("mlp", "group", "c + d", ["c", "d"], "several kernels", ["k2", "k3"]),
    ]
    made.engine = Comparison(built, built, [], [], agreement=Agreement(outcomes, []))
    assert tables(made.to_markdown())[1:3] == [
        [["nodes", "into", "TensorRT"], ["a + b", "(as they are)", "one kernel: k1"]],
        [["nodes", "into", "TensorRT"], ["c + d", "call", "several kernels: k2, k3"]],
    ]


def test_the_verdict_on_the_engine_comes_first() -> None:
    made = report([], [])
    a, b = (Built("m", kernels, 100, 1.5, 2048, None, 0, ()) for kernels in (9, 10))
    made.engine = Comparison(a, b, [], [])
    assert made.to_markdown().splitlines()[2] == (
        "**Worse: 10 kernels instead of 9; the same traffic, activation memory and engine size.**"
    )
