"""Activations as groups see them: one node, or a few that spell one out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trtfuse.analysis.constants import constant
from trtfuse.groups.partition import Partition, only_reader, other_operand
from trtfuse.ir.graph import Node, Value
from trtfuse.layers.clip import Clip
from trtfuse.layers.gelu import SpelledGelu

#: What TensorRT has as an Activation, in one operator; inputs after the first are constant.
OPERATORS = frozenset(
    (
        "Celu",
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
    )
)

#: f(x) in x * f(x): SiLU and HardSwish.
_GATES = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation.

    Attributes:
        nodes: each after those it reads from.
        x: what it is of.
    """

    nodes: tuple[Node, ...]
    x: Value

    @property
    def is_relu(self) -> bool:
        """Whether it is a ReLU in one node."""
        return self.nodes[0].op == "Relu"

    @property
    def output(self) -> Value:
        """What it computes."""
        return self.nodes[-1].output


class Activations:
    """The activations of a graph, by what they are of.

    Args:
        partition: of the graph.

    Attributes:
        spelled: those of several nodes, by what they are of.
        gelus: those of them that are GELU.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.spelled: dict[Value, Activation] = {}
        self.gelus: list[Activation] = []
        for node in partition.order:
            if node.op not in ("Mul", "Div"):
                continue
            activation = next(_gated(node), None)
            gelu = None if activation is not None else SpelledGelu.times_a_number(node)
            if gelu is not None:
                place = partition.rank
                nodes = sorted((n for n in gelu.nodes if n in place), key=place.__getitem__)
                activation = Activation(tuple(nodes), gelu.x)
            if activation is None or partition.open_value(activation.nodes, node) is not None:
                continue
            if gelu is not None:
                before = self.spelled.get(activation.x)
                if before in self.gelus[-1:] and set(before.nodes) < set(activation.nodes):
                    # That is the same GELU without its factor, which comes last.
                    self.gelus.pop()
                self.gelus.append(activation)
            self.spelled[activation.x] = activation

    def of(self, value: Value) -> Activation | None:
        """The activation that alone reads a value, if none of its nodes is in a group yet."""
        if value.outputs:
            return None
        activation = self.spelled.get(value)
        if activation is None or not all(reader in activation.nodes for reader in value.uses):
            reader = only_reader(value)
            activation = None if reader is None else single(reader, value)
        if activation is None or not all(map(self.partition.free, activation.nodes)):
            return None
        return activation

    def among_readers(self, value: Value) -> Node | None:
        """An activation among the nodes that read a value, maybe not the only one."""
        return next((node for node in value.uses if single(node, value) is not None), None)


def single(node: Node, x: Value) -> Activation | None:
    """A node as an activation of a value, if it is one."""
    if node.op in OPERATORS:
        rest = [operand for operand in node.inputs[1:] if operand is not None]
        if node.inputs[0] is x and all(constant(operand) is not None for operand in rest):
            return Activation((node,), x)
    elif node.op in ("Max", "Min"):
        seen = Clip.of(node)
        if isinstance(seen, Clip) and seen.x is x:
            return Activation((node,), x)
    return None


def _gated(node: Node) -> Iterator[Activation]:
    """x * sigmoid(x), x * sigmoid(c * x), x * hard_sigmoid(x), x * tanh(softplus(x))."""
    if node.op != "Mul":
        return
    for gate in map(node.operand, range(2)):
        function, x = gate.producer, other_operand(node, gate)
        if function is None or x is None or not function.inputs:
            continue
        inner = function.inputs[0]
        if inner is None or (function.op not in _GATES and function.op != "Tanh"):
            continue
        if function.op in _GATES and inner is x:
            yield Activation((function, node), x)
            continue
        before = inner.producer
        if before is None:
            continue
        if function.op == "Tanh" and before.op == "Softplus" and before.inputs[0] is x:
            yield Activation((before, function, node), x)
        elif function.op == "Sigmoid" and before.op == "Mul":
            factor = constant(other_operand(before, x))
            if factor is not None and factor.size == 1:
                yield Activation((before, function, node), x)
