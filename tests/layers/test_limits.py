"""What TensorRT takes at most is what `trtfuse.layers.limits` says, and one more is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.layers.limits import LIMITS, PADDING, PARTS, SIZE, STRIDE, VOLUME, WINDOW, WINDOWS

WAYS = Path(__file__).parents[2] / "docs" / "ways.md"


def pooled(*kernel: int) -> ModelProto:
    sizes, some = [1, 1, *kernel], ",".join("?" * (len(kernel) + 2))
    return model(
        f"(float{sizes} x) => (float[{some}] y) "
        f"{{ y = AveragePool<kernel_shape = {list(kernel)}>(x) }}"
    )


def padded(most: int) -> ModelProto:
    return model(
        f"(float[1,1,8,8] x) => (float[?,?,?,?] y) {{ y = Conv<pads = [0,0,{most},0]>(x, w) }}",
        w=np.ones((1, 1, 3, 3), np.float32),
    )


def strided(most: int) -> ModelProto:
    return model(
        "(float[1,1,8,8] x) => (float[?,?,?,?] y) "
        f"{{ y = MaxPool<kernel_shape = [3,3], strides = [{most},1]>(x) }}"
    )


def joined(most: int) -> ModelProto:
    parts = ",".join(["x"] * most)
    return model(f"(float[1,1] x) => (float[?,?] y) {{ y = Concat<axis = 1>({parts}) }}")


def long(most: int) -> ModelProto:
    return model(f"(float16[{most}] x) => (float16[{most}] y) {{ y = Relu(x) }}")


@pytest.mark.parametrize(
    ("largest", "beyond"),
    [
        (pooled(1, WINDOW.most), pooled(1, WINDOW.most + 1)),
        (pooled(WINDOW.most), pooled(WINDOW.most + 1)),
        (pooled(VOLUME.most, 1, 1), pooled(VOLUME.most + 1, 1, 1)),
        (padded(PADDING.most), padded(PADDING.most + 1)),
        (strided(STRIDE.most), strided(STRIDE.most + 1)),
        (joined(PARTS.most), joined(PARTS.most + 1)),
        (long(SIZE.most), long(SIZE.most + 1)),
    ],
    ids=["plane", "signal", "volume", "padding", "stride", "parts", "size"],
)
def test_the_largest_builds_and_one_more_does_not(largest: ModelProto, beyond: ModelProto) -> None:
    pytest.importorskip("tensorrt_rtx")
    assert trtfuse.build(largest).kernels
    with pytest.raises(trtfuse.EngineError):
        trtfuse.build(beyond)


def test_a_kernel_has_a_limit_by_its_axes() -> None:
    assert {axes: limit.name for axes, limit in WINDOWS.items()} == {
        1: "window",
        2: "window",
        3: "volume",
    }


@pytest.mark.skipif(not WAYS.exists(), reason="the package comes without its docs")
def test_the_docs_list_every_limit_with_its_experiment() -> None:
    text = WAYS.read_text(encoding="utf-8")
    for limit in LIMITS:
        assert f"| {limit.name} | {limit.most:,} {limit.of} | {limit.shown} |" in text
        assert limit.shown.endswith(".")
