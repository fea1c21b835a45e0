"""What a pattern found: a match, or how near it came to one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value, in_order
from trtfuse.ir.tensor import Tensor
from trtfuse.rewrite.mistake import RuleError
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.view import View

#: What a view said of a node: itself, why it refused it, or None.
Seen = dict[tuple[type[View], Node], Any]


class Lack(NamedTuple):
    """What is missing where a pattern does not match.

    Attributes:
        there: what is there instead.
        wanted: what should have computed the value; empty where `there` says all.
        computed: whether anything computes the value.
    """

    there: str
    wanted: str = ""
    computed: bool = True

    def __str__(self) -> str:
        return f"{self.there}{self.wanted and f' by {self.wanted}'}"


class Sought(Protocol):
    """As much of a pattern as has to be known where it is not there."""

    def layers(self) -> int:
        """How many operators, or layers, it is made of at least."""

    def lack(self, value: Value | None, match: Match) -> Lack | None:
        """What is there instead; None if it reads another value only."""


class Match:
    """What a pattern found.

    Attributes:
        bound: what each name of the pattern stands for: a `Value`, or the view of a node.
        nodes: the nodes that the pattern covers, the root first.
        refused: what views refused on the way.
        seen: what views said of nodes; good for as long as the graph does not change.
    """

    __slots__ = ("bound", "nodes", "refused", "seen")

    #: Whether the matcher goes on where a part is missing.
    near: ClassVar[bool] = False

    def __init__(self, refused: list[Reason], seen: Seen | None = None) -> None:
        self.bound: dict[Any, Any] = {}
        self.nodes: tuple[Node, ...] = ()
        self.refused = refused
        self.seen: Seen = {} if seen is None else seen

    def __getitem__(self, name: str) -> Any:
        try:
            return self.bound[name]
        except KeyError:
            names = ", ".join(f"'{bound}'" for bound in self.bound if isinstance(bound, str))
            raise RuleError(f"the pattern binds no '{name}'; it binds {names}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.bound

    def tensor(self, name: str) -> Tensor:
        """The constant that a name is bound to."""
        bound = self[name]
        tensor = constant(bound) if isinstance(bound, Value) else None
        if tensor is None:
            raise RuleError(f"the pattern binds '{name}' to no constant; use `const('{name}')`")
        return tensor

    @property
    def root(self) -> Node:
        """The node whose outputs the rule replaces."""
        return self.nodes[0]

    @property
    def ordered(self) -> tuple[Node, ...]:
        """The nodes, each after those it reads from."""
        return self.nodes[::-1] if len(self.nodes) < 3 else in_order(self.nodes)

    def with_(self, name: Any, thing: Any, nodes: tuple[Node, ...] = ()) -> Self:
        """The match and one more binding."""
        more = self.anew()
        more.bound = self.bound if name is None else {**self.bound, name: thing}
        more.nodes = self.nodes + nodes
        return more

    def with_all(self, name: str, parts: Sequence[Self]) -> Self:
        """The match, and those of the inputs that a name stands for."""
        nodes = tuple(dict.fromkeys(node for part in parts for node in part.nodes))
        return self.with_(name, parts, nodes)

    def anew(self) -> Self:
        """A match of its own for a part that binds names of its own."""
        return type(self)(self.refused, self.seen)

    def view(self, view: type[View], node: Node) -> Any:
        """What a view says of a node."""
        key = view, node
        if key not in self.seen:
            self.seen[key] = view.of(node)
        return self.seen[key]

    def without(self, pattern: Sought, value: Value | None) -> Iterable[Self]:  # noqa: ARG002
        """How to go on where a pattern does not match a value: not at all."""
        return ()

    def closest(
        self,
        ways: Iterable[Self],
        pattern: Sought | None = None,  # noqa: ARG002
        value: Value | None = None,  # noqa: ARG002
    ) -> Iterable[Self]:
        """Those of some ways to match that are worth going on with: all of them."""
        return ways

    def holds(self, condition: Callable[[Self], bool]) -> bool:
        """Whether to go on, given a condition on what is bound."""
        return condition(self)


class NearMatch(Match):
    """How near a pattern comes to a match: the matcher goes on where a part is missing.

    Of several ways to match it follows the closest, so that every pattern has exactly one.

    Attributes:
        layers: how many operators, or layers, of the pattern are there.
        missing: how many are not.
        lacks: what is there instead.
        differs: whether a name of the pattern would stand for two values.
        failed: what the condition says that fails although all is there.
    """

    __slots__ = ("differs", "failed", "lacks", "layers", "missing")

    near: ClassVar[bool] = True

    def __init__(self, refused: list[Reason] | None = None, seen: Seen | None = None) -> None:
        super().__init__([] if refused is None else refused, seen)
        self.layers = 0
        self.missing = 0
        self.lacks: tuple[Lack, ...] = ()
        self.differs = False
        self.failed: str | None = None

    @property
    def condition(self) -> str | None:
        """Where every operator and constant is there, the condition that does not hold."""
        if self.lacks:
            return None
        return _OTHER_VALUES if self.differs else self.failed

    @property
    def because(self) -> tuple[str, ...]:
        """What is there instead, or the condition that does not hold, a sentence each."""
        condition = self.condition
        return tuple(map(str, self.lacks)) if condition is None else (condition,)

    @property
    def closeness(self) -> tuple[float, int, bool, int, int]:
        """What to order by; the larger, the closer.

        The right operator with another attribute is closer than another operator.
        """
        size = self.layers + self.missing
        share = self.layers / size if size else 1.0
        others = sum(bool(lack.wanted) for lack in self.lacks)
        return share, -len(self.lacks), not self.differs, self.layers, -others

    def with_(self, name: Any, thing: Any, nodes: tuple[Node, ...] = ()) -> Self:
        more = super().with_(name, thing, nodes)
        more.layers, more.missing = self.layers + (1 if nodes else 0), self.missing
        more.lacks, more.differs, more.failed = self.lacks, self.differs, self.failed
        return more

    def with_all(self, name: str, parts: Sequence[Self]) -> Self:
        more = super().with_all(name, parts)
        more.layers = self.layers + sum(part.layers for part in parts)
        more.missing += sum(part.missing for part in parts)
        more.lacks = tuple(dict.fromkeys(lack for match in (self, *parts) for lack in match.lacks))
        more.differs = more.differs or any(part.differs for part in parts)
        return more

    def without(self, pattern: Sought, value: Value | None) -> Iterable[Self]:
        more = self.with_(None, None)
        more.missing += pattern.layers()
        lack = pattern.lack(value, self)
        if lack is None:
            more.differs = True
        elif lack not in more.lacks:
            more.lacks += (lack,)
        return (more,)

    def closest(
        self, ways: Iterable[Self], pattern: Sought | None = None, value: Value | None = None
    ) -> Iterable[Self]:
        best = max(ways, key=lambda way: way.closeness)
        if pattern is not None and best.layers == self.layers and best.missing > self.missing:
            return self.without(pattern, value)
        return (best,)

    def holds(self, condition: Callable[[Self], bool]) -> bool:
        if not self.lacks and not self.differs and self.failed is None and not condition(self):
            said = meaning(condition)
            self.failed = f"this does not hold: {said}" if said else "a condition of the rule fails"
        return True


#: A match, or a near one: the matcher goes on with what it is given.
M = TypeVar("M", bound=Match)

#: Every operator is there and no match is: names of the pattern that stand for one value do not.
_OTHER_VALUES = "its parts are there, but do not read the same values"


def meaning(condition: Callable[[Any], bool]) -> str:
    """The first line of what a condition says of itself, as the end of a sentence."""
    line = (inspect.getdoc(condition) or "").partition("\n")[0].rstrip(".")
    first = line.partition(" ")[0]
    # The name of an operator keeps its capitals.
    return line[:1].lower() + line[1:] if first[1:].islower() or len(first) == 1 else line
