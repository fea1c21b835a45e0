"""What a model is made of, and what TensorRT cannot take of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from onnx import ModelProto, TypeProto, ValueInfoProto

from trtfuse.analysis.shapes import type_and_shape
from trtfuse.engine.ask import objections
from trtfuse.engine.parse import inputs
from trtfuse.errors import nothing_else_raised
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.ir.operators import plain_domain
from trtfuse.ir.protos import tensors
from trtfuse.ir.tensor import StoredTensor, type_name
from trtfuse.model.claims import settle_claims
from trtfuse.model.fixed import Fixed, ShapesLike, fix_shapes, read_shapes
from trtfuse.model.model import Model
from trtfuse.progress import Progress, staged
from trtfuse.result.inspection import Inspection, Port, Weights
from trtfuse.result.report import Census
from trtfuse.run import running


@nothing_else_raised
def inspect(
    model: ModelLike, *, shapes: ShapesLike | None = None, progress: Progress | None = None
) -> Inspection:
    """Says what a model is made of, and what TensorRT cannot take of it.

    Where TensorRT is installed its parser is asked, in a process of its own, and nothing is built;
    else the tables of this package say what TensorRT is known not to have.

    Args:
        model: as in `fuse`; never modified.
        shapes: sizes of inputs to fix first, as in `fuse`.
        progress: called with "read" or "ask", how much of it is done, and of how much.

    Raises:
        ModelError: the model cannot be read or is not valid.
        UsageError: a shape fits no input.
    """
    path = Path(model) if isinstance(model, (str, Path)) else None
    with running():
        if progress is not None:
            progress("read", 0, 1)
        read = _static(read_model(model, staged(progress, "read")), read_shapes(shapes))
        if progress is not None:
            progress("ask", 0, 1)
        proto, census = read.proto, Census.of(read)
        said = objections(read, "the model" if path is None else f"'{path}'")
        return Inspection(
            model=str(path) if path is not None else proto.graph.name,
            producer=f"{proto.producer_name} {proto.producer_version}".strip(),
            ir_version=proto.ir_version,
            opsets={plain_domain(each.domain): each.version for each in proto.opset_import},
            file=None if path is None else path.stat().st_size,
            inputs=[_port(info) for info in inputs(proto)],
            outputs=[_port(info) for info in proto.graph.output],
            weights=_weights(read, proto),
            nodes=census.nodes,
            operators=census.operators,
            functions=len(proto.functions),
            asked=said.asked,
            unsupported=said.nodes,
            reason=said.reason,
            notes=list(read.notes),
        )


def _static(model: Model, fixed: Fixed) -> Model:
    """The model with sizes of its inputs fixed, and all others stated that follow from them."""
    if not fix_shapes(model, fixed):
        return model
    written = model.to_proto()
    settle_claims(model, written, correct=True, static=True)
    static = Model(written, model.folder)
    static.notes = model.notes
    return static


def _port(info: ValueInfoProto) -> Port:
    element, shape = type_and_shape(info.type)
    return Port(
        info.name,
        _called(info.type) if element is None else type_name(element),
        None if shape is None else list(shape),
    )


def _called(kind: TypeProto) -> str:
    """What a type is that is not a tensor of a type that ONNX has."""
    which = kind.WhichOneof("value")
    if which is None or which == "tensor_type":
        return "undefined"
    return str(which).removesuffix("_type")


def _weights(model: Model, proto: ModelProto) -> Weights:
    stored = [StoredTensor(tensor, model.folder) for tensor in tensors(proto)]
    types: Counter[str] = Counter()
    for tensor in stored:
        types[type_name(tensor.type)] += tensor.nbytes
    return Weights(
        len(stored),
        sum(tensor.size for tensor in stored),
        types.total(),
        sum(tensor.nbytes for tensor in stored if tensor.external),
        dict(types.most_common()),
    )
