"""An engine on a terminal."""

from __future__ import annotations

from trtfuse.engine.engine import Engine, Sizes
from trtfuse.report.engine import engine_summary
from trtfuse.report.terminal import plain


def test_a_shape_that_varies_is_shown_as_smallest_best_and_largest() -> None:
    profiles = {"x": ((1, 3), (4, 3), (4, 3)), "v": ((2,), (2,), (2,))}
    sizes = Sizes(1000, None, None, None, None)
    engine = Engine(b"", "tensorrt_rtx", "1.7", (), profiles, sizes, 1.5, ())
    lines = plain(engine_summary(engine.to_dict(), "m.onnx")).splitlines()
    assert lines[0] == "m.onnx: built with TensorRT for RTX 1.7 in 1.50 s"
    assert "shape of x  1x3..4x3..4x3" in lines
    assert "shape of v  2" in lines
