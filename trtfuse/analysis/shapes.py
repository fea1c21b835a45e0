"""Shapes and types of all values, from ONNX's own shape inference.

Inference runs on a copy of the model without its large weights, which it has no use for; small
constants stay, since Reshape, Slice and their like need the numbers. What a file says of computed
values is not in the copy either: runtimes do not hold a model to it, so it may be stale or wrong.
The shapes of inputs are a contract; all others follow from these and from constants.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from trtfuse.analysis.symbols import settle_symbols
from trtfuse.errors import one_line
from trtfuse.ir.functions import function_called
from trtfuse.ir.graph import (
    Dimension,
    Graph,
    Node,
    Shape,
    Value,
    WholeModel,
    bodies_in,
    copy_fields,
)
from trtfuse.ir.operators import DEFAULT, plain_domain
from trtfuse.ir.tensor import FLOATING, StoredTensor

#: What is known of a value: its element type and its shape.
Known = tuple[int | None, Shape | None]

#: The element types of ONNX.
_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}

#: How many times inference goes over a graph while ranks are missing.
_PASSES = 4

#: The opset whose Slice inference gets wrong.
_WRONG_SLICE = 10
#: The first opset at which inference reads axes right; of which opset, and in which domain, is what
#: stands in before it.
_ANY_AXES = 11
_LATER_OPSET = 12
_LATER = "trtfuse.later"

#: What inference raises. It makes constants without asking whether they are too large.
_INFERENCE_FAILS = (
    RuntimeError,
    ValueError,
    MemoryError,
    onnx.shape_inference.InferenceError,
)

#: Vectors of more elements than this hold no sizes or axes.
_LONGEST = 1 << 16

#: The operators that have bodies.
_OWNERS = ("If", "Loop", "Scan", "SequenceMap")

#: The largest version that schemas are looked up for.
_MOST = (1 << 31) - 1

#: Constants of more elements than this are left out; no shape is made of that many numbers. Of
#: floating ones, inference needs the scales and the region of a Resize, at most.
LARGEST_LIST = 256
_LARGEST_SCALES = 16


def infer_shapes(model: WholeModel) -> bool:
    """Tells every value of a model what inference finds; whether that changes any."""
    lean = without_weights(model)
    declared = declared_symbols(lean)
    changed, model.misfit = _infer(model.graph, lean, declared)
    for function, inputs in _called_with(model):
        # What inference made up around a call is as passing as what it makes up inside.
        again, wrong = _infer(function, _as_model(function, inputs), declared)
        changed, model.misfit = changed or again, model.misfit or wrong
    return changed


def contradiction(model: WholeModel, *, propagates: bool = True) -> str | None:
    """What inference finds wrong with the nodes of a model, in one line.

    Shape inference itself goes on after such a node, so ask only when something has gone wrong.
    """
    lean = without_weights(model)
    functions = (_as_model(function, inputs) for function, inputs in _called_with(model))
    for proto in itertools.chain([lean], functions):
        _prepare(proto)
        if (wrong := misfit(proto, propagates=propagates)) is not None:
            return wrong
    return None


def misfit(lean: ModelProto, *, propagates: bool = True) -> str | None:
    """Which node does not fit those around it, or what the model claims; in one line.

    Args:
        lean: the model without its weights.
        propagates: whether numbers are followed, and not only shapes.
    """
    data_prop = propagates and _may_propagate(lean)
    try:
        onnx.shape_inference.infer_shapes(
            lean, check_type=True, strict_mode=True, data_prop=data_prop
        )
    except _INFERENCE_FAILS as error:
        return one_line(error)
    return None


def _prepare(lean: ModelProto) -> None:
    """Leaves out what inference should not believe, and spells out what it gets wrong."""
    without_claims(lean)
    _spell_as_later(lean)


def _infer(main: Graph, lean: ModelProto, declared: set[str]) -> tuple[bool, str | None]:
    """Tells every value what inference finds; whether that changes any, and what does not fit."""
    before = [(value, value.known) for graph in main.walk() for value in _values(graph)]
    _prepare(lean)
    propagates = _may_propagate(lean)
    wrong: str | None = None
    for _ in range(_PASSES):
        try:
            inferred, wrong = _inferred(lean, propagates)
        except _INFERENCE_FAILS:
            # Of a model that inference chokes on, the inputs are known and nothing else.
            inferred = lean
        settle_symbols(main, _tell_all(main, inferred.graph, declared))
        # With the ranks that it missed, inference gets further.
        missed = _missed(main, inferred.graph)
        if not missed:
            break
        for value in missed:
            element_type, shape = value.known
            assert element_type is not None
            info = helper.make_tensor_value_info(value.name, element_type, shape)
            lean.graph.value_info.append(info)
    return any(value.known != known for value, known in before), wrong


def _may_propagate(lean: ModelProto) -> bool:
    """Whether inference may follow numbers through a graph, and not only shapes.

    It makes a list of as many entries as any vector has elements, and ends the process where the
    step of a Slice takes it beyond what 32 bits hold.
    """
    infos = (info.type.tensor_type.shape.dim for info in lean.graph.input)
    vectors = (dims[0].dim_value for dims in infos if len(dims) == 1)
    return (
        all(count <= _LONGEST for count in vectors)
        and not _runs_far(lean.graph)
        and not any(_runs_far(function) for function in lean.functions)
    )


def _runs_far(graph: GraphProto | FunctionProto) -> bool:
    """Whether a Range of constants makes many numbers, or a Slice has a large step."""
    nodes = list(_nodes_within(graph.node))
    telling = [node for node in nodes if node.op_type in ("Range", "Slice")]
    if not telling:
        return False
    constants = {
        node.output[0]: node.attribute[0].t
        for node in nodes
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t")
    }
    for body in (graph, *_all_bodies(nodes)):
        if isinstance(body, GraphProto):
            constants.update((tensor.name, tensor) for tensor in body.initializer)

    def number(name: str) -> float:
        tensor = constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or 0 in tensor.dims:
            return math.nan
        return float(numpy_helper.to_array(tensor).reshape(-1)[0])

    for node in telling:
        numbers = [number(name) for name in node.input]
        if node.op_type == "Slice" and len(numbers) > 4 and abs(numbers[4]) > _LONGEST:
            return True
        if node.op_type == "Range" and len(numbers) == 3:
            first, last, step = numbers
            if step == 0 or abs((last - first) / step) > _LONGEST:
                return True
    return False


def _nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those in their bodies."""
    for node in nodes:
        yield node
        if node.op_type in _OWNERS:
            for body in _all_bodies([node]):
                yield from _nodes_within(body.node)


