"""Real builds, with TensorRT for RTX: no GPU takes part."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.engine.backend import find_backend
from trtfuse.errors import EngineError, ModelError, UsageError


def convolution() -> ModelProto:
    """A convolution with a scale, which TensorRT for RTX does not fold by itself, and a ReLU."""
    return model(
        """
        (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
          [conv] a = Conv <pads = [1, 1, 1, 1]> (x, w)
          [mul] b = Mul(a, s)
          [relu] y = Relu(b)
        }
        """,
        w=np.linspace(-1, 1, 108, dtype=np.float32).reshape(4, 3, 3, 3),
        s=np.linspace(1, 2, 4, dtype=np.float32).reshape(1, 4, 1, 1),
    )


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT for RTX under the name of the full package, which needs a GPU to be there at all.

    Both have one API, but for the compute capabilities, which the full one does not have.
    """
    package = ModuleType("tensorrt")
    package.__dict__.update(find_backend("tensorrt_rtx").trt.__dict__)
    package.__dict__["__version__"] = "10.13.2"
    del package.__dict__["ComputeCapability"]
    monkeypatch.setitem(sys.modules, "tensorrt", package)


def test_an_engine_has_a_plan_sizes_and_layers() -> None:
    engine = trtfuse.build(convolution(), backend="tensorrt_rtx")
    assert isinstance(engine, trtfuse.Engine)
    assert (engine.backend, engine.targets, engine.profiles) == ("tensorrt_rtx", (), {})
    assert engine.version == find_backend("tensorrt_rtx").version
    assert engine.sizes.engine == len(engine.plan) > 100_000
    assert engine.sizes.weights is not None
    assert engine.sizes.weights >= 4 * 108
    sizes = (engine.sizes.activation, engine.sizes.scratch, engine.sizes.host_persistent)
    assert all(size is not None and size >= 0 for size in sizes)
    assert 0 < engine.seconds < 60
    assert {node for layer in engine.layers for node in layer.nodes} == {"conv", "mul", "relu"}
    assert engine.kernels == len(engine.layers)
    assert engine.traffic > 4 * (192 + 256)
    assert engine.warnings == ()


def test_a_build_is_the_same_every_time_and_from_every_source(tmp_path: Path) -> None:
    made = convolution()
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    before = path.read_bytes()
    plans = {trtfuse.build(source).plan for source in (made, before, path, str(path))}
    assert len(plans) == 1
    assert path.read_bytes() == before
    assert made == convolution()


