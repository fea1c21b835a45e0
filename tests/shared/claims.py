"""Models with nodes in no order, or with wrong shapes of what they compute, from right ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TypeProto,
    ValueInfoProto,
    helper,
)

#: How the shapes are wrong.
KINDS = ("symbols", "sizes", "ranks", "zeros", "swapped")


def with_open_inputs(model: ModelProto) -> ModelProto:
    """The model with a symbol for each size of its inputs, the same for the same size."""
    made = ModelProto()
    made.CopyFrom(model)
    constants = {tensor.name for tensor in made.graph.initializer}
    for info in made.graph.input:
        if info.name not in constants:
            for dim in info.type.tensor_type.shape.dim:
                if dim.HasField("dim_value") and dim.dim_value > 1:
                    dim.dim_param = f"S{dim.dim_value}"
    return made


def with_nodes_backwards(model: ModelProto) -> ModelProto | None:
    """The model with its nodes, and those of bodies, backwards; None if each has one at most."""
    made = ModelProto()
    made.CopyFrom(model)
    for graph in _graphs(made.graph):
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
        del graph.node[:]
        graph.node.extend(reversed(nodes))
    return None if made == model else made


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
    yield graph


def with_wrong_claims(model: ModelProto, kind: str) -> ModelProto | None:
    """The model with what it computes declared wrongly; None if there is nothing to declare.

    Args:
        model: a right one, which is not changed.
        kind: one of `KINDS`.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (RuntimeError, onnx.shape_inference.InferenceError):
        return None
    made = ModelProto()
    made.CopyFrom(model)
    rng = np.random.default_rng(zlib.crc32(model.SerializeToString(deterministic=True)))
    symbols = [
        dim.dim_param
        for info in made.graph.input
        for dim in info.type.tensor_type.shape.dim
        if dim.dim_param
    ] or ["N"]
    del made.graph.value_info[:]
    known = {info.name: info for info in inferred.graph.value_info}
    outputs = {info.name for info in made.graph.output}
    for node in made.graph.node:
        for name in node.output:
            if name in known and name not in outputs:
                wrong = _wrong(known[name], kind, symbols, rng)
                if wrong is not None:
                    made.graph.value_info.append(wrong)
    for info in made.graph.output:
        wrong = _wrong(info, kind, symbols, rng)
        if wrong is not None and kind in ("symbols", "zeros", "swapped"):
            info.CopyFrom(wrong)
    return None if made == model else made


def _wrong(
    info: ValueInfoProto, kind: str, symbols: list[str], rng: np.random.Generator
) -> ValueInfoProto | None:
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    shape: list[int | str | None] = [d.dim_value or d.dim_param or None for d in tensor.shape.dim]
    match kind:
        case "symbols":
            shape = [str(rng.choice(symbols)) for _ in shape]
        case "sizes":
            shape = [int(rng.integers(1, 6)) for _ in shape]
        case "ranks":
            shape = [*shape, 2] if not shape or rng.random() < 0.5 else shape[1:]
        case "zeros":
            shape = [0, *shape[1:]] if shape else []
        case _:
            shape = shape[::-1]
    typed: TypeProto = helper.make_tensor_type_proto(tensor.elem_type, shape)
    return helper.make_value_info(info.name, typed)
