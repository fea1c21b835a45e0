"""What a page says of the check, the build, the file and the run."""

from __future__ import annotations

from typing import Any

import pytest

from trtfuse.check.model import Verification
from trtfuse.report.page import page
from trtfuse.report.shipping import facts, groups_built
from trtfuse.result.model_file import DataFile, OriginalFile, OutputFile
from trtfuse.result.report import Census, Fusion, Report

SHA = "0123456789abcdef" * 4


def report() -> Report:
    census = Census(9, {"Relu": 9})
    fused = [Fusion("conv-scale", "rewrite", "a + b", ["a", "b"], [], ["a"], None)]
    return Report("m.onnx", census, census, fused, [], Verification("none"))


def told(data: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {fact.title: fact.lines for fact in facts(data)}


def test_only_what_is_known_is_told() -> None:
    assert told(report().to_dict()) == {
        "check": ("not checked",),
        "engine": ("not built: --build compares what TensorRT makes of each",),
    }


def test_the_file_and_how_it_was_made() -> None:
    made = report()
    made.original = OriginalFile("m.onnx", 80_000)
    made.output = OutputFile("out/f.onnx", 70_000, SHA, DataFile("out/f.onnx.data", 4_000, SHA))
    made.command = "trtfuse fuse m.onnx -o out/f.onnx"
    made.options = {"skip": ["a", "b"], "groups": "flat", "input_shapes": {"x": [1, 3]}, "seed": 0}
    made.versions = {"trtfuse": "1.2", "onnx": "1.23"}
    made.date = "2026-11-28T14:32:05Z"
    found = told(made.to_dict())
    del found["check"], found["engine"]
    assert found == {
        "output": ("out/f.onnx", "70 kB, 80 kB before"),
        "SHA-256": (SHA,),
        "its weights": ("out/f.onnx.data, 4 kB", SHA),
        "command": ("trtfuse fuse m.onnx -o out/f.onnx",),
        "options": ("skip: a, b, groups: flat, input_shapes: x:1x3",),
        "versions": ("trtfuse 1.2, onnx 1.23",),
        "date": ("2026-11-28 14:32:05 UTC",),
    }
    text = page(made.to_dict())
    assert all(each in text for lines in found.values() for each in lines)


def test_a_file_that_grew_by_much_says_so() -> None:
    made = report()
    made.original = OriginalFile("m.onnx", 80_000)
    made.output = OutputFile("f.onnx", 38_000_000, SHA, None)
    assert told(made.to_dict())["output"][1] == "The file grows from 80 kB to 38 MB."


def test_what_it_was_built_with_and_for() -> None:
    data = report().to_dict()
    data["engine"] = {"backend": "TensorRT 1", "shapes": {"x": [1, 2]}, "notes": ["a note"]}
    assert told(data)["engine"] == ("built with TensorRT 1 for x:1x2", "a note")


@pytest.mark.parametrize("ok", [True, False])
def test_each_output_that_was_compared_is_in_a_table(ok: bool) -> None:
    data = report().to_dict()
    data["verification"] |= {
        "level": "model",
        "outputs": 1,
        "samples": 4,
        "source": "random",
        "worst": "y",
        "compared": [
            {
                "output": "<y>",
                "ok": ok,
                "inputs": "normal inputs, batch 1",
                "absolute": 1.2e-7,
                "relative": 0.0,
                "rounding": None,
                "largest": 1.0,
            }
        ],
    }
    text = page(data)
    assert '<th scope="row">&lt;y&gt;</th>' in text
    worse = "" if ok else " worse"
    assert f'<td class="number{worse}">1.2e-07</td><td class="number">0</td>' in text
    assert "normal inputs, batch 1" in text


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([], "2 groups expected as one kernel each; only a build can tell"),
        (
            ["one kernel", "several kernels"],
            "2 groups expected as one kernel each; TensorRT runs 1 in one kernel and 1 in several "
            "kernels",
        ),
        (
            ["merged further", "unknown"],
            "2 groups expected as one kernel each; TensorRT runs 1 in one kernel with other nodes "
            "and 1 not found in the engine",
        ),
    ],
)
def test_what_became_of_groups(outcomes: list[str], said: str) -> None:
    fusions = [{"kind": "group", "outcome": outcome} for outcome in outcomes]
    fusions.append({"kind": "rewrite", "outcome": "one kernel"})
    engine = {"agreement": {"fusions": fusions}} if outcomes else None
    groups = [{"kind": "group"}, {"kind": "group"}, {"kind": "rewrite"}]
    assert groups_built({"fused": groups, "engine": engine}) == said
    assert groups_built({"fused": []}) == ""