def test_external_weights_are_found_beside_the_model_and_beside_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convolution(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert trtfuse.build(path).plan == trtfuse.build(convolution()).plan
    # What is fused is no longer in the file; without a rule everything stays there.
    result = trtfuse.fuse(path, rules=())
    assert trtfuse.build(result).plan == trtfuse.build(convolution()).plan
    loaded = trtfuse.fuse(onnx_ir.load(path), rules=())
    assert trtfuse.build(loaded).plan == trtfuse.build(convolution()).plan
    # Not even where the file happens to be in the working folder.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="came without a folder; pass its path instead"):
        trtfuse.build(onnx.load(path, load_external_data=False))
    (tmp_path / "w.bin").unlink()
    for source in (path, result):
        with pytest.raises(ModelError, match=r"'w\.bin', which is missing from '"):
            trtfuse.build(source)


def test_precision_is_what_the_model_says() -> None:
    made = model(
        "(float16[4, 8] x) => (float16[4, 8] y) { [product] p = MatMul(x, w) [relu] y = Relu(p) }",
        w=np.ones((8, 8), np.float16),
    )
    tensors = [t for layer in trtfuse.build(made).layers for t in (*layer.inputs, *layer.outputs)]
    assert {tensor.type for tensor in tensors} == {"Half"}


def test_targets_of_the_engine() -> None:
    made = convolution()
    one, both = trtfuse.build(made, targets=["8.6"]), trtfuse.build(made, targets=["8.6", "8.9"])
    assert (one.targets, both.targets) == (("8.6",), ("8.6", "8.9"))
    assert one.plan != both.plan
    assert trtfuse.build(made, targets="8.6").plan == one.plan
    for spelled in (8.6, "sm_86", "86"):
        assert trtfuse.build(made, targets=[spelled]).targets == ("8.6",)
    with pytest.raises(UsageError, match=r"cannot build for compute capability '6\.1'; it knows 7"):
        trtfuse.build(made, targets=["sm_61"])


def test_a_failed_build_says_why_in_the_words_of_the_builder(
    capfd: pytest.CaptureFixture[str],
) -> None:
    product = model(
        "(float[4, 8] x) => (float[4, 8] y) { [product] y = MatMul(x, w) }",
        w=np.ones((8, 8), np.float32),
    )
    with pytest.raises(EngineError) as raised:
        trtfuse.build(product, targets=["7.5"])
    assert str(raised.value) == (
        "TensorRT for RTX cannot build the model: Cannot compile operation 'product' for Turing "
        "(SM75): FP32 GEMM is not supported"
    )
    with pytest.raises(EngineError, match=r"; allow it more with --workspace or workspace=$"):
        trtfuse.build(product, workspace=0)
    # The builder prints the reason of this one past its logger.
    attention = model(
        "(float[1, 2, 5, 64] q, float[1, 2, 5, 64] k) => (float[1, 2, 5, 64] y) "
        "{ [attention] y = Attention(q, k, k) }",
        opset=23,
        ir_version=10,
    )
    with pytest.raises(EngineError, match="model: Attention operation was not supported by a ded"):
        trtfuse.build(attention)
    assert capfd.readouterr() == ("", "")


def test_a_failed_build_leaves_nothing_behind_in_the_process() -> None:
    # The builder forgets by itself what a build for these capabilities does, unless it fails.
    made = model(
        """
        (float[1, 3, 64, 64] x) => (float[1, 10] y) {
          [conv] a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
          [relu] b = Relu(a)
          [mean] c = GlobalAveragePool(b)
          [flat] d = Flatten(c)
          [gemm] y = Gemm(d, v)
        }
        """,
        w=np.linspace(-1, 1, 16 * 27, dtype=np.float32).reshape(16, 3, 3, 3),
        v=np.linspace(-1, 1, 160, dtype=np.float32).reshape(16, 10),
    )
    plan = trtfuse.build(made, in_process=True).plan
    with pytest.raises(EngineError, match="FP32 GEMM is not supported"):
        trtfuse.build(made, targets=["7.5"], in_process=True)
    assert trtfuse.build(made, in_process=True).plan == plan


def test_workspace_and_level_reach_the_builder() -> None:
    made = convolution()
    assert trtfuse.build(made, workspace=1 << 30, level=0).kernels > 0
    with pytest.raises(UsageError, match=r"^the optimization level is 6; it goes from 0 to 5$"):
        trtfuse.build(made, level=6)
    with pytest.raises(UsageError, match=r"^the workspace is -1 bytes; it cannot be negative$"):
        trtfuse.build(made, workspace=-1)


def test_warnings_of_tensorrt_are_kept_each_once() -> None:
    made = model("(int64[2] x, int64[2] z) => (int64[2] y) { [add] y = Add(x, z) }")
    warned = trtfuse.build(made).warnings
    assert len(warned) == len(set(warned)) >= 2
    assert any(text.endswith("Make sure input x has Int64 binding.") for text in warned)


def test_saving_writes_the_whole_plan_or_nothing(tmp_path: Path) -> None:
    engine = trtfuse.build(convolution())
    path = tmp_path / "m.engine"
    path.write_bytes(b"old")
    engine.save(path)
    assert path.read_bytes() == engine.plan
    for wrong in (tmp_path, tmp_path / "missing" / "m.engine", path / "m.engine"):
        with pytest.raises(trtfuse.TrtfuseError, match=r"^cannot write '"):
            engine.save(wrong)
    assert [each.name for each in tmp_path.iterdir()] == ["m.engine"]


def test_progress_names_phases_and_ends_complete() -> None:
    told: list[tuple[str, int, int]] = []
    trtfuse.build(convolution(), progress=lambda *step: told.append(step))
    assert all(0 <= done <= total for _, done, total in told)
    assert told[0] == ("Building engine", 0, told[0][2])
    assert told[-1] == ("Building engine", told[0][2], told[0][2])
    assert len({phase for phase, _, _ in told}) > 3


@pytest.mark.parametrize("in_process", [False, True])
def test_what_progress_raises_cancels_the_build(in_process: bool) -> None:
    told: list[str] = []

    def progress(phase: str, done: int, total: int) -> None:
        told.append(phase)
        if len(told) == 5:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        trtfuse.build(convolution(), progress=progress, in_process=in_process)
    assert len(told) == 5
    # The builder is fit for the next build.
    assert trtfuse.build(convolution(), in_process=in_process).kernels > 0


@pytest.mark.parametrize("in_process", [False, True])
def test_what_progress_prints_is_let_through(
    in_process: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def progress(phase: str, done: int, total: int) -> None:
        os.write(2, b".")

    trtfuse.build(convolution(), progress=progress, in_process=in_process)
    out, err = capfd.readouterr()
    assert out == ""
    assert set(err) == {"."}


@pytest.mark.parametrize("in_process", [False, True])
def test_builds_from_several_threads_keep_their_logs_apart(in_process: bool) -> None:
    engines: dict[str, trtfuse.Engine] = {}

    def work(name: str) -> None:
        made = model(f"(float[2] x) => (float[2] y) {{ [{name}] y = Relu(x) }}")
        engines[name] = trtfuse.build(made, in_process=in_process)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, engine in engines.items():
        assert [node for layer in engine.layers for node in layer.nodes] == [name]
    assert len(engines) == 3


@pytest.mark.usefixtures("full")
def test_the_timing_cache_is_kept_in_a_file(tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    with warnings.catch_warnings():
        # TensorRT for RTX, which stands in here, calls its own timing cache deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The child would import the real package.
        engine = trtfuse.build(convolution(), timing_cache=cache, in_process=True)
        assert engine.backend == "tensorrt"
        first = cache.read_bytes()
        trtfuse.build(convolution(), timing_cache=cache, in_process=True)
    assert len(first) > 0
    assert [each.name for each in tmp_path.iterdir()] == ["timing.cache"]
    with pytest.raises(UsageError, match=r"^cannot keep the timing cache in '.*': there is no"):
        trtfuse.build(convolution(), timing_cache=tmp_path / "missing" / "cache")
    with pytest.raises(UsageError, match=r"^cannot keep the timing cache in '.*': it is not a reg"):
        trtfuse.build(convolution(), timing_cache=tmp_path)


def test_tensorrt_for_rtx_has_no_timing_cache(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^TensorRT for RTX has no timing cache; leave it out$"):
        trtfuse.build(convolution(), backend="tensorrt_rtx", timing_cache=tmp_path / "cache")


@pytest.mark.usefixtures("full")
def test_the_full_package_takes_no_targets() -> None:
    with pytest.raises(UsageError, match=r"^TensorRT builds for the GPU of this machine; leave"):
        trtfuse.build(convolution(), targets=["8.6"])


def test_importing_trtfuse_leaves_tensorrt_alone_and_knows_its_names() -> None:
    assert {"build", "Engine", "EngineError"} <= set(trtfuse.__all__)
    with pytest.raises(AttributeError, match=r"^module 'trtfuse' has no attribute 'biuld'$"):
        _ = trtfuse.biuld  # type: ignore[attr-defined]
