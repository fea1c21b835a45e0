"""What a file claims about computed values, held against what follows from its inputs.

Runtimes do not hold a model to the shapes that it declares for computed values: exporters write a
batch of 0, and what was true for one size stays when the inputs are made dynamic. Rules never see
such claims (`trtfuse.analysis.shapes`). In the result they are corrected, since a claim that did no
harm in the original may keep a runtime from loading a smaller graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx import FunctionProto, GraphProto, ModelProto, ValueInfoProto, helper

from trtfuse.analysis.shapes import (
    contradiction,
    declared_symbols,
    graphs_in,
    misfit,
    type_and_shape,
    without_weights,
)
from trtfuse.analysis.wording import shown
from trtfuse.ir.graph import Dimension, Graph, Shape, Value
from trtfuse.model.fixed import state_shape
from trtfuse.model.model import Model

#: The largest size that a file can state.
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True)
class Claim:
    """A shape that a model declares for a computed value.

    Attributes:
        info: where it is declared.
        claimed: the shape; None for a size that is 0 or negative where none is known to be.
        known: what is known of it; None for what is not, and for symbols that no input has.
        zero: whether it has sizes written as 0 or less that stand for unknown ones.
        wrong: whether it contradicts what is known.
    """

    info: ValueInfoProto
    claimed: Shape
    known: Shape | None
    zero: bool
    wrong: bool

    @property
    def name(self) -> str:
        """The name of the value."""
        return self.info.name

    def correct(self, doubtful: bool) -> None:
        """Declares what is known in its place.

        Args:
            doubtful: whether to leave open what is not known, rather than to keep it.
        """
        shape = self.known
        if shape is None:
            # Without a rank ONNX's checker would not take it.
            shape = (None,) * len(self.claimed) if doubtful else self.claimed
        elif not self.wrong and not doubtful:
            shape = tuple(
                claimed if known is None else known
                for known, claimed in zip(shape, self.claimed, strict=True)
            )
        element_type = self.info.type.tensor_type.elem_type
        self.info.type.CopyFrom(helper.make_tensor_type_proto(element_type, shape))


def settle_claims(
    model: Model, proto: ModelProto, *, correct: bool, static: bool = False
) -> str | None:
    """Looks for claims that contradict what is known.

    Where one does, the file was changed after its shapes were written. Then those that nothing
    confirms are left open as well, and those of which not even the rank is known go.

    Args:
        model: what is known.
        proto: the same model as it was written.
        correct: whether to correct what is wrong in `proto`.
        static: whether to state all sizes that are known, since inputs were fixed.

    Returns:
        A sentence about what is wrong, or None.
    """
    claims = list(_claims(model, proto))
    wrong = [claim for claim in claims if claim.wrong]
    if correct:
        for claim in claims:
            if claim.wrong or claim.zero or wrong or static:
                claim.correct(doubtful=bool(wrong))
        if static:
            symbols = declared_symbols(proto)
            for value, info in zip(model.graph.outputs, proto.graph.output, strict=True):
                tensor = info.type.tensor_type
                if tensor.elem_type and not tensor.HasField("shape") and value.shape is not None:
                    state_shape(info, _stated(value.shape, symbols))
        unknown = {id(claim.info) for claim in claims if claim.known is None} if wrong else set()
        for _, written in _graphs(model, proto):
            kept = [
                info
                for info in written.value_info
                if id(info) not in unknown and not _is_untyped(info)
            ]
            if len(kept) < len(written.value_info):
                copied = [ValueInfoProto.FromString(i.SerializeToString()) for i in kept]
                del written.value_info[:]
                written.value_info.extend(copied)
    if not wrong:
        return None
    first = wrong[0]
    return (
        f"the model declares `{first.name}` as {shown(first.claimed)}, and its inputs make it "
        f"{shown(first.known or ())}"
        + (f"; {len(wrong) - 1} more declared shapes are wrong" if len(wrong) > 1 else "")
    )


def refusal(model: Model) -> str | None:
    """Why no runtime would load a model that was rewritten, in one line; None if nothing is wrong.

    With more constants and fewer nodes, inference sees more of what does not fit: in a branch that
    never runs, for one. Inside bodies it holds the model to claims, which are not all settled.
    """
    if model.misfit is not None or all(graph.owner is None for graph in model.graphs()):
        return model.misfit
    lean = without_weights(model)
    settle_claims(model, lean, correct=True)
    return misfit(lean)


def refused_already(model: Model) -> bool:
    """Whether no runtime would load a model as it came.

    One that follows no numbers sees less than inference does here, and false claims may keep it
    from seeing that.
    """
    if contradiction(model, propagates=False) is None:
        return False
    return settle_claims(model, without_weights(model), correct=False) is None


def _is_untyped(info: ValueInfoProto) -> bool:
    """Whether it declares a tensor of no type, which ONNX's checker takes of some values only."""
    return info.type.HasField("tensor_type") and not info.type.tensor_type.elem_type


def _claims(model: Model, proto: ModelProto) -> Iterator[Claim]:
    symbols = declared_symbols(proto)
    for graph, written in _graphs(model, proto):
        infos = list(written.value_info)
        if isinstance(written, GraphProto):
            infos += [*written.output, *(written.input if graph.owner is not None else ())]
        if not any(info.type.tensor_type.HasField("shape") for info in infos):
            continue
        values = _by_name(graph)
        for info in infos:
            value = values.get(info.name)
            claim = None if value is None else _claim(info, value, symbols, model.fixed)
            if claim is not None:
                yield claim


def _graphs(model: Model, proto: ModelProto) -> Iterator[tuple[Graph, GraphProto | FunctionProto]]:
    pending: list[tuple[Graph, GraphProto | FunctionProto]] = [(model.graph, proto.graph)]
    pending.extend(zip(model.functions, proto.functions, strict=True))
    while pending:
        graph, written = pending.pop()
        yield graph, written
        pending.extend(graphs_in(graph, written))


def _by_name(graph: Graph) -> dict[str, Value]:
    values = [*graph.inputs, *graph.initializers, *graph.captures.values()]
    values += [value for node in graph.nodes() for value in node.outputs if value is not None]
    return {value.name: value for value in values}


def _stated(shape: Shape, symbols: set[str]) -> Shape:
    """What a file can state of a shape: symbols of inputs, and sizes that are not too large."""
    return tuple(
        size if (isinstance(size, int) and size <= _LARGEST) or size in symbols else None
        for size in shape
    )


def _claim(
    info: ValueInfoProto, value: Value, symbols: set[str], fixed: Mapping[str, int]
) -> Claim | None:
    if not info.type.tensor_type.HasField("shape"):
        return None
    written = [
        dim.dim_value
        if dim.HasField("dim_value")
        else fixed.get(dim.dim_param, dim.dim_param) or None
        for dim in info.type.tensor_type.shape.dim
    ]
    known = value.shape and _stated(value.shape, symbols)
    if known is not None and len(known) != len(written):
        return Claim(info, type_and_shape(info.type)[1] or (), known, zero=False, wrong=True)
    claimed: list[Dimension] = []
    zero = wrong = False
    for size, claim in zip(known or (None,) * len(written), written, strict=True):
        if isinstance(claim, int) and claim <= 0 and claim != size:
            claimed.append(None)
            zero = True
            continue
        claimed.append(claim)
        specific = isinstance(claim, int) or claim in symbols
        wrong |= size is not None and specific and claim != size
    return Claim(info, tuple(claimed), known, zero, wrong)
