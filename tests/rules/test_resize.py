"""Scales and sizes of Resize that are computed from the shape of what is resized."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from fusing import rewrite_and_explain
from models import constants, declined, fused, model
from onnx import ModelProto

#: The height and width of x as floats, times 2 and back to integers.
DOUBLED = """s = Shape(x) front = Slice(s, zero, two) plane = Slice(s, two, four)
    f = Cast<to=1>(plane) m = Mul(f, factor) r = Floor(m) i = Cast<to=7>(r) """


def resized(
    calls: str, x: str = "float[n,3,h,w]", opset: int = 18, factor: float = 2, **more: Any
) -> ModelProto:
    given = {
        "zero": np.array([0]),
        "two": np.array([2]),
        "four": np.array([4]),
        "factor": np.float32(factor),
        "ones": np.ones(2, np.float32),
        "none": np.zeros(0, np.float32),
        "plane_sizes": np.array([24, 8]),
    } | more
    words = calls.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {name: each for name, each in given.items() if name in words}
    return model(f"({x} x) => (float[?,?,?,?] y) {{ {calls} y = Relu(u) }}", opset=opset, **used)


def assert_same(before: ModelProto, after: ModelProto, *shapes: tuple[int, ...]) -> None:
    sessions = [
        ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        for made in (before, after)
    ]
    for shape in shapes:
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected, found = (session.run(None, {"x": x})[0] for session in sessions)
        assert expected.shape == found.shape
        np.testing.assert_array_equal(expected, found)


MODES = ["nearest", "linear", "cubic"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("opset", [11, 13, 18, 21])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_sizes_that_are_twice_those_of_x_are_scales(
    mode: str, opset: int, coordinates: str
) -> None:
    attributes = f'mode="{mode}", coordinate_transformation_mode="{coordinates}"'
    optional = "none, none" if opset < 13 else ","
    made = resized(
        f"{DOUBLED} c = Concat<axis=0>(front, i) [up] u = Resize<{attributes}>(x, {optional}, c)",
        opset=opset,
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert [node.op_type for node in result.model.graph.node] == ["Resize", "Relu"]
        assert constants(result.model)["up.scales"].tolist() == [1, 1, 2, 2]
        assert_same(made, result.model, (1, 3, 5, 7), (2, 3, 4, 1))
        again = rewrite_and_explain(result.model, verify=verify)
        assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize("mode", MODES)
def test_fixed_sizes_beside_an_open_batch_are_scales(mode: str) -> None:
    made = resized(
        f"s = Shape(x) b = Slice(s, zero, two) c = Concat<axis=0>(b, plane_sizes) "
        f'[up] u = Resize<mode="{mode}">(x, , , c)',
        x="float[n,3,6,16]",
    )
    result = rewrite_and_explain(made)
    assert constants(result.model)["up.scales"].tolist() == [1, 1, 4, 0.5]
    assert_same(made, result.model, (2, 3, 6, 16))


def test_the_axes_that_are_resized_may_be_listed() -> None:
    made = resized(f'{DOUBLED} [up] u = Resize<mode="nearest", axes=[2, 3]>(x, , , i)')
    result = rewrite_and_explain(made)
    assert constants(result.model)["up.scales"].tolist() == [2, 2]
    assert_same(made, result.model, (1, 3, 5, 7))


@pytest.mark.parametrize("axes", [[2, 4], [-5, 3], [2], [1, 2, 3]])
def test_a_resize_along_axes_that_x_does_not_have_stays(axes: list[int]) -> None:
    made = resized(f'{DOUBLED} [up] u = Resize<mode="nearest", axes=[2, 3]>(x, , , i)')
    (listed,) = (a for node in made.graph.node for a in node.attribute if a.name == "axes")
    listed.ints[:] = axes
    result = rewrite_and_explain(made, verify="none")
    assert [guard for rule, _, guard, _ in declined(result) if rule == "resize-sizes"] == [
        "exact-scales"
    ]


@pytest.mark.parametrize(
    ("calls", "factor", "guard", "because"),
    [
        ("Resize(x, , , c)", 1.5, "exact-scales",
         "the sizes `c` are computed, and are not those of `x` times fixed numbers"),
        ("Resize(x, , , c)", 0.5, "exact-scales",
         "the sizes `c` are computed, and are not those of `x` times fixed numbers"),
        ('Resize<keep_aspect_ratio_policy="not_larger">(x, , , c)', 2, "scales-do-as-sizes-do",
         "up keeps the aspect ratio (not_larger)"),
        ('Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, roi, , c)', 2,
         "scales-do-as-sizes-do", "up resizes a part of `x`"),
    ],
)  # fmt: skip
def test_other_sizes_stay_sizes(calls: str, factor: float, guard: str, because: str) -> None:
    made = resized(
        f"{DOUBLED} c = Concat<axis=0>(front, i) [up] u = {calls}",
        factor=factor,
        roi=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
    )
    result = rewrite_and_explain(made, verify="none")
    assert declined(result) == [("resize-sizes", "up", guard, because)]


def test_sizes_of_a_third_stay_since_no_float_is_a_third() -> None:
    made = resized(
        "s = Shape(x) b = Slice(s, zero, two) c = Concat<axis=0>(b, plane_sizes) "
        "[up] u = Resize(x, , , c)",
        x="float[n,3,18,8]",
    )
    (only,) = declined(rewrite_and_explain(made, verify="none"))
    assert only[2] == "exact-scales"


@pytest.mark.parametrize("opset", [9, 10, 11, 19])
def test_scales_that_are_a_quotient_of_sizes_are_constants(opset: int) -> None:
    call = {9: "Upsample(x, c)", 10: "Resize(x, c)", 11: "Resize(x, none, c)"}.get(
        opset, "Resize(x, , c)"
    )
    floor = "r = Floor(m)" if opset == 19 else "k = Cast<to=6>(m) r = Cast<to=1>(k)"
    made = resized(
        f"s = Shape(x) plane = Slice(s, two, four) f = Cast<to=1>(plane) m = Mul(f, factor) "
        f"{floor} q = Div(r, f) c = Concat<axis=0>(ones, q) [up] u = {call}",
        opset=opset,
        factor=3,
    ) if opset > 9 else resized(
        "s = Shape(x) plane = Slice<starts=[2], ends=[4]>(s) f = Cast<to=1>(plane) "
        f"m = Mul(f, factor) k = Cast<to=6>(m) r = Cast<to=1>(k) q = Div(r, f) "
        f"c = Concat<axis=0>(ones, q) [up] u = {call}",
        opset=opset,
        factor=3,
    )  # fmt: skip
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert [node.op_type for node in result.model.graph.node][-2:] == [
            call.split("(")[0],
            "Relu",
        ]
        assert len(result.model.graph.node) == 2
        (scales,) = [c for c in constants(result.model).values() if c.size == 4]
        assert scales.tolist() == [1, 1, 3, 3]
        assert scales.dtype == np.float32
        assert_same(made, result.model, (1, 3, 5, 7))


def test_scales_that_differ_by_size_stay() -> None:
    made = resized(
        "s = Shape(x) plane = Slice(s, two, four) f = Cast<to=1>(plane) m = Mul(f, factor) "
        "r = Floor(m) q = Div(r, f) c = Concat<axis=0>(ones, q) [up] u = Resize(x, , c)",
        factor=1.5,
    )
    assert fused(rewrite_and_explain(made, verify="none")) == []


def test_a_quotient_of_sizes_that_is_no_scale_stays() -> None:
    made = model(
        """(float[n,3] x) => (float[?] y) {
            s = Shape(x) f = Cast<to=1>(s) d = Div(f, f) y = Relu(d)
        }"""
    )
    assert fused(rewrite_and_explain(made, verify="none")) == []
