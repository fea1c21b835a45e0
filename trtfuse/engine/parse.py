"""What TensorRT's ONNX parser cannot take, and what it takes for something else.

The parser goes by the name of an operator and ignores its domain; it takes empty files, unknown
opsets and inputs without a shape without a word. All of that is found before it runs. What it
refuses itself is put in words here, every node of it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import EncodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, defs

from trtfuse.engine.backend import Backend
from trtfuse.engine.log import Log, plain
from trtfuse.errors import EngineError

#: How many nodes of a kind the message names; `EngineError.unsupported` has them all.
_NAMED = 5

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


@dataclass(frozen=True)
class Unsupported:
    """A node that TensorRT cannot take.

    Attributes:
        operator: with its domain, like `com.microsoft.FusedConv`.
        name: of the node; where it has none, its first output.
        because: what is wrong with it.
        advice: what to do about it.
        origin: where it came from, as far as is known: the nodes that it was fused from, the
            function or body that it is in, the line of the program that was exported.
    """

    operator: str
    name: str
    because: str
    advice: str
    origin: str = ""

    def __str__(self) -> str:
        """The node in one line."""
        return f"{self.operator} {self._named}: {self.because}; {self.advice}"

    @property
    def _named(self) -> str:
        return f"'{self.name}' ({self.origin})" if self.origin else f"'{self.name}'"


def listed(nodes: Iterable[Unsupported]) -> str:
    """Nodes in one line: those with the same trouble together, at most five of them by name."""
    groups: defaultdict[tuple[str, str], list[Unsupported]] = defaultdict(list)
    for node in nodes:
        groups[node.because, node.advice].append(node)
    parts = []
    for (because, advice), members in groups.items():
        named, operator = [], ""
        for node in members[:_NAMED]:
            named.append(
                f"{node.operator} {node._named}" if node.operator != operator else node._named
            )
            operator = node.operator
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        parts.append(f"{', '.join(named)}{more}: {because}; {advice}")
    return " | ".join(parts)


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
    _refuse(backend, where, _mistaken(model, parser, origins))
    if backend.rtx:
        _refuse(backend, where, _crashing(model, origins))
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


def nodes_of(model: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    """Every node of a model, those in bodies and functions too, each with where it is."""
    pending: list[tuple[Iterable[NodeProto], str]] = [(model.graph.node, "")]
    pending += [(f.node, f"in function {_called(f.domain, f.name)}") for f in model.functions]
    while pending:
        nodes, place = pending.pop(0)
        for node in nodes:
            yield node, place
            for attribute in node.attribute:
                graphs = (
                    [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
                )
                inside = f"in {attribute.name} of {node.op_type} '{label(node)}'"
                pending += [(graph.node, inside) for graph in graphs]


def label(node: NodeProto) -> str:
    """The name of a node, or its first output."""
    return node.name or next((name for name in node.output if name), "")


def _called(domain: str, name: str) -> str:
    return name if domain in ("", "ai.onnx") else f"{domain}.{name}"


def _mistaken(model: ModelProto, parser: Any, origins: Mapping[str, str]) -> Iterator[Unsupported]:
    """The nodes that the parser would take for another operator, since it ignores domains."""
    standard = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    names = Counter(name for _, name, _ in functions)
    for node, place in nodes_of(model):
        domain, operator = node.domain, node.op_type
        function = functions.get((domain, operator, node.overload))
        origin = origins.get(label(node)) or place or _exported_from(node)

        def trouble(because: str, advice: str) -> Unsupported:
            return Unsupported(_called(domain, operator), label(node), because, advice, origin)  # noqa: B023

        if function is not None:
            if parser.supports_operator(operator):
                yield trouble(
                    "it goes by the name alone and takes this function for the operator "
                    f"{operator}",
                    "give the function a name of its own, or inline it",
                )
            elif names[operator] > 1:
                yield trouble(
                    f"it goes by the name alone and mixes up {names[operator]} functions "
                    "of this name",
                    "give each a name of its own, or inline them",
                )
            given = {attribute.name for attribute in node.attribute}
            for attribute in function.attribute:
                if attribute not in given:
                    yield trouble(
                        f"it takes the attribute {attribute}, which is left out, for 0",
                        "write it on the node, or inline the function",
                    )
        elif (
            domain not in ("", "ai.onnx")
            and operator in standard
            and parser.supports_operator(operator)
        ):
            yield trouble(
                f"it ignores the domain and takes this for the ONNX operator {operator}",
                "use the ONNX operator if that is what is meant, else run it outside",
            )


def _crashing(model: ModelProto, origins: Mapping[str, str]) -> Iterator[Unsupported]:
    """The nodes at which TensorRT for RTX (1.7.1) ends the whole process instead of failing."""
    same = {n.output[0]: n.input[0] for n, _ in nodes_of(model) if n.op_type == "Identity"}

    def source(name: str) -> str:
        passed = set()
        # Functions may use each other's names, so that this could go round in a circle.
        while name in same and name not in passed:
            passed.add(name)
            name = same[name]
        return name

    for node, place in nodes_of(model):
        attention = node.op_type == "Attention" and node.domain in ("", "ai.onnx")
        if attention and source(node.input[0]) == source(node.input[1]):
            yield Unsupported(
                "Attention",
                label(node),
                "it crashes where query and key are one tensor",
                "spell it out with MatMul and Softmax",
                origins.get(label(node)) or place or _exported_from(node),
            )


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
            origin = origins.get(name) or _exported_from(node)
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
        yield Unsupported(_called(domain, operator), name, because, advice, origin)


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


def _exported_from(node: NodeProto) -> str:
    """The line of the program that a node was exported from, as PyTorch's exporter notes it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.stack_trace":
            lines = re.findall(r'File "([^"]*)", line (\d+)', entry.value)
            if lines:
                return f"from {lines[-1][0]}:{lines[-1][1]}"
    for entry in node.metadata_props:
        if entry.key == "namespace" and entry.value:
            return f"from {entry.value}"
    return ""
