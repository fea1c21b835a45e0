"""A model becomes a network of TensorRT, or an error that says what is in the way.

TensorRT's ONNX parser takes unknown opsets, and more (`mistaken`), without a word. That is found
before it runs. What it refuses itself is put in words, every node of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto, ValueInfoProto, defs

from trtfuse.engine.backend import Backend
from trtfuse.engine.log import Log, plain
from trtfuse.engine.mistaken import crashing, mistaken
from trtfuse.engine.unsupported import Unsupported, called, exported_from, label, listed, nodes_of
from trtfuse.errors import EngineError

#: The element types that TensorRT has.
TYPES = frozenset(
    getattr(TensorProto, name)
    for name in (
        *("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "INT32", "INT64", "BOOL", "UINT8"),
        *("FLOAT8E4M3FN", "INT4", "FLOAT4E2M1"),
    )
    if hasattr(TensorProto, name)
)

_QUANTIZED = "quantize it with QuantizeLinear and DequantizeLinear instead"
_SEQUENCE = "TensorRT has no sequences: use Split, Concat and Gather on tensors"
_STRING = "TensorRT has no strings: do this before the engine"
_BITS = "compute it in integers with Mul, Div and Mod, or outside the engine"
_OTHERWISE = "spell it with operators that TensorRT has, or run it outside the engine"

#: What to do about an operator that TensorRT does not have.
ADVICE = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"), _QUANTIZED),
    "DynamicQuantizeLinear": _QUANTIZED,
    **dict.fromkeys(("SequenceConstruct", "SequenceEmpty", "SequenceAt"), _SEQUENCE),
    **dict.fromkeys(("SequenceInsert", "SequenceErase", "SequenceLength"), _SEQUENCE),
    **dict.fromkeys(("SequenceMap", "SplitToSequence", "ConcatFromSequence"), _SEQUENCE),
    **dict.fromkeys(("StringConcat", "StringSplit", "StringNormalizer"), _STRING),
    **dict.fromkeys(("RegexFullMatch", "TfIdfVectorizer"), _STRING),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"), _BITS),
}
#: The same for operators of a domain.
DOMAIN_ADVICE = {
    "com.microsoft": "ONNX Runtime's optimizer makes it: export again without, or at level basic",
    "ai.onnx.ml": "run it outside the engine",
}


def parse(
    backend: Backend,
    network: Any,
    parser: Any,
    model: ModelProto,
    log: Log,
    *,
    folder: Path | None,
    where: str,
    origins: Mapping[str, str],
) -> None:
    """Reads a model into a network.

    Args:
        backend: whose network and parser these are.
        network: of TensorRT, empty.
        parser: of TensorRT, made for the network.
        model: valid ONNX (`trtfuse.ir.model.read_model`).
        log: the log that TensorRT's logger writes to.
        folder: where external data is; None if there is no telling.
        where: the model for messages, like `'model.onnx'`.
        origins: for names of nodes, what they were fused from.

    Raises:
        EngineError: TensorRT cannot take the model, or would take it for another.
    """
    _check_versions(model, where)
    _check_inputs(backend, model, where)
    _refuse(backend, where, mistaken(model, parser, origins))
    if backend.rtx:
        _refuse(backend, where, crashing(model, origins))
    try:
        message = model.SerializeToString()
    except (EncodeError, ValueError):
        raise EngineError(
            f"{where} is larger than 2 GiB in one piece; save it with external data and pass "
            "its path"
        ) from None
    taken = parser.parse(message, None if folder is None else f"{folder}/")
    if taken and parser.num_errors == 0 and network.num_layers > 0:
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    _refuse(backend, where, _refused(backend, model, errors, origins))
    _check_weights(backend, model, where)
    said = [_reason(error.desc()) for error in errors]
    reason = said[-1] if said else log.reason() or "the parser made nothing of it"
    raise EngineError(f"{backend.title} cannot read {where}: {reason}")


def _refuse(backend: Backend, where: str, found: Iterable[Unsupported]) -> None:
    nodes = list(dict.fromkeys(found))
    if nodes:
        count = "a node" if len(nodes) == 1 else f"{len(nodes)} nodes"
        raise EngineError(f"{backend.title} cannot take {count} of {where}: {listed(nodes)}", nodes)


def _check_versions(model: ModelProto, where: str) -> None:
    """The parser takes any opset; the checker lets an unknown one pass, too."""
    known = defs.onnx_opset_version()
    for imported in (*model.opset_import, *(i for f in model.functions for i in f.opset_import)):
        if imported.domain in ("", "ai.onnx") and not 0 < imported.version <= known:
            raise EngineError(
                f"{where} asks for opset {imported.version} of ONNX, which is not known here "
                f"(1 to {known} are); export it for one of these"
            )


def _check_inputs(backend: Backend, model: ModelProto, where: str) -> None:
    for value in inputs(model):
        which = f"input '{value.name}' of {where}"
        if not value.type.HasField("tensor_type"):
            held = (value.type.WhichOneof("value") or "no type").removesuffix("_type")
            raise EngineError(
                f"{which} is no tensor but a {held}, which {backend.title} does not have; "
                "pass tensors instead"
            )
        element = value.type.tensor_type.elem_type
        if element not in TYPES:
            raise EngineError(
                f"{which} has the type {_type(element)}, which {backend.title} does not have; "
                "cast it outside the engine"
            )


def _check_weights(backend: Backend, model: ModelProto, where: str) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type not in TYPES:
            raise EngineError(
                f"weights '{tensor.name}' of {where} have the type {_type(tensor.data_type)}, "
                f"which {backend.title} does not have; store them in another one"
            )


def inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs of a model that are no constants: IR versions below 4 list those, too."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constant]


def _type(element: int) -> str:
    return str(TensorProto.DataType.Name(element)).lower() if element else "undefined"


def dims(value: ValueInfoProto) -> list[int | str] | None:
    """The sizes of an input, those that vary by their symbol or as `?`; None if not even a rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or "?"
        for dim in tensor.shape.dim
    ]


