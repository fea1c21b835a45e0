"""The graph: nodes and values with use-def chains, over the protos they were read from.

Nodes stand in a linked order that is always topological: new nodes go next to the ones they
replace, so nothing is sorted again. Uses are counted in a dict, so replacing one of a million
consumers costs the same as one of two. A node keeps its proto and is written out as it was
read unless a value it names has changed.

The body of an If, Loop or Scan is a graph of its own. What it captures from outside is a value
of the inner graph whose `source` is the outer one, and the node that owns the body counts as a
use of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from trtfuse.errors import ModelError
from trtfuse.ir.operators import Operator, default_opset, defaults, label, spelled
from trtfuse.ir.tensor import LOOKED_AT, StoredTensor, Tensor, misdeclared, misfilled

#: A dimension: its size, its symbol, or None where nothing is known.
Dimension = int | str | None
Shape = tuple[Dimension, ...]

#: The domain of the functions that groups of nodes become, and of no others.
GROUP_DOMAIN = "trtfuse"

_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)
#: Before this opset, the first input of a Scan is the lengths of sequences.
_SCAN_WITHOUT_LENGTHS = 9
_WRITTEN_FIELDS = frozenset(
    (
        "node",
        "initializer",
        "sparse_initializer",
        "input",
        "output",
        "value_info",
        "quantization_annotation",
    )
)


class GrowthLimit(Protocol):
    """How much larger constants may make a model (`trtfuse.analysis.growth`)."""

    def why_not(self, name: str, size: int, nodes: Sequence[Node]) -> str | None:
        """Why constants of so many bytes in place of nodes would be too large."""


class WholeModel(Protocol):
    """What a graph, and a pass over graphs, asks of the model that they are of.

    Attributes: see `trtfuse.model.model.Model`.
    """

    proto: ModelProto
    folder: Path | None
    ir_version: int
    names: set[str]
    notes: list[str]
    misfit: str | None
    origins: dict[Callable[[Value], bool], dict[Value, Value]]
    graph: Graph
    functions: list[Graph]

    @property
    def objective(self) -> str: ...

    @property
    def growth(self) -> GrowthLimit: ...

    def graphs(self) -> Iterator[Graph]: ...

    def operator(self, node: NodeProto, opset: int) -> Operator: ...

    def fresh_name(self, stem: str) -> str: ...

    def note_external(self, tensor: TensorProto) -> None: ...

    def infer_shapes(self) -> None: ...


class Value:
    """One tensor of a graph: an input, a constant, what a node computes, or a captured value.

    Attributes:
        name: unique in its graph.
        graph: the graph it belongs to.
        producer: the node that computes it, or None.
        uses: how often each node reads it. The owner of a body that captures it reads it once
            for each body.
        outputs: how often it is listed as an output of its graph.
        is_input: whether it is an input of its graph.
        constant_cache: what `trtfuse.analysis.constants` found; False for no constant, None if
            nobody has asked.
        tensor: the initializer of this name, or None. A constant only if `overridable` is False.
        source: the outer value that a captured one stands for, or None.
    """

    __slots__ = (
        "_known",
        "constant_cache",
        "graph",
        "is_input",
        "name",
        "outputs",
        "producer",
        "source",
        "tensor",
        "uses",
    )

    def __init__(self, name: str | bytes, graph: Graph, producer: Node | None = None) -> None:
        if isinstance(name, bytes):
            # protobuf gives a string that is not UTF-8 as bytes.
            raise ModelError(f"a value is called {name!r}, which is not UTF-8; rename it")
        self.name = name
        self.graph = graph
        self.producer = producer
        self.uses: dict[Node, int] = {}
        self.outputs = 0
        self.is_input = False
        self.tensor: Tensor | None = None
        self.source: Value | None = None
        self.constant_cache: Tensor | Literal[False] | None = None
        self._known: tuple[int | None, Shape | None] | None = None

    @property
    def overridable(self) -> bool:
        """Whether it is an initializer that a caller may replace, being an input as well.

        Before IR 4 all initializers of the main graph are listed as inputs, and none is meant so.
        """
        main_before_4 = self.graph.owner is None and self.graph.model.ir_version < 4
        return self.is_input and self.tensor is not None and not main_before_4

    @property
    def shared(self) -> bool:
        """Whether more than one node reads it, or it is an output of the graph."""
        return self.outputs > 0 or len(self.uses) > 1

    @property
    def type(self) -> int | None:
        """Its element type (`TensorProto.DataType`) as far as ONNX's shape inference knows."""
        return self._inferred()[0]

    @property
    def shape(self) -> Shape | None:
        """Its shape as far as ONNX's shape inference knows; None where not even the rank is."""
        return self._inferred()[1]

    @property
    def rank(self) -> int | None:
        """The number of its dimensions, or None where it is not known."""
        shape = self.shape
        return None if shape is None else len(shape)

    @property
    def known(self) -> tuple[int | None, Shape | None]:
        """Its type and shape as far as that is known already, without inference."""
        return self._known or (None, None)

    def know(self, element_type: int | None, shape: Shape | None) -> None:
        """Records what its type and shape are."""
        self._known = (element_type, shape)

    def forget(self) -> None:
        """Forgets what its type and shape are."""
        self._known = None

    def _inferred(self) -> tuple[int | None, Shape | None]:
        if self.source is not None:
            return self.source._inferred()
        if self._known is None:
            if self.tensor is not None and not self.overridable:
                self._known = (self.tensor.type, self.tensor.shape)
            else:
                self.graph.model.infer_shapes()
        return self.known

    def __repr__(self) -> str:
        return f"Value({self.name!r})"


