"""What is said of the outputs of two models: how far apart, and next to what."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import trtfuse
from trtfuse.check.difference import MARGIN, Tally, differences
from trtfuse.ir.tensor import Array
from trtfuse.report.entries import verdict


def parsed(text: str) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')


def tallied(*outputs: tuple[Any, Any, list[Any]], source: str = "random") -> trtfuse.Verification:
    """What is found of outputs `a`, `b` and so on, on one set of inputs."""
    tally = Tally("abcdefgh"[: len(outputs)], source)
    expected, actual, moved = (list(each) for each in zip(*outputs, strict=True))
    tally.add("a.npz", expected, actual, [list(each) for each in zip(*moved, strict=True)])
    return tally.finish()


def f(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def test_an_output_is_told_in_absolute_and_relative_numbers() -> None:
    (entry,) = tallied((f(1, -4), f(1, -4.5), [f(1.5, -4), f(1, -3)])).compared
    assert asdict(entry) == {
        "output": "a",
        "ok": True,
        "inputs": "a.npz",
        "absolute": 0.5,
        "relative": 0.125,
        "rounding": 1.0,
        "largest": 4.0,
        "undecided": False,
    }


def test_rounding_is_a_unit_of_the_largest_number_at_least() -> None:
    (entry,) = tallied((f(1, -4), f(1, -4), [f(1, -4)])).compared
    assert entry.rounding == 4 * 2.0**-23
    (entry,) = tallied((f(1, -4), f(1, -4), [])).compared
    assert entry.rounding == 4 * 2.0**-23


def test_small_numbers_are_not_judged_by_their_size_alone() -> None:
    # A detector on noise: hardly a score, and rounding makes a good part of what there is.
    found = tallied((f(1e-6, 2e-7), f(1.05e-6, 2e-7), [f(1.04e-6, 2e-7)]))
    assert found.ok
    assert verdict(asdict(found)) == [
        "checked: 1 output agrees on 1 set of random inputs",
        "'a' differs by 5.0e-08 (5.0e-02 of its largest value, 1e-06); "
        "rounding alone moves the original by 4.0e-08",
        "output 'a': rounding alone moves the original by 0.04 of its largest value: its agreement "
        "tells little",
    ]


def test_the_output_that_differs_most_for_its_rounding_is_the_worst() -> None:
    found = tallied(
        (f(500), f(500.001), [f(500.01)]),
        (f(1e-6), f(1.05e-6), [f(1.04e-6)]),
        (f(1), f(1), [f(1.1)]),
    )
    assert found.worst == "b"
    assert found.max_error == pytest.approx(0.05, rel=1e-3)
    assert [entry.output for entry in found.compared] == ["a", "b", "c"]


def test_the_numbers_are_those_of_the_inputs_that_come_nearest_to_failing() -> None:
    tally = Tally(["y"], "random")
    for name, actual in (("first", 1.01), ("second", 1.04), ("third", 1.02)):
        tally.add(name, [f(1)], [f(actual)], [[f(1.01)]])
    found = tally.finish()
    (entry,) = found.compared
    assert (entry.inputs, found.samples, found.checked) == ("second", 3, 3)
    assert entry.absolute == pytest.approx(0.04, rel=1e-3)
    assert (found.max_error, found.tolerance) == (entry.relative, pytest.approx(MARGIN * 0.01))


def test_no_output_is_the_worst_where_all_are_identical() -> None:
    found = tallied((f(1), f(1), [f(2)]), (np.array([3]), np.array([3]), [np.array([3])]))
    assert found.worst is None
    assert found.compared[1].absolute == 0
    said = ["checked: 2 outputs are identical on 1 set of random inputs"]
    assert verdict(asdict(found)) == said


def test_integers_are_told_in_numbers_as_well() -> None:
    old, new = np.array([3, 9], np.uint8), np.array([5, 9], np.uint8)
    found = tallied((f(1), f(1.1), [f(1.1)]), (old, new, [old]))
    assert not found.ok
    assert found.worst == "b"
    entry = found.compared[1]
    assert (entry.ok, entry.absolute, entry.largest, entry.rounding) == (False, 2, 9, 0)
    assert found.max_error == pytest.approx(0.1, rel=1e-3)


def test_integers_that_rounding_decides_are_told_and_agree() -> None:
    found = tallied((np.array([3]), np.array([4]), [np.array([4])]))
    assert found.ok
    assert found.worst == "a"
    assert (found.compared[0].absolute, found.compared[0].rounding) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [(f(1), np.ones(1)), (f(1), f(1, 1)), (np.array(["a"], object), np.array(["b"], object))],
)
def test_what_has_no_numbers_to_compare_has_none(old: Array, new: Array) -> None:
    found = tallied((old, new, [old]))
    (entry,) = found.compared
    assert (found.ok, entry.ok, entry.absolute, found.worst) == (False, False, None, None)
    (line, note) = verdict(asdict(found))
    assert line == "check failed: 1 of 1 output differs on 1 set of random inputs"
    assert note.startswith("output 'a' (a.npz) ")


def test_an_output_that_agrees_is_not_the_worst_beside_one_that_does_not() -> None:
    found = tallied((f(1), f(1.1), [f(1.1)]), (f(1), f(1, 1), [f(1)]))
    assert (found.ok, found.worst) == (False, None)
    found = tallied((f(1), f(1.1), [f(1.1)]), (f(1), f(1.1), [f(1)]), (f(1), f(1, 1), [f(1)]))
    assert (found.ok, found.worst) == (False, "b")


def test_what_overflows_is_a_number_that_json_has() -> None:
    big = np.finfo(np.float64).max
    found = tallied((np.array([big]), np.array([-big]), [np.array([big])]))
    assert (found.ok, found.max_error, found.compared[0].absolute) == (False, big, big)


def test_a_part_of_a_sequence_is_told_of_its_output() -> None:
    found = tallied(([f(1), f(2)], [f(1), f(9)], [[f(1), f(2)]]))
    assert not found.ok
    assert found.compared[0].absolute == 7
    assert found.notes[0].startswith("part 1 of output 'a' (a.npz) differs by ")
    (shorter,) = differences([f(1)], [], [])
    assert shorter.wrong == "has 0 parts, not 1"


def test_of_many_sets_that_differ_the_first_are_listed() -> None:
    tally = Tally(["y", "z"], "folder")
    for number in range(7):
        tally.add(f"{number}.npz", [f(1), f(1)], [f(2), f(2) if number < 5 else f(1)], [])
    found = tally.finish()
    assert found.notes[-2:] == [
        "output 'y': 3 more like these",
        "output 'z': 1 more like these",
    ]
    assert len(found.notes) == 10


def test_a_model_says_how_much_was_compared() -> None:
    model = parsed("(float[N, 3] x) => (float[N, 3] y, float[N, 3] z) { y = Relu(x)  z = Sin(x) }")
    found = trtfuse.verify(model, model)
    assert (found.outputs, found.samples, found.source, found.checked) == (2, 4, "random", 8)
    assert [entry.output for entry in found.compared] == ["y", "z"]
    for given in (found.compared[0].rounding, found.compared[0].largest):
        assert given is not None
        assert given > 0


def test_whole_numbers_whose_count_depends_on_rounding_are_not_called_identical() -> None:
    ours, theirs = np.int64([1, 2]), np.int64([1, 500])
    found = tallied((ours, theirs, [np.int64([1, 2, 3])]))
    said = (
        "output 'a' (a.npz) has another shape once its numbers are rounded: its elements were not "
        "compared"
    )
    assert verdict(asdict(found)) == [
        "checked: 1 output agrees on 1 set of random inputs, as far as they can be compared",
        said,
    ]
    assert verdict(asdict(found), everything=True)[1] == "'a': not all of it can be compared"
    steady = tallied((ours, theirs, [ours]))
    assert not steady.ok
    same = tallied((ours, ours, [np.int64([1, 2, 3])]))
    assert verdict(asdict(same)) == ["checked: 1 output is identical on 1 set of random inputs"]


@pytest.mark.parametrize(
    ("expected", "actual", "said"),
    [
        (f(np.nan, 1), f(np.inf, 1), "has 1 elements that were NaN and are now infinite"),
        (f(np.inf), f(-1000), "has 1 elements that were not finite and now are"),
        (f(np.nan), f(np.nan), "has no finite number: nothing was compared"),
        (f(), f(), "is empty: nothing was compared"),
        (np.int64([]), np.int64([]), "is empty: nothing was compared"),
    ],
)
def test_what_cannot_be_compared_is_not_called_identical(
    expected: Array, actual: Array, said: str
) -> None:
    found = tallied((expected, actual, []), source="own.npz")
    assert found.ok
    assert f"output 'a' (a.npz) {said}" in found.notes
    first = verdict(asdict(found))[0]
    assert first == (
        "checked: 1 output agrees on 1 set of inputs from own.npz, as far as they can be compared"
    )


def test_a_tensor_in_place_of_a_sequence_differs_either_way() -> None:
    for one, other in ((f(1), [f(1)]), ([f(1)], f(1))):
        assert not tallied((one, other, [])).ok


def test_rounding_that_moves_everything_makes_agreement_tell_little() -> None:
    sine = parsed(
        """(float[4, 4] x) => (float[4, 4] y) {
            o = Constant<value=float {1.0}>() z = Add(x, o)
            c = Constant<value=float {1e9}>() t = Mul(z, c) y = Sin(t)
        }"""
    )
    found = trtfuse.verify(sine, parsed("(float[4, 4] x) => (float[4, 4] y) { y = Sigmoid(x) }"))
    assert any(
        note.endswith("of its largest value: its agreement tells little") for note in found.notes
    )
    assert not trtfuse.verify(sine, sine).notes
