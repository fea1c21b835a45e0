"""The page as text: its first screen, its size, its edges, and that it needs nothing else."""

from __future__ import annotations

import html.parser
import json
import re
from dataclasses import asdict
from typing import Any

import onnx
import pytest
from fusing import rewrite
from onnx import ModelProto, checker
from pages import EDGES, ODD, empty, everything, large, nothing_fuses, odd_names, one_node

from trtfuse.check.verification import Compared, Verification
from trtfuse.report.headline import headline
from trtfuse.report.page import notebook, page


def report_of(proto: ModelProto, **given: Any) -> dict[str, Any]:
    return rewrite(proto, objective="graph", **given).report.to_dict()


class Elements(html.parser.HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._within: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - as the parser calls it
        self._within = None

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts.append(data)
        elif self._within != "style":
            self.text += data


@pytest.mark.parametrize(
    ("model", "given", "sentence", "standing"),
    [
        (
            everything,
            {},
            "18 nodes became 12 by 5 fusions and 1 cleanup, and every rewrite that changes "
            "arithmetic agrees with its original in float64.",
            "good",
        ),
        (
            everything,
            {"verify": "none", "rules": ["conv-scale"]},
            "18 nodes became 13 by 4 fusions and 1 cleanup, and nothing was checked.",
            "open",
        ),
        (nothing_fuses, {}, "Nothing to fuse: all 2 nodes are unchanged.", "good"),
        (
            nothing_fuses,
            {"verify": "model"},
            "Nothing to fuse: all 2 nodes are unchanged, and both models agree on ONNX Runtime.",
            "good",
        ),
        (one_node, {}, "Nothing to fuse: its only node is unchanged.", "good"),
        (empty, {}, "The graph has no nodes, so there is nothing to fuse.", "good"),
    ],
)
def test_what_changed_and_whether_it_is_safe(
    model: Any, given: dict[str, Any], sentence: str, standing: str
) -> None:
    found = headline(report_of(model(), **given))
    assert (found.sentence, found.standing) == (sentence, standing)
    assert len(found.figures) == 4


def test_a_result_that_differs_is_not_to_be_used() -> None:
    result = rewrite(everything(), objective="graph")
    result.report.verification = Verification("model", False, 0.5, 1e-6, 2, ["output 'y' differs"])
    found = headline(result.report.to_dict())
    assert found.standing == "bad"
    assert found.sentence.endswith(", but original and result differ: do not use the result.")
    text = Elements(result.report.to_html()).text
    assert "output 'y' differs" in text
    assert "do not use" in text


def test_the_four_numbers() -> None:
    figures = headline(report_of(everything())).figures
    assert [figure.title for figure in figures] == [
        "nodes",
        "fusions",
        "largest error",
        "near misses",
    ]
    assert (figures[0].number, figures[0].note) == ("12", "18 before, 33% fewer")
    assert (figures[1].number, figures[1].note) == ("5", "by 3 rules, 1 cleanup")
    assert (figures[3].number, figures[3].note) == ("2", "2 reasons, below")


def test_the_error_of_a_whole_model_is_that_of_the_output_that_differs_most() -> None:
    data = report_of(nothing_fuses(), verify="model")
    entry = Compared("scores", True, "normal inputs, batch 1", 5e-8, 5e-2, 4e-8, 1e-6)
    data["verification"] |= {"outputs": 1, "worst": "scores", "compared": [asdict(entry)]}
    figure = headline(data).figures[2]
    assert (figure.title, figure.number) == ("largest error", "5.0e-08")
    assert figure.note == (
        "in 'scores', 5.0e-02 of its largest value, 1e-06; rounding alone: 4.0e-08; "
        "1 output on 4 sets of random inputs"
    )


@pytest.mark.parametrize(("ok", "number"), [(True, "0"), (False, "\N{EN DASH}")])
def test_where_no_output_differs_most_there_is_no_error(ok: bool, number: str) -> None:
    data = report_of(nothing_fuses(), verify="model")
    data["verification"] |= {"outputs": 1, "worst": None, "compared": [asdict(Compared("y", ok))]}
    figure = headline(data).figures[2]
    assert (figure.number, figure.note) == (number, "1 output on 4 sets of random inputs")


def test_the_page_needs_nothing_beside_itself() -> None:
    text = page(report_of(everything()))
    found = Elements(text)
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in found.elements}
    for tag, attributes in found.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        target = attributes.get("href")
        assert target is None or target.startswith("#") or (tag, target) == ("link", "data:,")
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", text)
    addresses = set(re.findall(r"https?://[\w./-]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    policy = [a["content"] for tag, a in found.elements if a.get("http-equiv")]
    assert policy == [p for p in policy if p is not None and p.startswith("default-src 'none'")]


def test_odd_names_are_text() -> None:
    text = page(report_of(odd_names()))
    found = Elements(text)
    assert [tag for tag, _ in found.elements].count("script") == 3
    assert not {"img", "b"} & {tag for tag, _ in found.elements[:12]}
    # Names stand in the data, where nothing ends the element that they are in.
    data = json.loads(found.scripts[0])
    names = {name for entry in data["fused"] for name in entry["nodes"]}
    assert set(ODD) & names
    assert not re.search(r"[<>&\u2028\u2029]", found.scripts[0])
    assert ODD[1] in found.text
    assert "49" not in found.text.split("About")[0]


@pytest.mark.parametrize("name", EDGES)
def test_every_edge_has_a_page_and_a_summary(name: str) -> None:
    result = rewrite(EDGES[name]())
    for text in (result.report.to_html(), result._repr_html_()):
        assert headline(result.report.to_dict()).sentence in Elements(text).text


def test_half_a_surrogate_pair_is_no_reason_to_fail() -> None:
    data = report_of(everything())
    data["model"] = "m\ud800"
    data["fused"][0]["nodes"][0] = "n\udfff"
    text = page(data).encode().decode()
    assert "m\\ud800" in Elements(text).text
    assert '"n\\\\udfff"' in text


def test_signs_that_turn_others_around_are_written_out() -> None:
    text = page(report_of(odd_names()))
    assert "\u202e" not in text
    assert "\\\\u202eabc" in text


def test_a_report_without_details_has_a_page() -> None:
    data = report_of(everything())
    for key in ("rules", "guards", "provenance", "cost", "pictures", "graph", "versions"):
        del data[key]
    for entry in data["fused"]:
        for key in ("origin", "complete", "kept", "check", "saved", "picture", "wires"):
            entry.pop(key)
    del data["seconds"]
    assert headline(data).sentence in Elements(page(data)).text


def test_four_thousand_nodes_stay_below_five_megabytes() -> None:
    proto = large(4000)
    checker.check_model(proto)
    assert len(proto.graph.node) == 4000
    text = rewrite(proto, verify="none").report.to_html()
    assert len(text.encode()) < 5_000_000
    # Long lists are data; only what is asked for becomes elements.
    assert len(Elements(text).elements) < 200


def test_a_notebook_shows_the_same_numbers() -> None:
    result = rewrite(everything(), objective="graph")
    text = Elements(result._repr_html_()).text
    for figure in headline(result.report.to_dict()).figures:
        assert figure.number in text
        assert figure.note in text
    for miss in result.report.declined:
        assert miss.because in text
    assert "conv-scale" in text
    assert "script" not in {tag for tag, _ in Elements(result._repr_html_()).elements}


def test_a_notebook_shows_the_first_of_many_near_misses() -> None:
    data = report_of(everything())
    data["declined"] = data["declined"][:1] * 30
    text = Elements(notebook(data)).text
    assert "and 22 more" in text


def test_the_report_outlives_pickling() -> None:
    import copy
    import pickle

    result = rewrite(large(3000), verify="none")
    for again in (copy.deepcopy(result.report), pickle.loads(pickle.dumps(result.report))):
        assert again == result.report
        assert again.to_dict() == result.report.to_dict()


def test_an_unnamed_model_is_called_model() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(nothing_fuses())
    data = report_of(proto) | {"model": ""}
    assert "model" in Elements(page(data)).text