class Node:
    """One operator.

    Attributes:
        proto: the node as it was read or made; names in it may be out of date if `stale`.
        operator: what it runs.
        op: the same in one word: `Conv` for the default domain, `com.microsoft::Gelu` for another,
            and `ai.onnx::EfficientNMS_TRT` for what the default domain does not have at this opset.
        inputs: what it reads; None for an optional input left out.
        outputs: what it computes; None for an optional output left out.
        bodies: the graphs in its attributes, in the order of the attributes.
        graph: the graph it is in; None once it is removed.
        replaces: the nodes that this one was made from by a rewrite.
    """

    __slots__ = (
        "_attributes",
        "bodies",
        "graph",
        "inputs",
        "next",
        "op",
        "operator",
        "outputs",
        "previous",
        "proto",
        "replaces",
        "stale",
    )

    def __init__(
        self,
        proto: NodeProto,
        operator: Operator,
        inputs: list[Value | None],
        outputs: list[Value | None],
        graph: Graph | None = None,
    ) -> None:
        self.proto = proto
        self.operator = operator
        self.op = spelled(operator)
        self.inputs = inputs
        self.outputs = outputs
        self.graph = graph
        self.bodies: tuple[Graph, ...] = ()
        self.replaces: tuple[Node, ...] = ()
        self.stale = False
        self.previous: Node | None = None
        self.next: Node | None = None
        self._attributes: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        """Its name, or, if it has none, `node_of_` and its first output, as TensorRT has it."""
        if self.proto.name:
            return text(self.proto.name)
        first = self.first_result
        return f"unnamed {self.op}" if first is None else f"node_of_{first.name}"

    @property
    def output(self) -> Value:
        """Its first output."""
        first = self.outputs[0]
        assert first is not None, f"{self.op} has no first output"
        return first

    @property
    def first_result(self) -> Value | None:
        """Its first output that is not left out: an LSTM may have no `Y` and still have a `Y_h`."""
        return next((value for value in self.outputs if value is not None), None)

    @property
    def home(self) -> Graph:
        """The graph that it is in, was in, or is meant for.

        Raises:
            LookupError: it is in none, and computes nothing that would tell.
        """
        if self.graph is not None:
            return self.graph
        first = self.first_result
        if first is None:
            raise LookupError(f"{self.op} is in no graph")
        return first.graph

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators in that graph."""
        return self.home.opset

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute as Python has it: where it is left out, what ONNX takes it for.

        Args:
            name: its name.
            default: where ONNX has no default either, or no such attribute at the node's opset.
        """
        value = (self._attributes or self._read_attributes()).get(name)
        if value is None:
            operator = self.operator
            if operator.whose != "standard" or name in operator.refers:
                return default
            value = defaults(operator.name, (self.graph or self.home).opset).get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def given(self, name: str) -> Any:
        """The value of an attribute as Python has it; None where the node leaves it out."""
        value = (self._attributes or self._read_attributes()).get(name)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def _read_attributes(self) -> dict[str, Any]:
        if self._attributes is None:
            self._attributes = {
                a.name: helper.get_attribute_value(a)
                for a in self.proto.attribute
                if a.type not in _GRAPHS and not a.ref_attr_name
            }
        return self._attributes

    def input(self, index: int) -> Value | None:
        """The input at an index; None where it is left out, by an empty name or by the end."""
        return self.inputs[index] if index < len(self.inputs) else None

    def operand(self, index: int) -> Value:
        """The input at an index, which the operator has to have.

        Raises:
            LookupError: it is left out, so that no runtime runs the node.
        """
        value = self.input(index)
        if value is None:
            raise LookupError(f"{self.label} has no input {index}")
        return value

    def rename(self, name: str) -> None:
        """Gives it a name; its proto may be of a model that is not ours to change."""
        proto = NodeProto()
        proto.CopyFrom(self.proto)
        proto.name = name
        self.proto = proto

    def captured(self) -> Iterator[Value]:
        """The values of this node's graph that its bodies read."""
        for body in self.bodies:
            yield from body.captures

    def __repr__(self) -> str:
        return f"Node({self.op}, {self.label!r})"