def _inferred(lean: ModelProto, propagates: bool) -> tuple[ModelProto, str | None]:
    """The model with what inference finds, and why a node does not fit those around it, if so."""
    infer = functools.partial(onnx.shape_inference.infer_shapes, lean)
    if propagates:
        try:
            return infer(data_prop=True, strict_mode=True), None
        except MemoryError:
            pass
        except _INFERENCE_FAILS as error:
            # It goes on behind such a node.
            with contextlib.suppress(MemoryError):
                return infer(data_prop=True), one_line(error)
    try:
        return infer(strict_mode=True), None
    except _INFERENCE_FAILS as error:
        return infer(), one_line(error)


def _missed(graph: Graph, inferred: GraphProto) -> list[Value]:
    """Values whose rank inference missed, and that the graph or an earlier run knows."""
    infos = (*inferred.value_info, *inferred.output, *inferred.input)
    with_rank = {info.name for info in infos if info.type.tensor_type.HasField("shape")}
    return [
        value
        for value in _values(graph)
        if value.name not in with_rank and None not in value.known and value.tensor is None
    ]


def _tell_all(main: Graph, inferred: GraphProto, declared: set[str]) -> dict[str, Dimension]:
    """Tells all values of a graph and its bodies what inference says of them.

    Returns:
        By symbol that inference made up, the size that was known in its place before.
    """
    same: dict[str, Dimension] = {}
    pairs = [(main, inferred)]
    while pairs:
        graph, proto = pairs.pop()
        _tell(graph, proto, declared, same)
        pairs.extend(graphs_in(graph, proto))
    return same


def graphs_in(
    graph: Graph, proto: GraphProto | FunctionProto
) -> Iterator[tuple[Graph, GraphProto]]:
    """The bodies of the nodes of a graph, each with what it was written as."""
    nodes = list(graph.nodes())
    # New constants may be written as nodes in front of the others.
    for node, written in zip(nodes, proto.node[len(proto.node) - len(nodes) :], strict=True):
        if node.bodies:
            bodies = [body for attribute in written.attribute for body in bodies_in(attribute)]
            yield from zip(node.bodies, bodies, strict=True)


