"""Measures how much memory `trtfuse fuse` takes for a model whose weights are larger than memory.

    python benchmarks/memory.py
    python benchmarks/memory.py --gigabytes 1 --folder /mnt/scratch

The model, its weights and the results are made in a temporary folder, checked, and deleted. It
takes three times `--gigabytes` of disk.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

WIDTH = 1024
EPSILON = 1e-5
#: Channels and kernel sizes of the convolutions that a BatchNormalization follows.
CONVOLUTIONS = ((64, 3), (128, 3), (256, 3), (512, 1), (512, 3), (1024, 1))
WIDE = (1024, 3)

Array = NDArray[np.float32]


@dataclass
class Builder:
    """Writes a model with external weights without ever holding them all."""

    data: BinaryIO
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def weight(self, name: str, *shape: int) -> str:
        """Writes random weights, at most 16 MiB of them at a time."""
        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        self.data.write(bytes(-self.data.tell() % 4096))
        size = int(np.prod(shape))
        place = {"location": "weights.bin", "offset": self.data.tell(), "length": 4 * size}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        while size:
            piece = self.rng.random(min(size, 1 << 22), np.float32) - np.float32(0.5)
            self.data.write(piece.data)
            size -= piece.size
        self.weights.append(tensor)
        return name

    def small(self, name: str, array: NDArray[Any]) -> str:
        """Small weights, which stay inside the model."""
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}_y"], name, **attributes))
        return f"{name}_y"


def build(path: Path, size: int, wide: int = 0) -> None:
    """Writes a model with `size` bytes of weights: convolutions that fold, then a deep MLP.

    Args:
        path: where to; the weights go to `weights.bin` beside it.
        size: in bytes.
        wide: how many convolutions of 38 MB there are besides the small ones.
    """
    with path.with_name("weights.bin").open("wb") as data:
        new = Builder(data)
        y, channels = "image", 3
        for i, (outputs, kernel) in enumerate((*CONVOLUTIONS, *[WIDE] * wide)):
            w = new.weight(f"conv{i}.w", outputs, channels, kernel, kernel)
            y = new.node("Conv", f"conv{i}", y, w, pads=[kernel // 2] * 4)
            drawn = new.rng.uniform(0.5, 1.5, (4, outputs))
            of = [new.small(f"bn{i}.{k}", a) for k, a in zip("sbmv", drawn, strict=True)]
            y = new.node("Relu", f"relu{i}", new.node("BatchNormalization", f"bn{i}", y, *of))
            channels = outputs
        y = new.node("Flatten", "flat", new.node("GlobalAveragePool", "pool", y))
        i = 0
        while data.tell() < size:
            # From 1 to 33 MB; one in a hundred has 268 MB, like an embedding.
            inner = 65536 if i % 100 == 50 else int(2 ** new.rng.uniform(8, 13))
            inner = max(1, min(inner, (size - data.tell()) // (8 * WIDTH)))
            up, down = new.weight(f"up{i}.w", WIDTH, inner), new.weight(f"down{i}.w", inner, WIDTH)
            y = new.node("Relu", f"act{i}", new.node("MatMul", f"up{i}", y, up))
            # Without it, this product and the next would become one.
            y = new.node("Relu", f"out{i}", new.node("MatMul", f"down{i}", y, down))
            i += 1
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(new.nodes, "large", [image], [output], new.weights)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


@dataclass(frozen=True)
class Run:
    """What one run of the command took."""

    seconds: float
    peak: int


def fuse(source: Path, target: Path, level: str) -> Run:
    """Runs `trtfuse fuse` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "trtfuse",
        "fuse",
        str(source),
        "-o",
        str(target),
        "--groups",
        "flat",
    ]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--verify", level, "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"trtfuse ended with exit code {process.returncode}")
    return Run(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def pieces(path: Path, tensor: TensorProto) -> Iterator[bytes]:
    """The bytes of a tensor, at most 16 MiB at a time."""
    if tensor.data_location != TensorProto.EXTERNAL:
        yield tensor.raw_data
        return
    info: Any = ExternalDataInfo(tensor)
    with path.with_name(info.location).open("rb") as file:
        file.seek(info.offset)
        left = info.length
        while left:
            piece = file.read(min(left, 1 << 24))
            assert piece, f"{tensor.name} ends {left} bytes early"
            left -= len(piece)
            yield piece


def array(path: Path, tensor: TensorProto) -> Array:
    """A tensor as a whole."""
    return np.frombuffer(b"".join(pieces(path, tensor)), np.float32).reshape(tuple(tensor.dims))


def check(before: Path, after: Path) -> str:
    """Compares the result with the original, on the files alone; says what was found.

    Raises:
        AssertionError: something is not as it should be.
    """
    onnx.checker.check_model(str(after))
    original, fused = (onnx.load(path, load_external_data=False) for path in (before, after))
    old, new = ({t.name: t for t in m.graph.initializer} for m in (original, fused))
    external = [t for t in new.values() if t.data_location == TensorProto.EXTERNAL]
    assert {ExternalDataInfo(t).location for t in external} == {f"{after.name}.data"}
    assert all(t.data_location == TensorProto.EXTERNAL for t in new.values() if _size(t) >= 1024)
    same = [name for name in new if name in old]
    for name in same:
        both = zip(pieces(before, old[name]), pieces(after, new[name]), strict=True)
        assert all(ours == theirs for ours, theirs in both), f"{name} changed"
    assert not any(node.op_type == "BatchNormalization" for node in fused.graph.node)
    convolutions = [node for node in fused.graph.node if node.op_type == "Conv"]
    for i, node in enumerate(convolutions):
        _, w, b = node.input
        s, t, mean, var = (array(before, old[f"bn{i}.{k}"]).astype(np.float64) for k in "sbmv")
        scale = s / np.sqrt(var + EPSILON)
        weights = array(before, old[f"conv{i}.w"]) * scale.reshape(-1, 1, 1, 1)
        for name, exact in ((w, weights), (b, t - mean * scale)):
            # As near as float32 gets: half a unit in the last place, and a hair for float64.
            unit = np.spacing(np.abs(exact).astype(np.float32))
            assert (np.abs(array(after, new[name]) - exact) <= 0.5001 * unit).all(), name
    folded = sum(_size(tensor) for name, tensor in new.items() if name not in old)
    return (
        f"{len(same)} tensors are the same bytes; {len(convolutions)} convolutions folded "
        f"({folded / 1e6:.0f} MB), right to the last bit of float32"
    )


def _size(tensor: TensorProto) -> int:
    return 4 * int(np.prod(tensor.dims))


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found


def main() -> None:
    """Reads the command line, measures, checks, prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--gigabytes", type=float, default=4.0, help="weights of the model (default %(default)s)")
    add("--wide", type=int, default=0, help="more convolutions that fold, of 38 MB each")
    add("--folder", type=Path, help="where to make the temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder, moved = Path(name, "original"), Path(name, "moved")
        folder.mkdir()
        build(folder / "large.onnx", int(given.gigabytes * 1e9), given.wide)
        weights = len(onnx.load(folder / "large.onnx", load_external_data=False).graph.initializer)
        digests = _digests(folder)
        # All runs come before all checks: a process begins with the peak of the one that starts it.
        runs = {}
        for level in ("none", "rewrite"):
            Path(name, level).mkdir()
            runs[level] = fuse(folder / "large.onnx", Path(name, level, "fused.onnx"), level)
        assert _digests(folder) == digests, "the original changed"
        folder.rename(moved)
        print(f"{given.gigabytes:g} GB in {weights} tensors; the original is untouched.\n")
        print("| --verify | seconds | peak memory, MB | written, GB | checked |")
        print("| --- | --: | --: | --: | --- |")
        for level, run in runs.items():
            files = sorted(Path(name, level).iterdir())
            assert [file.name for file in files] == ["fused.onnx", "fused.onnx.data"]
            written = sum(file.stat().st_size for file in files) / 1e9
            found = check(moved / "large.onnx", files[0])
            print(
                f"| {level} | {run.seconds:.1f} | {run.peak / 1e6:.0f} | {written:.2f} | {found} |"
            )


if __name__ == "__main__":
    main()
