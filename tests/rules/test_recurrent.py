from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from models import fused, model, nodes
from onnx import ModelProto

import trtfuse

Array = npt.NDArray[Any]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: How exporters write zeros: nodes that make them, and the constants that these read.
ZEROS = {
    "constant": ("", {"h": np.zeros((1, 2, 5), np.float32)}),
    "negative": ("", {"h": np.full((1, 2, 5), -0.0, np.float32)}),
    "of-shape": ("h = ConstantOfShape(to)", {"to": np.array([1, 2, 5])}),
    "of-the-batch": (
        """s = Shape(x) n = Slice(s, first, second) to = Concat<axis=0>(one, n, five)
        h = ConstantOfShape<value=float[1]{0}>(to)""",
        {
            "first": np.array([1]),
            "second": np.array([2]),
            "one": np.array([1]),
            "five": np.array([5]),
        },
    ),
    "expanded": (
        "z = Cast<to=1>(zero) h = Expand(z, to)",
        {"zero": np.zeros((1, 1, 1), np.float64), "to": np.array([1, 2, 5])},
    ),
    "sliced": (
        "z = ConstantOfShape(to) h = Slice(z, none, all, none)",
        {"to": np.array([3, 2, 5]), "none": np.array([0]), "all": np.array([1])},
    ),
}


def recurrent(
    operator: str, how: str, *, inputs: str = "x, w, r, , lengths, h", outputs: str = "y"
) -> ModelProto:
    """A layer of two sequences of four vectors of three numbers, with five hidden ones."""
    rng = np.random.default_rng(0)
    gates = GATES[operator]
    calls, given = ZEROS[how]
    if operator == "LSTM" and inputs.endswith("h"):
        inputs += ", h"
    results = ", ".join(
        f"float[{'4,1,2,5' if name == 'y' else '1,2,5'}] {name}"
        for name in outputs.split(", ")
        if name
    )
    return model(
        f"(float[4,2,3] x, int32[2] lengths) => ({results}) {{ {calls} "
        f"[layer] {outputs} = {operator}<hidden_size=5>({inputs}) }}",
        opset=21,
        w=rng.standard_normal((1, 5 * gates, 3)).astype(np.float32),
        r=rng.standard_normal((1, 5 * gates, 5)).astype(np.float32),
        **given,
    )


def run(made: ModelProto) -> list[Array]:
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(1).standard_normal((4, 2, 3)).astype(np.float32)
    return [
        np.asarray(each)
        for each in session.run(None, {"x": x, "lengths": np.array([4, 2], np.int32)})
    ]


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("how", ZEROS)
@pytest.mark.parametrize("outputs", ["y", "y, last", ", last"])
def test_an_initial_state_of_zeros_goes(operator: str, how: str, outputs: str) -> None:
    made = recurrent(operator, how, outputs=outputs)
    result = rewrite_and_explain(made, groups="off")
    assert ("zero-state", "layer") in fused(result)
    assert nodes(result.model) == [f"layer: {operator}(x, w, r, , lengths) -> {outputs}"]
    for before, after in zip(run(made), run(result.model), strict=True):
        np.testing.assert_array_equal(before, after)
    again = rewrite_and_explain(result.model, groups="off")
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_peepholes_stay_where_they_are() -> None:
    made = model(
        """(float[4,2,3] x) => (float[4,1,2,5] y) {
            [layer] y = LSTM<hidden_size=5>(x, w, r, , , h, h, p)
        }""",
        w=np.ones((1, 20, 3), np.float32),
        r=np.ones((1, 20, 5), np.float32),
        h=np.zeros((1, 2, 5), np.float32),
        p=np.ones((1, 15), np.float32),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["layer: LSTM(x, w, r, , , , , p) -> y"]


@pytest.mark.parametrize(
    ("calls", "given"),
    [
        ("", {"h": np.ones((1, 2, 5), np.float32)}),
        ("h = ConstantOfShape<value=float[1]{1}>(to)", {"to": np.array([1, 2, 5])}),
        ("z = ConstantOfShape(to) h = Exp(z)", {"to": np.array([1, 2, 5])}),
        ("h = Slice(lengths_as, none, one)", {"none": np.array([0]), "one": np.array([1])}),
    ],
)
def test_another_initial_state_stays(
    calls: str, given: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls.replace("lengths_as", "state")
    monkeypatch.setitem(ZEROS, "other", (calls, given))
    if "state" in calls:
        monkeypatch.setitem(
            ZEROS,
            "other",
            (f"a = Cast<to=1>(lengths) b = Reshape(a, to) state = Expand(b, full) {calls}",
             given | {"to": np.array([1, 2, 1]), "full": np.array([1, 2, 5])}),
        )  # fmt: skip
    result = rewrite_and_explain(recurrent("GRU", "other"))
    assert "zero-state" not in [rule for rule, _ in fused(result)]


def test_only_the_state_that_is_zero_goes() -> None:
    made = model(
        """(float[4,2,3] x, float[1,2,5] c) => (float[4,1,2,5] y) {
            [layer] y = LSTM<hidden_size=5>(x, w, r, , , h, c)
        }""",
        w=np.ones((1, 20, 3), np.float32),
        r=np.ones((1, 20, 5), np.float32),
        h=np.zeros((1, 2, 5), np.float32),
    )
    assert nodes(rewrite_and_explain(made).model) == ["layer: LSTM(x, w, r, , , , c) -> y"]


@pytest.mark.parametrize(
    ("how", "because"),
    [
        ("other", "the initial state `h` has numbers other than zero"),
        ("given", "the initial state `h` is given at run time"),
        ("expanded", "the initial state `h` is made of `lengths`"),
        ("filled", "the initial state `h` is filled with another number than zero"),
        ("computed", "the initial state `h` is computed by Exp e"),
    ],
)
def test_explain_says_why_an_initial_state_stays(how: str, because: str) -> None:
    to = np.array([1, 2, 5])
    calls, given, constants = {
        "other": ("", "", {"h": np.full((1, 2, 5), 0.5, np.float32)}),
        "given": ("", "float[1,2,5] h", {}),
        "expanded": ("c = Cast<to=1>(lengths) h = Expand(c, to)", "int32[5] lengths", {"to": to}),
        "filled": ("h = ConstantOfShape<value=float[1]{0.5}>(to)", "", {"to": to}),
        "computed": ("[e] h = Exp(z)", "float[1,2,5] z", {}),
    }[how]
    made = model(
        f"(float[4,2,3] x{', ' * bool(given)}{given}) => (float[4,1,2,5] y) {{ {calls} "
        "[layer] y = RNN<hidden_size=5>(x, w, r, , , h) }",
        w=np.ones((1, 5, 3), np.float32),
        r=np.ones((1, 5, 5), np.float32),
        **constants,
    )
    # With all rules, a state that is filled would be folded.
    (miss,) = trtfuse.explain(made, "layer", rules=["zero-state"]).misses
    assert (miss.at, [(o.guard, o.because) for o in miss.objections]) == (
        "layer",
        [("state-is-zero", because)],
    )