def _called_with(model: WholeModel) -> Iterator[tuple[Graph, list[Known]]]:
    """Functions and what is known of their inputs from all calls, callers before the called."""
    calls: dict[str, list[Node]] = {}
    for graph in model.graphs():
        for node in graph.nodes():
            if node.operator.whose == "function":
                calls.setdefault(node.operator.base, []).append(node)
    pending = dict.fromkeys(model.functions)
    while pending:
        ready = []
        for function in pending:
            sites = calls.get(_called(function), [])
            if all(node.graph is None or node.graph.root not in pending for node in sites):
                ready.append((function, sites))
        for function, sites in ready:
            del pending[function]
            if sites and not _refers(function):
                yield function, [_common(sites, i) for i in range(len(function.inputs))]
        if not ready:
            # Functions that call each other in a circle are not valid.
            return


def _called(function: Graph) -> str:
    """What `Operator.base` says of calls of a function."""
    proto = function.function
    assert proto is not None
    return function_called(proto)


def _refers(function: Graph) -> bool:
    """Whether attributes of its nodes are left to the caller; inference would not know them."""
    return any(
        attribute.ref_attr_name
        for graph in function.walk()
        for node in graph.nodes()
        for attribute in node.proto.attribute
    )


def _common(calls: list[Node], index: int) -> Known:
    """What is known of an input in all calls of a function."""
    values = [call.input(index) for call in calls]
    known = [(None, None) if value is None else (value.type, value.shape) for value in values]
    element_type, shape = known[0]
    for other_type, other in known[1:]:
        if other_type != element_type:
            element_type = None
        if shape is not None and other is not None and len(shape) == len(other):
            shape = tuple(a if a == b else None for a, b in zip(shape, other, strict=True))
        else:
            shape = None
    return element_type, shape


def without_claims(lean: ModelProto) -> None:
    """Takes out what a model says of computed values, but for types that nothing else tells."""
    for info in lean.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                # Inference would compute with it.
                dim.Clear()
    local = frozenset((_standard(f.domain), f.name) for f in lean.functions)
    operators = _Operators(lean.opset_import, local)
    _forget_claims(lean.graph, operators)
    for function in lean.functions:
        operators = _Operators(function.opset_import, local)
        _forget_computed(function, operators)
        for body in _all_bodies(function.node):
            _forget_claims(body, operators)


def _forget_claims(graph: GraphProto, operators: _Operators) -> None:
    """Takes the claims out of a graph and the bodies in it."""
    for body in _all_bodies(graph.node):
        for info in body.input:
            # The owner of a body says what goes in, and what a Loop carries may change its shape.
            forget_shape(info.type)
        _forget_claims(body, operators)
    _forget_computed(graph, operators)


def _forget_computed(graph: GraphProto | FunctionProto, operators: _Operators) -> None:
    outputs = graph.output if isinstance(graph, GraphProto) else ()
    if not graph.value_info and not outputs:
        return
    believed = {name for node in graph.node if node not in operators for name in node.output}
    kept = [info for info in graph.value_info if info.name in believed]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for info in outputs:
        if info.name not in believed:
            info.ClearField("type")
    for info in (*graph.value_info, *outputs):
        forget_shape(info.type)


class _Operators:
    """The operators for which inference finds types.

    Others a runtime or a plugin has. It holds the model to the types that are declared for what
    they compute, to the shapes it does not.
    """

    def __init__(
        self, imports: Iterable[OperatorSetIdProto], local: frozenset[tuple[str, str]]
    ) -> None:
        self._versions = {_standard(e.domain): max(0, min(e.version, _MOST)) for e in imports}
        self._local = local
        self._known: dict[tuple[str, str], bool] = {}

    def __contains__(self, node: NodeProto) -> bool:
        operator = _standard(node.domain), node.op_type
        if operator not in self._known:
            self._known[operator] = operator in self._local or self._has_inference(*operator)
        return self._known[operator]

    def _has_inference(self, domain: str, name: str) -> bool:
        try:
            schema = onnx.defs.get_schema(name, self._versions.get(domain, 0), domain)
        except (onnx.defs.SchemaError, TypeError):
            # protobuf gives a string that is not UTF-8 as bytes.
            return False
        return bool(schema.has_type_and_shape_inference_function)