def text(stored: str | bytes) -> str:
    """A text as it is stored; of one that is not UTF-8, protobuf gives the bytes."""
    return stored.decode("utf-8", "backslashreplace") if isinstance(stored, bytes) else stored


def _unlike(names: set[str], stem: str) -> str:
    """A name like `stem` that is not among `names`."""
    name, count = stem, 0
    while name in names:
        count += 1
        name = f"{stem}_{count}"
    return name


class Graph:
    """A graph, the body of an If, Loop or Scan, or what a model-local function does.

    Args:
        model: the model it is part of.
        proto: what to read; kept, never modified.
        outer: the graph around a body.
        owner: the node that the body belongs to.
        function: the function that this is the graph of (`Graph.of_function`).

    Attributes:
        opset: the version of the default domain, 0 if none is imported, or more than one.

    Raises:
        ModelError: a node reads a name that nothing produces before it, or computes gradients; a
            name stands for two values; a tensor holds less or more than it says; the body of a
            node does not fit the node.
    """

    __slots__ = (
        "_scope",
        "captures",
        "first",
        "function",
        "initializers",
        "inputs",
        "last",
        "model",
        "noted",
        "opset",
        "outer",
        "outputs",
        "owner",
        "proto",
        "renamed",
        "root",
        "sparse",
    )

    def __init__(
        self,
        model: WholeModel,
        proto: GraphProto,
        outer: Graph | None = None,
        owner: Node | None = None,
        function: FunctionProto | None = None,
    ) -> None:
        self.model = model
        self.proto = proto
        self.outer = outer
        self.owner = owner
        self.function = function
        self.root: Graph = self if outer is None else outer.root
        self.opset: int = (
            default_opset(self.opset_imports, model.ir_version) if outer is None else outer.opset
        )
        self.first: Node | None = None
        self.last: Node | None = None
        self.captures: dict[Value, Value] = {}
        self.inputs: dict[Value, ValueInfoProto] = {}
        self.initializers: dict[Value, None] = {}
        self.sparse: dict[Value, onnx.SparseTensorProto] = {}
        self.outputs: list[Value] = []
        self.renamed: dict[str, str] = {}
        self.noted = {
            parameter.value
            for note in proto.quantization_annotation
            for parameter in note.quant_parameter_tensor_names
        }
        self._scope: dict[str, Value] = {}
        self._read()

    @classmethod
    def of_function(cls, model: WholeModel, function: FunctionProto) -> Graph:
        """The graph of a model-local function; what its inputs are is known by its calls only."""
        proto = GraphProto(name=function.name)
        proto.node.extend(function.node)
        proto.value_info.extend(function.value_info)
        proto.input.extend(helper.make_empty_tensor_value_info(name) for name in function.input)
        proto.output.extend(helper.make_empty_tensor_value_info(name) for name in function.output)
        return cls(model, proto, function=function)

    @property
    def is_group(self) -> bool:
        """Whether it is the graph of a function that a group of nodes became."""
        return self.function is not None and self.function.domain == GROUP_DOMAIN

    @property
    def opset_imports(self) -> Sequence[OperatorSetIdProto]:
        """The operator sets that its nodes are of: a function has its own."""
        return (self.root.function or self.model.proto).opset_import

    @property
    def constants_are_nodes(self) -> bool:
        """Whether it holds constants as Constant nodes only.

        A function has no initializers; and before IR 4 an initializer is an input, and the inputs
        of a body are not ours to add to.
        """
        before_4 = self.owner is not None and self.model.ir_version < 4
        return self.function is not None or before_4

    # Reading

    def _read(self) -> None:
        scope, model, folder = self._scope, self.model, self.model.folder
        misfits: dict[Value, str] = {}
        for info in self.proto.input:
            if info.name in scope:
                raise ModelError(f"two inputs of a graph are called '{info.name}'; rename one")
            value = scope[info.name] = Value(info.name, self)
            value.is_input = True
            self.inputs[value] = info
        for tensor in self.proto.initializer:
            name = tensor.name
            why_not = misdeclared(tensor)
            if why_not is not None:
                raise ModelError(f"initializer '{name}' {why_not}")
            # Of two of a name, runtimes take the last.
            value = scope.get(name) or Value(name, self)
            scope[name] = value
            value.tensor = StoredTensor(tensor, folder)
            model.note_external(tensor)
            self.initializers[value] = None
            why_not = misfilled(tensor, LOOKED_AT)
            misfits.pop(value, None)
            if why_not is not None:
                misfits[value] = why_not
        for sparse in self.proto.sparse_initializer:
            name = sparse.values.name
            value = scope[name] = scope.get(name) or Value(name, self)
            if value in self.initializers:
                # Runtimes take the sparse one.
                del self.initializers[value]
                value.tensor = None
            self.sparse[value] = sparse
            model.note_external(sparse.values)
            model.note_external(sparse.indices)
        for proto in self.proto.node:
            self._read_node(proto)
        for info in self.proto.output:
            output = self._find(info.name) if info.name else None
            if output is None:
                raise ModelError(f"graph output '{info.name}' is computed by no node")
            output.outputs += 1
            self.outputs.append(output)
        for value, why_not in misfits.items():
            self._drop_misfit(value, why_not)
        model.names.update(scope)

    def _drop_misfit(self, value: Value, why_not: str) -> None:
        """Leaves out an initializer that holds something else than it says, if nothing reads it."""
        if not isinstance(value.tensor, StoredTensor) or value not in self.initializers:
            return
        if value.uses or value.outputs:
            raise ModelError(f"initializer '{value.name}' {why_not}; export the model again")
        self.model.notes.append(f"an unused initializer left out: '{value.name}' {why_not}")
        if value.overridable:
            del self.initializers[value]
            value.tensor = None
        else:
            self.remove_initializer(value)

    def _read_node(self, proto: NodeProto) -> None:
        scope = self._scope
        inputs: list[Value | None] = []
        operator = self.model.operator(proto, self.opset)
        if proto.op_type == "Gradient" and proto.domain == "ai.onnx.preview.training":
            # It names values in its attributes, of which no use tells.
            raise ModelError(
                f"{label(proto)} computes gradients, which TensorRT does not; export the model "
                "for inference"
            )
        # What an attribute of the function decides is no operator that a rule knows. Where there is
        # no function, runtimes differ on what is meant.
        referring = [a.name for a in proto.attribute if a.ref_attr_name]
        if referring:
            operator = operator._replace(refers=tuple(map(str, referring)))
        node = Node(proto, operator, inputs, [])
        for name in proto.input:
            value = scope.get(name) if name else None
            if value is None and name:
                value = self._find(name)
                if value is None:
                    raise ModelError(f"{label(proto)} reads '{name}', which nothing computes")
            inputs.append(value)
        for attribute in proto.attribute:
            node.bodies += tuple(
                Graph(self.model, body, self, node) for body in bodies_in(attribute)
            )
            if attribute.ref_attr_name:
                continue
            if attribute.type in _TENSORS:
                single = attribute.type == AttributeProto.TENSOR
                for tensor in (attribute.t,) if single else attribute.tensors:
                    self.model.note_external(tensor)
                    why_not = misdeclared(tensor) or misfilled(tensor, LOOKED_AT)
                    if why_not is not None:
                        raise ModelError(
                            f"the tensor in '{attribute.name}' of {label(proto)} {why_not}; export "
                            "the model again"
                        )
        for name in proto.output:
            value = None
            if name:
                if name in scope:
                    raise ModelError(
                        f"{label(proto)} computes '{name}', a name that is taken; rename one"
                    )
                value = scope[name] = Value(name, self)
            node.outputs.append(value)
        if node.bodies:
            _check_bodies(node, self.opset)
        elif node.op == "Gemm":
            _check_gemm(node)
        elif node.op == "Constant" and not proto.attribute:
            raise ModelError(f"{label(proto)} holds no value; give it one")
        self.insert(node, None)

    def _find(self, name: str) -> Value | None:
        """The value of a name in this graph or, captured from there, in a graph around it."""
        value = self._scope.get(name)
        if value is None and self.outer is not None:
            source = self.outer._find(name)
            if source is not None:
                value = self._scope[name] = Value(name, self)
                value.source = source
                self.captures[source] = value
                assert self.owner is not None
                source.uses[self.owner] = source.uses.get(self.owner, 0) + 1
        return value

    def read_completely(self) -> None:
        """Forgets what only reading needed."""
        for graph in self.walk():
            graph._scope = {}

    # Walking

    def nodes(self) -> Iterator[Node]:
        """The nodes in a topological order; removing the current one is fine."""
        node = self.first
        while node is not None:
            following = node.next
            yield node
            node = following

    def walk(self) -> Iterator[Graph]:
        """The graph itself, then every body inside it."""
        pending = [self]
        while pending:
            graph = pending.pop()
            yield graph
            pending.extend(body for node in graph.nodes() for body in node.bodies)

    def canonical(self) -> Iterator[Node]:
        """The nodes in a topological order that depends on what they compute, not on the file.

        Depth first from the outputs of the graph, then from what nothing reads.
        """
        done: set[Node] = set()
        yield from _depth_first((value.producer for value in self.outputs), done)
        sinks = [node for node in self.nodes() if node not in done and not _is_read(node)]
        sinks.sort(key=_names)
        yield from _depth_first(sinks, done)

    # Changing

    def insert(self, node: Node, before: Node | None) -> None:
        """Puts a node in front of another, or at the end, and counts its uses.

        Raises:
            ValueError: it is in a graph already, or the other is not in this one.
        """
        if node.graph is not None:
            raise ValueError(f"{node.label} is in a graph already")
        if before is not None and before.graph is not self:
            raise ValueError(f"{before.label} is not in the graph that {node.label} goes into")
        node.graph = self
        self._link(node, before)
        for value in node.inputs:
            if value is not None:
                value.uses[node] = value.uses.get(node, 0) + 1
        for value in node.outputs:
            if value is not None:
                value.producer = node

    def _link(self, node: Node, before: Node | None) -> None:
        node.next = before
        node.previous = self.last if before is None else before.previous
        if node.previous is None:
            self.first = node
        else:
            node.previous.next = node
        if before is None:
            self.last = node
        else:
            before.previous = node

    def _unlink(self, node: Node) -> None:
        if node.previous is None:
            self.first = node.next
        else:
            node.previous.next = node.next
        if node.next is None:
            self.last = node.previous
        else:
            node.next.previous = node.previous

    def move(self, node: Node, before: Node) -> None:
        """Moves a node up to stand in front of an earlier one.

        The caller sees to it that the node reads nothing that is computed from there on.

        Raises:
            ValueError: one of them is not in this graph.
        """
        for given in (node, before):
            if given.graph is not self:
                raise ValueError(f"{given.label} is not in this graph")
        self._unlink(node)
        self._link(node, before)

    def remove(self, node: Node) -> None:
        """Takes out a node whose outputs nothing reads.

        Raises:
            ValueError: something reads one, or it is not in this graph.
        """
        if node.graph is not self:
            raise ValueError(f"{node.label} is not in this graph")
        for value in node.outputs:
            if value is not None and value.producer is node and (value.uses or value.outputs):
                reader = next(iter(value.uses), None)
                by = "is an output" if reader is None else f"is read by {reader.label}"
                raise ValueError(f"{node.label} cannot be removed: `{value.name}` {by}")
        self._unlink(node)
        node.graph = None
        for body in node.bodies:
            for graph in body.walk():
                for inner in graph.nodes():
                    inner.graph = None
        for value in node.inputs:
            if value is not None:
                value.uses.pop(node, None)
        for value in node.captured():
            value.uses.pop(node, None)

    def replace_uses(self, old: Value, new: Value) -> None:
        """Lets every node that reads `old` read `new`. Outputs of the graph are left alone."""
        for node, count in old.uses.items():
            node.stale = True
            node.inputs = [new if value is old else value for value in node.inputs]
            for body in node.bodies:
                if old in body.captures and body.recapture(old, new):
                    count -= 1
            new.uses[node] = new.uses.get(node, 0) + count
        old.uses.clear()

    def leave_out(self, node: Node, indices: Iterable[int]) -> None:
        """Lets a node go without optional inputs."""
        node.stale = True
        for index in indices:
            value = node.inputs[index]
            node.inputs[index] = None
            if value is not None:
                value.uses[node] -= 1
                if not value.uses[node]:
                    del value.uses[node]
        while node.inputs and node.inputs[-1] is None:
            node.inputs.pop()

    def recapture(self, old: Value, new: Value) -> bool:
        """Lets this body capture `new` where it captured `old`; whether it did so already."""
        inner = self.captures.pop(old)
        if new in self.captures:
            twin = self.captures[new]
            self.replace_uses(inner, twin)
            self._replace_output(inner, twin)
            return True
        inner.source = new
        self.captures[new] = inner
        return False

    def take_name(self, value: Value, old: Value) -> None:
        """Lets `value` take over the name of `old`, and its place among the graph's outputs."""
        value.name = old.name
        self._replace_output(old, value)
        _mark_stale(value)
        for node in self.nodes():
            for body in node.bodies:
                body.make_way(value.name)

    def _replace_output(self, old: Value, new: Value) -> None:
        if old.outputs:
            self.outputs = [new if value is old else value for value in self.outputs]
            new.outputs += old.outputs
            old.outputs = 0

    def release(self, captured: Value) -> None:
        """Stops capturing a value that nothing in this body reads."""
        source, owner = captured.source, self.owner
        assert source is not None
        if self.captures.get(source) is not captured:
            return
        assert owner is not None
        del self.captures[source]
        source.uses[owner] -= 1
        if not source.uses[owner]:
            del source.uses[owner]

    def add_initializer(self, value: Value) -> None:
        """Takes in a new constant, under its name or one like it that is free."""
        assert value.tensor is not None
        value.name = self.model.fresh_name(value.name)
        self.initializers[value] = None
        self._list_as_input(value)

    def _list_as_input(self, value: Value) -> None:
        """Lists a new initializer of the main graph as an input, as it has to be before IR 4."""
        if self.model.ir_version < 4 and self.owner is None:
            assert value.tensor is not None
            value.is_input = True
            self.inputs[value] = helper.make_tensor_value_info(
                value.name, value.tensor.type, value.tensor.shape
            )

    def freeze(self, value: Value, constant: Value) -> None:
        """Makes a computed value the constant that it always is, under its own name."""
        value.producer = None
        value.tensor = constant.tensor
        # Its own shape says more than inference may have.
        value.forget()
        self.initializers[value] = None
        self._list_as_input(value)

    def inline(self, owner: Node, body: Graph, names: set[str]) -> tuple[Node, ...]:
        """Puts the nodes of a body in the place of the node that owns it; returns them.

        The outputs of the body take the place of the owner's, which nothing reads afterwards.

        Args:
            owner: the node, which the caller takes out.
            body: its body.
            names: those of the nodes of this graph; kept up to date. ONNX Runtime takes no graph
                in which two nodes have one name, and a body may repeat names from around it.
        """
        # New names are counted, and the order of the file has no say in them.
        moved = tuple(body.canonical())
        for source, inner in list(body.captures.items()):
            body._read_from(inner, source)
        for value in list(body.initializers):
            outer = Value(value.name, self)
            outer.tensor = value.tensor
            self.add_initializer(outer)
            body._read_from(value, outer)
        names.discard(owner.proto.name)
        for node in moved:
            body._unlink(node)
            node.graph = self
            node.stale = True
            if node.proto.name in names:
                node.rename(_unlike(names, f"{owner.label}/{node.proto.name}"))
            if node.proto.name:
                names.add(node.proto.name)
            self._link(node, owner)
            for inside in node.bodies:
                inside.outer = self
            for output in node.outputs:
                if output is not None:
                    output.graph = self
                    output.outputs = 0
                    output.name = self.model.fresh_name(output.name)
        return moved

    def _read_from(self, own: Value, source: Value) -> None:
        """Lets what reads a value of this body read one of the graph around it directly."""
        self.replace_uses(own, source)
        self.outputs = [source if value is own else value for value in self.outputs]

    def is_kept(self, value: Value) -> bool:
        """Whether a constant stays though no node reads it: for a caller, or for a note.

        A quantization annotation names initializers that hold a scale and a zero point.
        """
        return value.overridable or value.name in self.noted

    def remove_initializer(self, value: Value) -> None:
        """Takes out a constant that nothing reads; where IR 3 lists it as an input, there too.

        Raises:
            ValueError: something reads it.
        """
        if value.uses or value.outputs:
            raise ValueError(f"`{value.name}` cannot be removed: it is read")
        if value in self.sparse:
            del self.sparse[value]
        else:
            del self.initializers[value]
        self.inputs.pop(value, None)

    # Writing

    def write(self, proto: GraphProto) -> None:
        """Writes the graph into an empty proto. What was not changed is copied as it was read."""
        self._settle_names()
        copy_fields(self.proto, proto, without=_WRITTEN_FIELDS)
        as_nodes = self.constants_are_nodes
        read = {tensor.name for tensor in self.proto.initializer} if as_nodes else set()
        for value in self.initializers:
            assert value.tensor is not None
            # One at a time: a folded constant has its numbers only while it is written.
            tensor = value.tensor.to_proto(value.name)
            if as_nodes and value.name not in read:
                proto.node.append(helper.make_node("Constant", [], [value.name], value=tensor))
            else:
                proto.initializer.append(tensor)
        proto.node.extend(self.written_nodes())
        proto.sparse_initializer.extend(self.sparse.values())
        proto.input.extend(_named(info, value.name) for value, info in self.inputs.items())
        proto.output.extend(
            _named(info, value.name)
            for value, info in zip(self.outputs, self.proto.output, strict=True)
        )
        if self.proto.value_info or self.proto.quantization_annotation:
            names = self.names()
            infos = [
                _named(info, self.renamed.get(info.name, info.name))
                for info in self.proto.value_info
            ]
            proto.value_info.extend(info for info in infos if info.name in names)
            proto.quantization_annotation.extend(
                note for note in self.proto.quantization_annotation if note.tensor_name in names
            )

    def write_function(self) -> FunctionProto:
        """The model-local function that this is the graph of, as it is now."""
        assert self.function is not None
        written, function = GraphProto(), FunctionProto()
        self.write(written)
        copy_fields(self.function, function, without=("node", "value_info"))
        function.node.extend(written.node)
        function.value_info.extend(written.value_info)
        return function

    def written_nodes(self) -> list[NodeProto]:
        """The protos of the nodes, in order, with the names and bodies of now."""
        return [written(node) for node in self.nodes()]

    def names(self) -> set[str]:
        """The names of all values of this graph, captured ones included."""
        names = {value.name for value in (*self.inputs, *self.initializers, *self.sparse)}
        names.update(value.name for value in self.captures.values())
        for node in self.nodes():
            names.update(value.name for value in node.outputs if value is not None)
        return names

    def make_way(self, name: str) -> None:
        """Gives values of this body and those inside it other names than one taken outside."""
        for graph in self.walk():
            computed = (v for node in graph.nodes() for v in node.outputs if v is not None)
            for value in (*graph.inputs, *graph.initializers, *computed):
                if value.name == name:
                    value.name = graph.renamed[name] = self.model.fresh_name(name)
                    _mark_stale(value)

    def _settle_names(self) -> None:
        """Names captured values as their sources are named now, out of the way of our own."""
        for outer, inner in self.captures.items():
            if inner.name != outer.name:
                self.make_way(outer.name)
                inner.name = outer.name
                _mark_stale(inner)


