"""networkx: the graph of a model as a directed graph, to look at and to ask questions of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtfuse.errors import nothing_else_raised
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.ir.graph import Graph, Value
from trtfuse.ir.tensor import type_name
from trtfuse.model.collector import collector_paused

if TYPE_CHECKING:
    from networkx import MultiDiGraph


@nothing_else_raised
def to_networkx(model: ModelLike, *, weights: bool = False) -> MultiDiGraph:
    """The graph of a model as a `networkx.MultiDiGraph`.

    Its nodes are the operators, the inputs and the outputs, and its edges the values that go from
    one to another: one for every time that a value is read. A node is called as the report calls
    it (`conv1`, `node_of_y` without a name), an input or output by its name; one that would be
    called as another is gets ` (2)`, ` (3)` and so on behind it.

    | of | attribute | what it holds |
    | --- | --- | --- |
    | a node | `kind` | `"operator"`, `"input"`, `"output"` or `"weights"` |
    | | `label` | its name in the model |
    | | `op` | of an operator: `Conv`, `com.microsoft::Gelu`, `function domain::name` |
    | | `type` | of what is no operator: `float32[batch, 3, ?]`, as far as it is known |
    | | `bodies` | of an If, Loop or Scan: the graphs of its bodies, in order; left out else |
    | an edge | `value` | the name of the value |
    | | `type` | as above |
    | | `output` | its place among what its node computes |
    | | `input` | its place among what its reader reads; -1 where a body of the reader does |
    | the graph | `name` | the name of the graph |
    | | `functions` | the graphs of model-local functions by `domain::name`; left out else |

    All but `bodies` and `functions` are texts and numbers, which networkx can write to files. What
    a body reads from outside is an input of its graph.

    Args:
        model: in any form that `trtfuse.fuse` takes; not modified.
        weights: whether initializers are nodes too.

    Raises:
        UsageError: it is no model.
        ModelError: it cannot be read or is not valid.
    """
    with collector_paused():
        read = read_model(model)
        made = _graph(read.graph, weights)
        functions = {
            f"{graph.function.domain}::{graph.function.name}": _graph(graph, weights)
            for graph in read.functions
            if graph.function is not None
        }
    if functions:
        made.graph["functions"] = functions
    return made


def _graph(graph: Graph, weights: bool) -> MultiDiGraph:
    import networkx as nx

    made = nx.MultiDiGraph(name=graph.proto.name)

    def add(label: str, **attributes: object) -> str:
        key, count = label, 1
        while key in made:
            count += 1
            key = f"{label} ({count})"
        made.add_node(key, label=label, **attributes)
        return key

    # Where every value comes from: the node that has it, and which of its outputs it is.
    origin: dict[Value, tuple[str, int]] = {}
    # What the report calls a node is its key, also where a value has the same name.
    keys = {}
    for node in graph.nodes():
        key = keys[node] = add(node.label, kind="operator", op=node.op)
        if node.bodies:
            made.nodes[key]["bodies"] = [_graph(body, weights) for body in node.bodies]
        for place, value in enumerate(node.outputs):
            if value is not None:
                origin[value] = key, place
    constants = dict.fromkeys((*graph.initializers, *graph.sparse))
    for value in (*graph.inputs, *graph.captures.values()):
        if value not in constants or value.overridable:
            origin[value] = add(value.name, kind="input", type=_type(value)), 0
    if weights:
        for value in constants:
            if value not in origin:
                origin[value] = add(value.name, kind="weights", type=_type(value)), 0

    def connect(value: Value, to: str, place: int) -> None:
        if value in origin:
            start, output = origin[value]
            made.add_edge(
                start, to, value=value.name, type=_type(value), output=output, input=place
            )

    for node, key in keys.items():
        for place, value in enumerate(node.inputs):
            if value is not None:
                connect(value, key, place)
        for value in dict.fromkeys(node.captured()):
            connect(value, key, -1)
    for value in graph.outputs:
        connect(value, add(value.name, kind="output", type=_type(value)), 0)
    return made


def _type(value: Value) -> str:
    """`float32[batch, 3, ?]`; empty where nothing is known."""
    if value.type is None:
        return ""
    if value.shape is None:
        return f"{type_name(value.type)}[...]"
    sizes = ", ".join("?" if size is None else str(size) for size in value.shape)
    return f"{type_name(value.type)}[{sizes}]"
