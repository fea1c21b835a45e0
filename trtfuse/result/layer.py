"""A step of an engine, as the builder tells of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Layers that run nothing on the GPU: streams that wait for each other, weights, renamed tensors.
NO_KERNEL = frozenset(("signal", "wait", "noop", "constant", "shapehosttodevice"))

#: Bits of an element, by the names that TensorRT has for its type, in lower case.
BITS = {
    "float": 32,
    "fp32": 32,
    "half": 16,
    "fp16": 16,
    "bfloat16": 16,
    "bf16": 16,
    "int64": 64,
    "int32": 32,
    "int8": 8,
    "uint8": 8,
    "bool": 8,
    "fp8": 8,
    "e8m0": 8,
    "int4": 4,
    "fp4": 4,
}


@dataclass(frozen=True)
class LayerTensor:
    """What a layer reads or writes.

    Attributes:
        name: of the ONNX tensor, or one that the builder made up.
        shape: its sizes; -1 where they are not known before the engine runs.
        type: as TensorRT says it: Float, Half, BFloat16, Int8, Int64 and so on; empty if the log
            does not tell.
        format: how it lies in memory, in TensorRT's words; empty if the log does not tell.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    format: str = ""

    @property
    def bytes(self) -> int | None:
        """What its elements take, without padding; None if a size or the type is not known."""
        bits = BITS.get(self.type.lower())
        if bits is None or any(size < 0 for size in self.shape):
            return None
        return -(-math.prod(self.shape) * bits // 8)


@dataclass(frozen=True)
class Layer:
    """One step of an engine.

    Attributes:
        name: the builder's.
        type: kgen, runtime_fusion, gemm, CaskConvolution and so on; signal and wait run no kernel.
        inputs, constants, outputs: what it reads and writes. A tensor that it reads twice may be
            listed twice.
        nodes: names of the ONNX nodes in it, as far as the builder kept them. A node without a
            name is `node_of_` and its first output; one inside a local function is
            `inner | call (Function)`.
        tactic: the builder's name for the implementation; often empty.
        profile: the optimization profile that it belongs to.
    """

    name: str
    type: str
    inputs: tuple[LayerTensor, ...] = ()
    constants: tuple[LayerTensor, ...] = ()
    outputs: tuple[LayerTensor, ...] = ()
    nodes: tuple[str, ...] = ()
    tactic: str = ""
    profile: int = 0

    @property
    def runs(self) -> bool:
        """Whether it is a kernel, rather than a signal, a wait or a name for something."""
        return self.type.lower() not in NO_KERNEL