def _check_gemm(node: Node) -> None:
    """Refuses a Gemm that ONNX Runtime reads in 32 bits when it loads and in 64 when it runs."""
    for name in ("transA", "transB"):
        value = node.attribute(name)
        if isinstance(value, int) and abs(value) >= 1 << 31:
            raise ModelError(
                f"{label(node.proto)} has {name} = {value}, which runtimes read as 0 or as another "
                "number; make it 0 or 1"
            )


def _check_bodies(node: Node, opset: int) -> None:
    """Refuses a node whose bodies take or return something else than the node."""
    inputs, outputs = len(node.inputs), len(node.outputs)
    match node.op:
        case "If":
            inputs = 0
        case "Loop":
            outputs += 1
        case "Scan":
            scanned = node.attribute("num_scan_inputs", 0)
            if opset < _SCAN_WITHOUT_LENGTHS:
                inputs -= 1
            if not isinstance(scanned, int) or not 0 <= scanned <= inputs:
                raise ModelError(
                    f"{label(node.proto)} scans {scanned} inputs, and it has {inputs}; correct its "
                    "num_scan_inputs"
                )
        case "SequenceMap":
            pass
        case _:
            return
    for body in node.bodies:
        # Before IR 4, initializers of a body may be listed as its inputs.
        given = len(body.inputs)
        passed = sum(value.tensor is None for value in body.inputs)
        for what, has, wanted in (
            ("takes", {given, passed}, inputs),
            ("returns", {len(body.outputs)}, outputs),
        ):
            if node.op == "Scan" and not body.outputs:
                # Nothing is returned, and runtimes do not count: the node gives nothing.
                continue
            if wanted not in has:
                values = f"{max(has)} value{'' if max(has) == 1 else 's'}"
                raise ModelError(
                    f"the body '{body.proto.name}' of {label(node.proto)} {what} {values}, and as "
                    f"that of this {node.op} it would have to be {wanted}"
                )


