"""What TensorRT is known not to have, where it is not installed and cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.engine.mistaken import beyond_rank
from trtfuse.engine.parse import ADVICE, DOMAIN_ADVICE, OTHERWISE, TYPES, inputs
from trtfuse.engine.unsupported import called, exported_from, label, nodes_of
from trtfuse.errors import Unsupported
from trtfuse.ir.operators import DEFAULT
from trtfuse.ir.tensor import type_name
from trtfuse.model.model import Model

#: The operators of ONNX that the parser of TensorRT for RTX 1.7 says it does not support.
MISSING = frozenset(
    (
        *("AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot"),
        *("BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "Compress"),
        *("ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "DeformConv", "Det"),
        *("DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool"),
        *("MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "Optional"),
        *("OptionalGetElement", "OptionalHasElement", "QLinearConv", "QLinearMatMul"),
        *("RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
        *("SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
        *("SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer"),
        *("StringSplit", "SwiGLU", "TfIdfVectorizer", "Unique"),
    )
)

_NO_OPERATOR = "TensorRT has no such operator"
_NO_TYPE = "cast it outside the engine"


def missing(model: Model) -> Iterator[Unsupported]:
    """The inputs and nodes that TensorRT cannot take, as far as that is known without it."""
    proto = model.proto
    for value in inputs(proto):
        tensor = value.type.WhichOneof("value") == "tensor_type"
        element = value.type.tensor_type.elem_type
        if not tensor:
            because = "it is not a tensor, and TensorRT has no other types"
            yield Unsupported("input", value.name, because, "pass tensors instead")
        elif element not in TYPES:
            because = f"TensorRT does not have the type {type_name(element)}"
            yield Unsupported("input", value.name, because, _NO_TYPE)
    yield from beyond_rank(model, {})
    functions = {(f.domain, f.name) for f in proto.functions}
    for node, place in nodes_of(proto):
        if (node.domain, node.op_type) in functions:
            continue
        origin = place or exported_from(node)
        if node.domain not in DEFAULT:
            because = f"{_NO_OPERATOR}; it takes a plugin of this name"
            advice = DOMAIN_ADVICE.get(node.domain) or OTHERWISE
        elif node.op_type in MISSING:
            because, advice = _NO_OPERATOR, ADVICE.get(node.op_type) or OTHERWISE
        else:
            continue
        yield Unsupported(called(node.domain, node.op_type), label(node), because, advice, origin)