def _refused(
    backend: Backend, model: ModelProto, errors: Iterable[Any], origins: Mapping[str, str]
) -> Iterator[Unsupported]:
    """The nodes that the parser names in its errors."""
    for error in errors:
        index, stack = error.node(), list(error.local_function_stack())
        operator, name, domain, origin = error.node_operator(), error.node_name(), "", ""
        if not operator:
            continue
        if stack:
            # The innermost comes last.
            origin = "in " + ", in ".join(reversed(stack))
            domain = _domain(model, operator, name)
        elif 0 <= index < len(model.graph.node) and model.graph.node[index].op_type == operator:
            node = model.graph.node[index]
            domain, name = node.domain, label(node)
            origin = origins.get(name) or exported_from(node)
        because = _reason(error.desc()).removeprefix(f"{name}: ")
        advice = "change the node, or run it outside the engine"
        if because in ("", "false") or "Plugin not found" in because:
            because = "it has no such operator"
            if domain not in ("", "ai.onnx"):
                plugin = "and no plugins" if backend.rtx else "and no plugin of this name is loaded"
                because = f"{because} {plugin}"
            advice = DOMAIN_ADVICE.get(domain) or ADVICE.get(operator, _OTHERWISE)
        elif "plugin" in because and backend.rtx:
            because = "it takes a plugin, and there are none"
            advice = _OTHERWISE
        yield Unsupported(called(domain, operator), name, because, advice, origin)


def _domain(model: ModelProto, operator: str, name: str) -> str:
    """The domain of a node inside a function or body, found by operator and name."""
    found = {n.domain for n, _ in nodes_of(model) if n.op_type == operator and n.name == name}
    return found.pop() if len(found) == 1 else ""


def _reason(desc: str) -> str:
    """What the parser says in words, without the C++ condition that failed."""
    quoted = re.findall(r'&& "(.*?)"', desc, re.DOTALL)
    if quoted:
        return plain(quoted[-1])
    _, asserted, rest = desc.partition("Assertion failed: ")
    condition, colon, words = rest.partition(": ")
    if asserted:
        return plain(words if colon else f"this does not hold: {condition}")
    return plain(desc)
