"""What a mutation is: a change of a model, drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto


class NotHere(Exception):  # noqa: N818 - nothing is wrong, the mutation has nothing to change
    """The model has nothing that the mutation changes."""


@dataclass
class Mutant:
    """A model that is being mutated.

    Attributes:
        model: the model, changed in place.
        files: the files beside it, by name; None stands for a symbolic link out of the folder.
        scars: changes of the serialized bytes, which are made last.
    """

    model: ModelProto
    files: dict[str, bytes | None] = field(default_factory=dict)
    scars: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def content(self) -> bytes:
        """The bytes of the model."""
        content = self.model.SerializeToString(deterministic=True)
        for scar in self.scars:
            content = scar(content)
        return content


#: Changes a mutant; says what it did, or raises `NotHere`.
Mutation = Callable[[Mutant, Random], str]
#: The mutations by name, each with its weight.
MUTATIONS: dict[str, tuple[Mutation, float]] = {}


def mutation(weight: float = 1.0) -> Callable[[Mutation], Mutation]:
    """Registers a mutation under the name of its function."""

    def register(made: Mutation) -> Mutation:
        MUTATIONS[made.__name__] = made, weight
        return made

    return register


Scope = GraphProto | FunctionProto


def pick(rng: Random, choices: Any) -> Any:
    """One of several things; `NotHere` if there is none."""
    listed = list(choices)
    if not listed:
        raise NotHere
    return listed[rng.randrange(len(listed))]


def bodies(nodes: Any) -> Iterator[GraphProto]:
    """The bodies in the attributes of nodes, and those inside of them."""
    for node in nodes:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                    yield body
                    yield from bodies(body.node)


def graphs(model: ModelProto) -> list[GraphProto]:
    """The main graph and all bodies."""
    functions = (body for function in model.functions for body in bodies(function.node))
    return [model.graph, *bodies(model.graph.node), *functions]


def scopes(model: ModelProto) -> list[Scope]:
    """Everything that has nodes: graphs, bodies, functions."""
    return [*graphs(model), *model.functions]


def a_scope(mutant: Mutant, rng: Random) -> Scope:
    """The main graph, or now and then another one that has nodes."""
    if mutant.model.graph.node and rng.random() < 0.6:
        return mutant.model.graph
    return pick(rng, (scope for scope in scopes(mutant.model) if scope.node))


def a_node(mutant: Mutant, rng: Random) -> tuple[Scope, int, NodeProto]:
    """A node with its scope and its place there."""
    scope = a_scope(mutant, rng)
    place = rng.randrange(len(scope.node)) if scope.node else pick(rng, ())
    return scope, place, scope.node[place]


def a_tensor(mutant: Mutant, rng: Random) -> TensorProto:
    """A constant: an initializer, or the value of a Constant node."""
    return pick(rng, tensors(mutant.model))


def tensors(model: ModelProto) -> list[TensorProto]:
    """All constants that are tensors."""
    listed = [tensor for graph in graphs(model) for tensor in graph.initializer]
    for scope in scopes(model):
        for node in scope.node:
            listed += [a.t for a in node.attribute if a.type == AttributeProto.TENSOR]
    return listed


def computed(scope: Scope) -> list[str]:
    """The names of values that nodes of a scope compute."""
    return [name for node in scope.node for name in node.output if name]


def known(scope: Scope) -> list[str]:
    """The names of all values of a scope."""
    if isinstance(scope, FunctionProto):
        return [*scope.input, *computed(scope)]
    names = [info.name for info in scope.input]
    return list(dict.fromkeys([*names, *(t.name for t in scope.initializer), *computed(scope)]))


def fresh(mutant: Mutant, stem: str) -> str:
    """A name that the model does not have."""
    taken = {name for scope in scopes(mutant.model) for name in known(scope)}
    number = 0
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def readers(scope: Scope, name: str) -> list[tuple[NodeProto, int]]:
    """Where the nodes of a scope read a value."""
    return [
        (node, place)
        for node in scope.node
        for place, read in enumerate(node.input)
        if read == name
    ]


def insert(scope: Scope, place: int, node: NodeProto) -> None:
    """Puts a node before the one at a place."""
    nodes = list(scope.node)
    nodes.insert(place, node)
    replace_nodes(scope, nodes)


def replace_nodes(scope: Scope, nodes: list[NodeProto]) -> None:
    """Gives a scope other nodes."""
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del scope.node[:]
    scope.node.extend(copies)


def label(node: NodeProto) -> str:
    """What to call a node."""
    return f"{node.op_type} {node.name or '-'}"


def inferred(model: ModelProto) -> ModelProto:
    """The model with the shapes that ONNX infers; `NotHere` where it infers none."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # noqa: BLE001 - a mutated model may break inference in any way
        raise NotHere from None
