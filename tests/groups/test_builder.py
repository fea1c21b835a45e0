"""The builder makes the same engine of functions as of the flat graph, attribute by attribute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import model
from onnx import ModelProto

import trtfuse

pytest.importorskip("tensorrt_rtx")

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def image(text: str, **constants: Any) -> ModelProto:
    header = "(float[1,4,16,16] x) => (float[?,?,?,?] y)"
    return model(f"{header} {{ {text} }}", opset=17, **constants)


MODELS = {
    "every attribute of a convolution": image(
        "[c] c = Conv<pads=[1,0,2,1], strides=[2,1], dilations=[1,2], group=2, kernel_shape=[3,2]>"
        "(x, w, b) [r] y = Relu(c)",
        w=numbers(4, 2, 3, 2),
        b=numbers(4),
    ),
    "automatic padding": image(
        '[c] c = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w) [a] y = LeakyRelu<alpha=0.3>(c)',
        w=numbers(4, 4, 3, 3),
    ),
    "a deconvolution": image(
        "[c] c = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1], group=2>(x, w) "
        "[a] y = HardSigmoid<alpha=0.3, beta=0.4>(c)",
        w=numbers(4, 2, 3, 3),
    ),
    "a sum": image(
        "[c] c = Conv<pads=[1,1,1,1]>(x, w) [s] s = Add(c, x) [r] y = Relu(s)",
        w=numbers(4, 4, 3, 3),
    ),
    "bounds": image(
        "[c] c = Conv(x, w) [a] y = Clip(c, low, high)",
        w=numbers(4, 4, 3, 3),
        low=np.float32(0),
        high=np.float32(6),
    ),
    "an MLP": model(
        "(float[4,16] x) => (float[?,?] y) { [a] p = Gemm<alpha=0.5, transB=1>(x, w, b) "
        "[t] q = Elu<alpha=0.7>(p) [b] y = Gemm<beta=0.25>(q, w, b) }",
        opset=17,
        w=numbers(16, 16),
        b=numbers(16),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_functions_build_like_the_flat_graph(name: str) -> None:
    functions, flat = (
        trtfuse.fuse(MODELS[name], verify="none", groups=groups)  # type: ignore[arg-type]
        for groups in ("functions", "flat")
    )
    assert len(functions.model.functions) == 1
    found = trtfuse.compare(flat, functions)
    assert (found.b.kernels, found.b.traffic) == (found.a.kernels, found.a.traffic)
    assert (found.vanished, found.appeared) == ([], [])