def in_order(nodes: Collection[Node]) -> tuple[Node, ...]:
    """A few nodes of one graph, each after those that it reads from."""
    chosen = set(nodes)
    done: dict[Node, None] = {}
    pending = list(reversed(list(nodes)))
    while pending:
        node = pending[-1]
        producers = [v.producer for v in node.inputs if v is not None and v.producer]
        missing = [p for p in producers if p in chosen and p not in done]
        if missing:
            pending.extend(missing)
        else:
            done[pending.pop()] = None
    return tuple(done)


def _producers(node: Node) -> list[Node]:
    """The nodes of the same graph that a node, or a body of it, reads from."""
    read = [value for value in node.inputs if value is not None]
    if node.bodies:
        # Bodies capture in the order in which the file has their nodes.
        read += sorted(node.captured(), key=lambda value: value.name)
    return [value.producer for value in read if value.producer is not None]


def _depth_first(roots: Iterable[Node | None], done: set[Node]) -> Iterator[Node]:
    """The roots and all that they read from, each after what it reads; without those in `done`.

    Adds to `done` what it yields.
    """
    for root in roots:
        pending = [] if root is None else [root]
        while pending:
            node = pending[-1]
            if node in done:
                pending.pop()
                continue
            missing = [producer for producer in _producers(node) if producer not in done]
            if missing:
                pending.extend(reversed(missing))
            else:
                done.add(node)
                yield pending.pop()