def _standard(domain: str) -> str:
    return plain_domain(domain)


def forget_shape(claimed: TypeProto) -> None:
    """Leaves of a type what it is made of, not its sizes."""
    match claimed.WhichOneof("value"):
        case "tensor_type" | "sparse_tensor_type" as kind:
            getattr(claimed, kind).ClearField("shape")
        case "sequence_type" | "optional_type" as kind:
            forget_shape(getattr(claimed, kind).elem_type)
        case "map_type":
            forget_shape(claimed.map_type.value_type)


def _all_bodies(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    """The graphs in the attributes of some nodes."""
    for node in nodes:
        for attribute in node.attribute:
            yield from _bodies(attribute)


def _spell_as_later(lean: ModelProto) -> None:
    """Writes as calls of functions of a later opset the nodes that inference gets wrong.

    Of a Slice of opset 10 it assumes that an open dimension keeps its size; and before opset 11 it
    misreads negative axes, which runtimes take, and the axes of a Squeeze that are in no order.
    """
    functions: dict[str, FunctionProto] = {}
    _call_later(lean.graph.node, _default_opset(lean.opset_import), functions)
    for function in lean.functions:
        if _call_later(function.node, _default_opset(function.opset_import), functions):
            function.opset_import.append(helper.make_opsetid(_LATER, 1))
    if functions:
        lean.opset_import.append(helper.make_opsetid(_LATER, 1))
        lean.functions.extend(functions.values())


def _default_opset(imports: Iterable[OperatorSetIdProto]) -> int:
    return next((opset.version for opset in imports if opset.domain in DEFAULT), 0)


def _call_later(
    nodes: Iterable[NodeProto], opset: int, functions: dict[str, FunctionProto]
) -> bool:
    """Makes calls of nodes that inference gets wrong; adds what they call; whether there were any.

    Args:
        nodes: those of a graph; the ones in their bodies are looked at too.
        opset: the version of ONNX's operators that they are of.
        functions: by name; added to.
    """
    if not 0 < opset < _ANY_AXES:
        return False
    called = False
    for node in nodes:
        spelled = _later(node, opset) if node.domain in DEFAULT else None
        if spelled is not None:
            name = "_".join((node.op_type, str(len(node.input)), *map(str, _numbers(node))))
            given = [f"input{index}" for index in range(len(node.input))]
            imports = [helper.make_opsetid("", _LATER_OPSET)]
            functions[name] = helper.make_function(_LATER, name, given, ["y"], spelled, imports)
            node.domain, node.op_type = _LATER, name
            del node.attribute[:]
            called = True
        for body in _all_bodies([node]):
            called |= _call_later(body.node, opset, functions)
    return called


def _numbers(node: NodeProto) -> list[int]:
    return [number for attribute in node.attribute for number in (*attribute.ints, 0)]


def _later(node: NodeProto, opset: int) -> list[NodeProto] | None:
    """How a later opset spells a node that inference gets wrong at its own; None if it does not."""
    listed = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    axes = listed.get("axes", [])
    given = [f"input{index}" for index in range(len(node.input))]
    match node.op_type:
        case "Slice" if opset == _WRONG_SLICE:
            return [helper.make_node("Slice", given, ["y"])]
        case "Slice" if min(axes, default=0) < 0:
            names = ("starts", "ends", "axes")
            numbers = [
                helper.make_node("Constant", [], [name], value_ints=listed.get(name, []))
                for name in names
            ]
            return [*numbers, helper.make_node("Slice", [*given, *names], ["y"])]
        case "Squeeze" | "Unsqueeze" if min(axes, default=0) < 0 or axes != sorted(axes):
            return [helper.make_node(node.op_type, given, ["y"], axes=axes)]
    return None


def _bodies(attribute: AttributeProto) -> list[GraphProto]:
    """The graphs in an attribute."""
    return [*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs]


def _needed(function: Graph) -> list[FunctionProto]:
    """The functions that a function calls, directly or inside of others."""
    graphs = {_called(graph): graph for graph in function.model.functions}
    callees: dict[Graph, None] = {}
    pending = [function]
    while pending:
        for graph in pending.pop().walk():
            for node in graph.nodes():
                callee = graphs.get(node.operator.base)
                if callee is not None and callee not in callees:
                    callees[callee] = None
                    pending.append(callee)
    return [graph.write_function() for graph in callees]


def _as_model(function: Graph, inputs: list[Known]) -> ModelProto:
    """A function as a model of its own."""
    proto = ModelProto(ir_version=function.model.ir_version)
    proto.opset_import.extend(function.opset_imports)
    proto.functions.extend(_needed(function))
    function.write(proto.graph)
    del proto.graph.input[:]
    for value, (element_type, shape) in zip(function.inputs, inputs, strict=True):
        info = (
            helper.make_tensor_value_info(value.name, element_type, shape)
            if element_type is not None
            else helper.make_empty_tensor_value_info(value.name)
        )
        proto.graph.input.append(info)
    return proto


def declared_symbols(proto: ModelProto) -> set[str]:
    """The symbols that a model's inputs declare. Inference makes up the others, anew every run."""
    tensors = (info.type.tensor_type for info in proto.graph.input)
    return {dim.dim_param for tensor in tensors for dim in tensor.shape.dim if dim.dim_param}


def _tell(graph: Graph, proto: GraphProto, declared: set[str], same: dict[str, Dimension]) -> None:
    infos: dict[str, ValueInfoProto] = {}
    for info in (*proto.value_info, *proto.output, *proto.input):
        infos[info.name] = info
    nothing = ValueInfoProto()
    for value in _values(graph):
        if value.tensor is None or value.overridable:
            before = value.known
            element_type, shape = type_and_shape(infos.get(value.name, nothing).type)
            value.know(element_type or before[0], _better(shape, before[1], declared, same))


def _better(
    shape: Shape | None, known: Shape | None, declared: set[str], same: dict[str, Dimension]
) -> Shape | None:
    """What two inferences know of one shape; a rewrite may leave a later one less to go by.

    A symbol that an earlier one made up may have become another's name since.
    """
    if known is not None:
        known = tuple(d if isinstance(d, int) or d in declared else None for d in known)
    if shape is None or known is None or len(shape) != len(known):
        return known if shape is None else shape
    pairs = tuple(zip(shape, known, strict=True))
    made_up = ((a, b) for a, b in pairs if isinstance(a, str) and a not in declared)
    same.update((symbol, size) for symbol, size in made_up if size is not None)
    return tuple(
        size if old is None or (isinstance(size, int) and isinstance(old, str)) else old
        for size, old in pairs
    )


def _values(graph: Graph) -> list[Value]:
    computed = [v for node in graph.nodes() for v in node.outputs if v is not None]
    return [*graph.inputs, *computed]


def type_and_shape(proto: TypeProto) -> tuple[int | None, Shape | None]:
    """The element type and shape that a type proto states; None for what it leaves open."""
    if not proto.HasField("tensor_type"):
        return None, None
    tensor = proto.tensor_type
    # The checker accepts types that ONNX does not have; nothing is known of those.
    element_type = tensor.elem_type if tensor.elem_type in _TYPES else None
    if not tensor.HasField("shape"):
        return element_type, None
    return element_type, tuple(
        # Some exporters write -1 for a size that is not known.
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None
        for dim in tensor.shape.dim
    )


def without_weights(model: WholeModel) -> ModelProto:
    """A copy of a model in which large and external initializers are inputs."""
    proto = ModelProto()
    copy_fields(model.proto, proto, without=("graph", "functions", "ir_version"))
    proto.functions.extend(function.write_function() for function in model.functions)
    # Before IR 4 inference takes an initializer only where the inputs list it.
    proto.ir_version = max(4, model.ir_version)
    source, target = model.graph, proto.graph
    copy_fields(
        source.proto, target, without=("node", "initializer", "sparse_initializer", "input")
    )
    target.node.extend(source.written_nodes())
    listed = set()
    for value, info in source.inputs.items():
        listed.add(value)
        target.input.append(info)
    for value in source.initializers:
        if value.overridable:
            # Whatever it holds, a caller may pass something else.
            continue
        assert value.tensor is not None
        external = isinstance(value.tensor, StoredTensor) and value.tensor.external
        largest = _LARGEST_SCALES if value.tensor.type in FLOATING else LARGEST_LIST
        if value.tensor.size <= largest and not external:
            target.initializer.append(value.tensor.to_proto(value.name))
        elif value not in listed:
            target.input.append(
                helper.make_tensor_value_info(value.name, value.tensor.type, value.tensor.shape)
            )
    target.sparse_initializer.extend(source.sparse.values())
    return proto
