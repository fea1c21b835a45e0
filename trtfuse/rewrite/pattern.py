"""The pattern language: what a rule looks for, written as the calls that would compute it.

    op.Mul(op.Conv(var("x"), const("w"), out="y"), const("s"), commutes=True)

A pattern matches the value that its outermost call computes. Matching binds names, changes
nothing, and tries every way to match: `matches` is a generator, and the first match that a rule's
guards let pass is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from trtfuse.errors import UsageError
from trtfuse.ir.constants import EVALUATED, constant
from trtfuse.ir.graph import Node, Value, in_order
from trtfuse.ir.operators import misspelled
from trtfuse.ir.tensor import Tensor


class Veto(NamedTuple):
    """Why something whose structure matched is not rewritten.

    Attributes:
        guard: the name of the guard or view that stopped it.
        because: the end of the sentence "not fused because ...".
    """

    guard: str
    because: str


class Match:
    """What a pattern found.

    Attributes:
        bound: what each name of the pattern stands for: a `Value`, or the view of a node.
        nodes: the nodes that the pattern covers, the root first.
        vetoes: what views refused on the way, for the report.
        seen: what views said of nodes; good for as long as the graph does not change.
    """

    __slots__ = ("bound", "nodes", "seen", "vetoes")

    def __init__(self, vetoes: list[Veto], seen: Seen | None = None) -> None:
        self.bound: dict[Any, Any] = {}
        self.nodes: tuple[Node, ...] = ()
        self.vetoes = vetoes
        self.seen: Seen = {} if seen is None else seen

    def __getitem__(self, name: str) -> Any:
        try:
            return self.bound[name]
        except KeyError:
            names = ", ".join(f"'{each}'" for each in self.bound if isinstance(each, str))
            raise UsageError(f"the pattern binds no '{name}'; it binds {names}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.bound

    def tensor(self, name: str) -> Tensor:
        """The constant that a name is bound to."""
        tensor = constant(self.bound[name])
        assert tensor is not None, f"'{name}' is bound to no constant"
        return tensor

    @property
    def root(self) -> Node:
        """The node whose outputs the rule replaces."""
        return self.nodes[0]

    @property
    def ordered(self) -> tuple[Node, ...]:
        """The nodes, each after those it reads from."""
        return self.nodes[::-1] if len(self.nodes) < 3 else in_order(self.nodes)

    def with_(self, name: Any, thing: Any, nodes: tuple[Node, ...] = ()) -> Match:
        """The match and one more binding."""
        more = Match(self.vetoes, self.seen)
        more.bound = self.bound if name is None else {**self.bound, name: thing}
        more.nodes = self.nodes + nodes
        return more

    def view(self, view: type[View], node: Node) -> Any:
        """What a view says of a node."""
        key = view, node
        if key not in self.seen:
            self.seen[key] = view.of(node)
        return self.seen[key]


#: What a view said of a node: itself, why it refused it, or None.
Seen = dict[tuple[type["View"], Node], Any]


class Pattern:
    """What a value may look like."""

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        """Every way in which the value looks like the pattern, given what is bound already."""
        raise NotImplementedError

    def roots(self) -> tuple[str, ...]:
        """The operators that can compute a value that matches; empty for any value at all.

        `ANY_OPERATOR` stands for every operator.
        """
        return ()

    def may_read(self, operators: frozenset[str]) -> bool:  # noqa: ARG002 - by default, any
        """Whether a node that reads from these operators may compute a value that matches."""
        return True

    def depth(self) -> int:
        """How many nodes in a row it can cover: so far up does a change make a difference."""
        return 0

    def parts(self) -> tuple[Pattern, ...]:
        """The patterns that it is made of."""
        return ()

    def own_names(self) -> tuple[str, ...]:
        """What it binds itself."""
        return ()

    def names(self) -> frozenset[str]:
        """What it and its parts bind."""
        return frozenset(self.own_names()).union(*(part.names() for part in self.parts()))

    def mistake(self) -> str | None:
        """What it or its parts ask for that ONNX does not have."""
        return next(filter(None, (part.mistake() for part in self.parts())), None)

    def describe(self) -> str:
        """The pattern in a few words, to say what was expected."""
        raise NotImplementedError

    def __or__(self, other: Pattern) -> Pattern:
        return _Alternatives((self, other))


class _Variable(Pattern):
    def __init__(self, name: str, optional: bool) -> None:
        self.name = name
        self.optional = optional

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        if value is None and not self.optional:
            return
        if self.name not in match.bound:
            yield match.with_(self.name, value)
        elif match.bound[self.name] is value:
            yield match

    def own_names(self) -> tuple[str, ...]:
        return (self.name,)

    def describe(self) -> str:
        return "any value"


class _Constant(_Variable):
    def __init__(self, name: str, optional: bool, where: Callable[[Tensor], bool] | None) -> None:
        super().__init__(name, optional)
        self.where = where

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        tensor = constant(value)
        if value is not None and (tensor is None or (self.where and not self.where(tensor))):
            return
        yield from super().matches(value, match)

    def describe(self) -> str:
        return "a constant"


class _Alternatives(Pattern):
    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self.patterns = patterns
        # Of many alternatives, only those that begin with the operator of the node are tried.
        self._by_operator: dict[str, list[Pattern]] | None = {}
        for pattern in patterns:
            if not pattern.roots():
                self._by_operator = None
                break
            for operator in pattern.roots():
                self._by_operator.setdefault(operator, []).append(pattern)

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        patterns: Iterable[Pattern] = self.patterns
        if self._by_operator is not None:
            producer = None if value is None else value.producer
            patterns = self._by_operator.get(producer.op, ()) if producer is not None else ()
        for pattern in patterns:
            yield from pattern.matches(value, match)

    def roots(self) -> tuple[str, ...]:
        roots = [pattern.roots() for pattern in self.patterns]
        return tuple(dict.fromkeys(sum(roots, ()))) if all(roots) else ()

    def may_read(self, operators: frozenset[str]) -> bool:
        return any(pattern.may_read(operators) for pattern in self.patterns)

    def depth(self) -> int:
        return max(pattern.depth() for pattern in self.patterns)

    def parts(self) -> tuple[Pattern, ...]:
        return self.patterns

    def describe(self) -> str:
        return " or ".join(pattern.describe() for pattern in self.patterns)

    def __or__(self, other: Pattern) -> Pattern:
        return _Alternatives((*self.patterns, other))


class _Rest(Pattern):
    """The remaining inputs of a call."""

    def __init__(self, name: str, each: Pattern | None) -> None:
        self.name = name
        self.each = each

    def matches_all(self, values: tuple[Value | None, ...], match: Match) -> Iterator[Match]:
        if self.each is None:
            yield match.with_(self.name, values)
            return
        found: list[Match] = []
        for value in values:
            # Each input binds names of its own; the first way to match it will do.
            first = next(self.each.matches(value, Match(match.vetoes, match.seen)), None)
            if first is None:
                return
            found.append(first)
        nodes = tuple(dict.fromkeys(node for each in found for node in each.nodes))
        yield match.with_(self.name, found, nodes)

    def depth(self) -> int:
        return 0 if self.each is None else self.each.depth()

    def own_names(self) -> tuple[str, ...]:
        return (self.name,)

    def mistake(self) -> str | None:
        return None if self.each is None else self.each.mistake()

    def describe(self) -> str:
        return "any inputs" if self.each is None else f"inputs that are each {self.each.describe()}"


class Call(Pattern):
    """A node of one operator. Made by `op`; `call[i]` is its output i.

    The same `Call` standing in a pattern twice has to match the same node.
    """

    def __init__(
        self,
        operator: str,
        inputs: tuple[Pattern, ...],
        out: str | tuple[str, ...] | None,
        commutes: bool,
        attributes: dict[str, Any],
    ) -> None:
        self.operator = operator
        self.inputs = inputs
        self.outs = (out,) if isinstance(out, str) else out or ()
        self.attributes = attributes
        self.rest = inputs[-1] if inputs and isinstance(inputs[-1], _Rest) else None
        fixed = inputs[:-1] if self.rest is not None else inputs
        # The first two inputs are the ones that may change places.
        self.orders = [fixed, (*fixed[1::-1], *fixed[2:])] if commutes else [fixed]

    def __getitem__(self, index: int) -> Pattern:
        return _Output(self, index)

    def matches(self, value: Value | None, match: Match, index: int = 0) -> Iterator[Match]:
        node = None if value is None else value.producer
        if node is None or node.op != self.operator or node.outputs[index] is not value:
            return
        if self in match.bound:
            if match.bound[self] is node:
                yield match
            return
        for name, wanted in self.attributes.items():
            found = node.attribute(name)
            if not (wanted(found) if callable(wanted) else found == wanted):
                return
        inputs = node.inputs
        fixed = len(self.orders[0])
        if len(inputs) > fixed and self.rest is None and any(v is not None for v in inputs[fixed:]):
            return
        here = match.with_(self, node, (node,))
        for name, output in zip(self.outs, node.outputs, strict=False):
            here = here.with_(name, output)
        for order in self.orders:
            yield from self._match_inputs(order, node, 0, here)

    def _match_inputs(
        self, patterns: tuple[Pattern, ...], node: Node, index: int, match: Match
    ) -> Iterator[Match]:
        if index < len(patterns):
            for found in patterns[index].matches(node.input(index), match):
                yield from self._match_inputs(patterns, node, index + 1, found)
        elif isinstance(self.rest, _Rest):
            yield from self.rest.matches_all(tuple(node.inputs[index:]), match)
        else:
            yield match

    def roots(self) -> tuple[str, ...]:
        return (self.operator,)

    def may_read(self, operators: frozenset[str]) -> bool:
        fixed, more = self.orders[0], () if self.rest is None else (self.rest.each,)
        if all(isinstance(each, _Constant) for each in (*fixed, *more)):
            return operators <= EVALUATED
        return not any(each.roots() and operators.isdisjoint(each.roots()) for each in fixed)

    def depth(self) -> int:
        return 1 + max((pattern.depth() for pattern in self.inputs), default=0)

    def parts(self) -> tuple[Pattern, ...]:
        return self.inputs

    def own_names(self) -> tuple[str, ...]:
        return self.outs

    def mistake(self) -> str | None:
        return misspelled(self.operator, self.attributes) or super().mistake()

    def describe(self) -> str:
        return self.operator


#: What `Pattern.roots` has for a pattern that may begin with any operator there is.
ANY_OPERATOR = "*"


class AnyCall(Pattern):
    """A node of any operator whose inputs are all constant. Made by `on_constants`."""

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        node = None if value is None else value.producer
        if node is None or node.first_result is not value:
            return
        read = [*node.inputs, *node.captured()] if node.bodies else node.inputs
        if all(v is None or constant(v) is not None for v in read):
            yield match.with_(None, None, (node,))

    def roots(self) -> tuple[str, ...]:
        return (ANY_OPERATOR,)

    def may_read(self, operators: frozenset[str]) -> bool:
        return operators <= EVALUATED

    def depth(self) -> int:
        return 1

    def describe(self) -> str:
        return "an operator on constants"


class _Output(Pattern):
    def __init__(self, call: Call, index: int) -> None:
        self.call = call
        self.index = index

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        producer = None if value is None else value.producer
        if producer is not None and self.index < len(producer.outputs):
            yield from self.call.matches(value, match, self.index)

    def roots(self) -> tuple[str, ...]:
        return self.call.roots()

    def may_read(self, operators: frozenset[str]) -> bool:
        return self.call.may_read(operators)

    def depth(self) -> int:
        return self.call.depth()

    def parts(self) -> tuple[Pattern, ...]:
        return (self.call,)

    def describe(self) -> str:
        return f"output {self.index} of {self.call.describe()}"


class View(Protocol):
    """A node, or a few, seen as one layer of TensorRT.

    Attributes:
        operators: the operators that can be the last node of such a layer.
        title: the layer in a few words.
        longest: how many nodes it is made of at most.
        nodes: the nodes that make it up, the last one first.
        x: what it computes from.
    """

    operators: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    longest: ClassVar[int]

    @property
    def nodes(self) -> tuple[Node, ...]: ...

    @property
    def x(self) -> Value: ...

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        """The view of a node; why it has none although it looks so; None if it does not."""


class SeenAs(Pattern):
    """A value that a layer computes, as a view sees it. Made by `seen_as`."""

    def __init__(
        self,
        view: type[View],
        name: str,
        of: Pattern,
        out: str | None,
        where: Callable[[Any], bool] | None,
    ) -> None:
        self.view = view
        self.name = name
        self.of = of
        self.out = out
        self.where = where

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        node = None if value is None else value.producer
        if node is None or node.op not in self.view.operators or node.outputs[0] is not value:
            return
        seen = match.view(self.view, node)
        if isinstance(seen, str):
            # Of a root that is no such layer there is nothing to say: no structure matched yet.
            if match.nodes:
                match.vetoes.append(Veto(self.name, seen))
        elif seen is not None and (self.where is None or self.where(seen)):
            here = match.with_(self.name, seen, seen.nodes)
            yield from self.of.matches(seen.x, here.with_(self.out, value) if self.out else here)

    def roots(self) -> tuple[str, ...]:
        return self.view.operators

    def may_read(self, operators: frozenset[str]) -> bool:
        # A layer of several nodes reads what it computes from further up.
        roots = self.of.roots() if self.view.longest == 1 else ()
        return not roots or not operators.isdisjoint(roots)

    def depth(self) -> int:
        return self.view.longest + self.of.depth()

    def parts(self) -> tuple[Pattern, ...]:
        return (self.of,)

    def own_names(self) -> tuple[str, ...]:
        return (self.name,) if self.out is None else (self.name, self.out)

    def describe(self) -> str:
        return self.view.title


class Given(Pattern):
    """A pattern and a condition on what it bound. Made by `given`."""

    def __init__(self, pattern: Pattern, condition: Callable[[Match], bool]) -> None:
        self.pattern = pattern
        self.condition = condition

    def matches(self, value: Value | None, match: Match) -> Iterator[Match]:
        for found in self.pattern.matches(value, match):
            if self.condition(found):
                yield found

    def roots(self) -> tuple[str, ...]:
        return self.pattern.roots()

    def may_read(self, operators: frozenset[str]) -> bool:
        return self.pattern.may_read(operators)

    def depth(self) -> int:
        return self.pattern.depth()

    def parts(self) -> tuple[Pattern, ...]:
        return (self.pattern,)

    def describe(self) -> str:
        return self.pattern.describe()


class _Operators:
    """`op.Conv(...)` is a call of Conv; `op["com.microsoft::Gelu"](...)` one of another domain."""

    def __getitem__(self, operator: str) -> Callable[..., Call]:
        def call(
            *inputs: Pattern,
            out: str | tuple[str, ...] | None = None,
            commutes: bool = False,
            **attributes: Any,
        ) -> Call:
            return Call(operator, inputs, out, commutes, attributes)

        return call

    def __getattr__(self, operator: str) -> Callable[..., Call]:
        return self[operator]


op = _Operators()


def var(name: str, *, optional: bool = False) -> Pattern:
    """Any value, bound to `name`; the same name stands for the same value everywhere.

    Args:
        name: what the match and the guards know it by.
        optional: whether it may be left out; it is bound to None then.
    """
    return _Variable(name, optional)


def const(
    name: str, *, optional: bool = False, where: Callable[[Tensor], bool] | None = None
) -> Pattern:
    """A constant (`trtfuse.ir.constants`), bound to `name`.

    Args:
        name: what the match and the guards know it by.
        optional: whether it may be left out; it is bound to None then.
        where: what has to hold of the tensor. Where it does not, the pattern does not match, and
            nothing is said of it in the report; a guard is what says why.
    """
    return _Constant(name, optional, where)


def rest(name: str, each: Pattern | None = None) -> Pattern:
    """The inputs of a call that its other patterns leave, as in `op.Concat(rest("parts"))`.

    Args:
        name: bound to the tuple of values, or to a list of matches if `each` is given.
        each: what every one of them has to look like; each binds names of its own.
    """
    return _Rest(name, each)


def any_of(*patterns: Pattern) -> Pattern:
    """What any of the patterns matches; `a | b` for two."""
    return _Alternatives(patterns)


def on_constants() -> Pattern:
    """A node of any operator that computes from constants alone, bodies included."""
    return AnyCall()


def given(pattern: Pattern, condition: Callable[[Match], bool]) -> Pattern:
    """What a pattern matches, where a condition on all that it bound holds as well.

    A condition belongs to the structure: where it does not hold, nothing is said in the report.
    """
    return Given(pattern, condition)


def seen_as(
    view: type[View],
    name: str,
    of: Pattern,
    *,
    out: str | None = None,
    where: Callable[[Any], bool] | None = None,
) -> Pattern:
    """A value that a layer computes, in any of the layer's spellings.

    Args:
        view: the layer.
        name: bound to the view.
        of: what the layer computes from.
        out: bound to the value.
        where: what has to hold of the view for the pattern to match.
    """
    return SeenAs(view, name, of, out, where)