def _names(node: Node) -> tuple[str, ...]:
    wires = (*node.outputs, None, *node.inputs)
    return (node.op, node.proto.name, *("" if value is None else value.name for value in wires))


def _is_read(node: Node) -> bool:
    return any(value is not None and (value.uses or value.outputs) for value in node.outputs)


def _mark_stale(value: Value) -> None:
    for node in (*value.uses, value.producer):
        if node is not None:
            node.stale = True


def written(node: Node) -> NodeProto:
    """The node's proto, with the names and bodies of now."""
    if not node.stale and not node.bodies:
        return node.proto
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend("" if value is None else value.name for value in node.inputs)
    proto.output.extend("" if value is None else value.name for value in node.outputs)
    bodies = iter(node.bodies)
    for attribute in proto.attribute:
        for body in bodies_in(attribute):
            body.Clear()
            next(bodies).write(body)
    return proto


def bodies_in(attribute: AttributeProto) -> Sequence[GraphProto]:
    """The graphs in an attribute, which it may hold though it refers to one of a function."""
    if attribute.type == AttributeProto.GRAPH:
        referring = attribute.ref_attr_name and not attribute.HasField("g")
        return () if referring else (attribute.g,)
    return attribute.graphs if attribute.type == AttributeProto.GRAPHS else ()


def _named(info: ValueInfoProto, name: str) -> ValueInfoProto:
    if info.name == name:
        return info
    renamed = ValueInfoProto()
    renamed.CopyFrom(info)
    renamed.name = name
    return renamed


def copy_fields(source: Message, target: Message, without: Collection[str]) -> None:
    """Copies the fields of a message except some, whatever fields its version of ONNX has."""
    for field, content in source.ListFields():
        if field.name in without:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(content)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(content)
        elif field.type == FieldDescriptor.TYPE_STRING and isinstance(content, bytes):
            # A text that is not UTF-8, which protobuf does not take back.
            setattr(target, field.name, content.decode("utf-8", "backslashreplace"))
        else:
            setattr(target, field.name, content)
