"""What TensorRT's parser is given, and what it refuses, in words.

The parser takes unknown opsets, and more (`mistaken`), without a word. That is found before it
runs. What it refuses itself is put in words, every node of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto, ValueInfoProto, defs

from trtfuse.engine.backend import Backend
from trtfuse.engine.mistaken import crashing
from trtfuse.engine.native.log import Log, plain
from trtfuse.engine.native.session import ParserError
from trtfuse.engine.unsupported import called, exported_from, label, listed, nodes_of
from trtfuse.errors import EngineError, Unsupported
from trtfuse.ir.operators import DEFAULT

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
OTHERWISE = "spell it with operators that TensorRT has, or run it outside the engine"

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


def prepared(backend: Backend, model: ModelProto, where: str, origins: Mapping[str, str]) -> bytes:
    """The message that TensorRT's parser gets, of a model that it can be given.

    Args:
        backend: whose parser it is.
        model: what to build.
        where: the model for messages, like `'model.onnx'`.
        origins: for names of nodes, what they were fused from.

    Raises:
        EngineError: TensorRT cannot take the model, or would crash.
    """
    _check_versions(model, where)
    _check_inputs(backend, model, where)
    if backend.rtx:
        refuse(backend, where, crashing(model, origins))
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError):
        raise EngineError(
            f"{where} is larger than 2 GiB in one piece; save it with external data and pass "
            "its path"
        ) from None


def refusal(
    backend: Backend,
    model: ModelProto,
    errors: Sequence[ParserError],
    log: Log,
    where: str,
    origins: Mapping[str, str],
) -> EngineError:
    """Why the parser did not take a model, every node of it.

    Args:
        backend: whose parser it is.
        model: what to build.
        errors: what the parser said.
        log: what TensorRT said besides.
        where: the model for messages, like `'model.onnx'`.
        origins: for names of nodes, what they were fused from.
    """
    nodes = list(dict.fromkeys(_refused(backend, model, errors, origins)))
    if nodes:
        return _cannot_take(backend, where, nodes)
    for tensor in model.graph.initializer:
        if tensor.data_type not in TYPES:
            return EngineError(
                f"weights '{tensor.name}' of {where} have the type {_type(tensor.data_type)}, "
                f"which {backend.title} does not have; store them in another one"
            )
    said = [_reason(error.text) for error in errors]
    reason = said[-1] if said else log.reason() or "the parser made nothing of it"
    return EngineError(f"{backend.title} cannot read {where}: {reason}")


def refuse(backend: Backend, where: str, unsupported: Iterable[Unsupported]) -> None:
    """Refuses a model for the sake of some nodes, if there are any.

    Raises:
        EngineError: there are.
    """
    nodes = list(dict.fromkeys(unsupported))
    if nodes:
        raise _cannot_take(backend, where, nodes)


def _cannot_take(backend: Backend, where: str, nodes: list[Unsupported]) -> EngineError:
    count = "a node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return EngineError(f"{backend.title} cannot take {count} of {where}: {listed(nodes)}", nodes)


def _check_versions(model: ModelProto, where: str) -> None:
    """The parser takes any opset; the checker lets an unknown one pass, too."""
    known = defs.onnx_opset_version()
    for imported in (*model.opset_import, *(i for f in model.functions for i in f.opset_import)):
        if imported.domain in DEFAULT and not 0 < imported.version <= known:
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
                f"{which} is not a tensor but a {held}, which {backend.title} does not have; "
                "pass tensors instead"
            )
        element = value.type.tensor_type.elem_type
        if element not in TYPES:
            raise EngineError(
                f"{which} has the type {_type(element)}, which {backend.title} does not have; "
                "cast it outside the engine"
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
    backend: Backend,
    model: ModelProto,
    errors: Iterable[ParserError],
    origins: Mapping[str, str],
) -> Iterator[Unsupported]:
    """The nodes that the parser names in its errors."""
    for error in errors:
        index, operator, name, domain, origin = error.index, error.operator, error.name, "", ""
        if not operator:
            continue
        if error.functions:
            # The innermost comes last.
            origin = "in " + ", in ".join(reversed(error.functions))
            domain = _domain(model, operator, name)
        elif 0 <= index < len(model.graph.node) and model.graph.node[index].op_type == operator:
            node = model.graph.node[index]
            domain, name = node.domain, label(node)
            origin = origins.get(name) or exported_from(node)
        # The parser has no codes for what it misses: only the words of its message tell.
        because = _reason(error.text).removeprefix(f"{name}: ")
        advice = "change the node, or run it outside the engine"
        if because in ("", "false") or "Plugin not found" in because:
            because = "it has no such operator"
            if domain not in DEFAULT:
                plugin = "and no plugins" if backend.rtx else "and no plugin of this name is loaded"
                because = f"{because} {plugin}"
            advice = DOMAIN_ADVICE.get(domain) or ADVICE.get(operator, OTHERWISE)
        elif "plugin" in because and backend.rtx:
            because = "it takes a plugin, and there are none"
            advice = OTHERWISE
        yield Unsupported(called(domain, operator), name, because, advice, origin)


def _domain(model: ModelProto, operator: str, name: str) -> str:
    """The domain of the nodes of this operator and name; empty if they do not share one."""
    domains = {n.domain for n, _ in nodes_of(model) if n.op_type == operator and n.name == name}
    return domains.pop() if len(domains) == 1 else ""


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
