"""The pattern language: what a rule looks for, written as the calls that would compute it.

    op.Mul(op.Conv(var("x"), const("w"), out="y"), const("s"), commutes=True)

A pattern matches the value that its outermost call computes. Matching binds names, changes
nothing, and tries every way to match: `matches` is a generator, and the first match that a rule's
guards let pass is taken. Given a `NearMatch` to begin with, the same matcher remembers what is
missing and goes on: that is how explanations know how near a rule came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trtfuse.analysis.constants import EVALUATED, constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.operators import misspelled
from trtfuse.ir.tensor import Tensor
from trtfuse.rewrite.match import Lack, M, NearMatch, meaning
from trtfuse.rewrite.match import Match as Match
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.view import View


class Pattern:
    """What a value may look like."""

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        """Every way in which the value looks like the pattern, given what is bound already."""
        raise NotImplementedError

    def nearest(self, value: Value | None) -> NearMatch:
        """How near the value comes to looking like the pattern."""
        return next(iter(self.matches(value, NearMatch())))

    def lack(self, value: Value | None, match: Match) -> Lack | None:  # noqa: ARG002
        """What is there where a value does not match; None if it reads another value only."""
        if value is None:
            return Lack(f"an input is left out that {self.describe()} would compute")
        computed = value.producer is not None
        there = _origin(value, "not" if computed else "not computed")
        return Lack(there, self.describe(), computed)

    def layers(self) -> int:
        """How many operators, or layers, it is made of at least."""
        return sum(part.layers() for part in self.parts())

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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        if value is None and not self.optional:
            yield from match.without(self, value)
        elif self.name not in match.bound:
            yield match.with_(self.name, value)
        elif match.bound[self.name] is value:
            yield match
        else:
            yield from match.without(self, value)

    def lack(self, value: Value | None, match: Match) -> Lack | None:  # noqa: ARG002
        return Lack("an input that the rule needs is left out") if value is None else None

    def own_names(self) -> tuple[str, ...]:
        return (self.name,)

    def describe(self) -> str:
        return "any value"


class _Constant(_Variable):
    def __init__(self, name: str, optional: bool, where: Callable[[Tensor], bool] | None) -> None:
        super().__init__(name, optional)
        self.where = where

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        if value is not None and not self._takes(constant(value)):
            yield from match.without(self, value)
        else:
            yield from super().matches(value, match)

    def _takes(self, tensor: Tensor | None) -> bool:
        return tensor is not None and (self.where is None or self.where(tensor))

    def lack(self, value: Value | None, match: Match) -> Lack | None:
        if value is None or self._takes(constant(value)):
            return super().lack(value, match)
        if constant(value) is None:
            return Lack(_origin(value, "not a constant"))
        return Lack(f"{_shown(value)} is not the constant that the rule needs")

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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        producer = None if value is None else value.producer
        patterns: Iterable[Pattern] = self.patterns
        if self._by_operator is not None and not match.near:
            patterns = self._by_operator.get("" if producer is None else producer.op, ())
        ways = (way for pattern in patterns for way in pattern.matches(value, match))
        yield from match.closest(ways, self, value)

    def roots(self) -> tuple[str, ...]:
        roots = [pattern.roots() for pattern in self.patterns]
        return tuple(dict.fromkeys(sum(roots, ()))) if all(roots) else ()

    def may_read(self, operators: frozenset[str]) -> bool:
        return any(pattern.may_read(operators) for pattern in self.patterns)

    def depth(self) -> int:
        return max(pattern.depth() for pattern in self.patterns)

    def parts(self) -> tuple[Pattern, ...]:
        return self.patterns

    def layers(self) -> int:
        return min(pattern.layers() for pattern in self.patterns)

    def describe(self) -> str:
        return " or ".join(pattern.describe() for pattern in self.patterns)

    def __or__(self, other: Pattern) -> Pattern:
        return _Alternatives((*self.patterns, other))


class _Rest(Pattern):
    """The remaining inputs of a call."""

    def __init__(self, name: str, pattern: Pattern | None) -> None:
        self.name = name
        self.pattern = pattern

    def matches_all(self, values: tuple[Value | None, ...], match: M) -> Iterator[M]:
        if self.pattern is None:
            yield match.with_(self.name, values)
            return
        inputs: list[M] = []
        for value in values:
            # Each input binds names of its own; the first way to match it will do.
            first = next(self.pattern.matches(value, match.anew()), None)
            if first is None:
                return
            inputs.append(first)
        yield match.with_all(self.name, inputs)

    def depth(self) -> int:
        return 0 if self.pattern is None else self.pattern.depth()

    def own_names(self) -> tuple[str, ...]:
        return (self.name,)

    def mistake(self) -> str | None:
        return None if self.pattern is None else self.pattern.mistake()

    def describe(self) -> str:
        if self.pattern is None:
            return "any inputs"
        return f"inputs that are each {self.pattern.describe()}"


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

    def matches(self, value: Value | None, match: M, index: int = 0) -> Iterator[M]:
        node = None if value is None else value.producer
        if node is None or node.op != self.operator or node.outputs[index] is not value:
            yield from match.without(self, value)
        elif self in match.bound:
            yield from (match,) if match.bound[self] is node else match.without(self, value)
        elif self._other_attribute(node) is not None or self._has_more_inputs(node):
            yield from match.without(self, value)
        else:
            here = match.with_(self, node, (node,))
            for name, output in zip(self.outs, node.outputs, strict=False):
                here = here.with_(name, output)
            orders = self.orders
            ways = (way for order in orders for way in self._match_inputs(order, node, 0, here))
            yield from match.closest(ways)

    def _other_attribute(self, node: Node) -> str | None:
        """The attribute of a node that is not as the pattern wants it."""
        for name, wanted in self.attributes.items():
            given = node.attribute(name)
            if not (wanted(given) if callable(wanted) else given == wanted):
                return name
        return None

    def _has_more_inputs(self, node: Node) -> bool:
        more = node.inputs[len(self.orders[0]) :]
        return self.rest is None and any(value is not None for value in more)

    def lack(self, value: Value | None, match: Match) -> Lack | None:
        node = None if value is None else value.producer
        if node is None or node.op != self.operator:
            return super().lack(value, match)
        if self in match.bound:
            return None
        name = self._other_attribute(node)
        if name is not None:
            given = node.attribute(name)
            return Lack(f"the attribute {name} of {node.op} {node.label} is {given}")
        if self._has_more_inputs(node):
            most = len(self.orders[0])
            inputs = "input" if most == 1 else "inputs"
            return Lack(f"{node.op} {node.label} has more than {most} {inputs}")
        return super().lack(value, match)

    def _match_inputs(
        self, patterns: tuple[Pattern, ...], node: Node, index: int, match: M
    ) -> Iterator[M]:
        if index < len(patterns):
            for extended in patterns[index].matches(node.input(index), match):
                yield from self._match_inputs(patterns, node, index + 1, extended)
        elif isinstance(self.rest, _Rest):
            yield from self.rest.matches_all(tuple(node.inputs[index:]), match)
        else:
            yield match

    def roots(self) -> tuple[str, ...]:
        return (self.operator,)

    def may_read(self, operators: frozenset[str]) -> bool:
        fixed, more = self.orders[0], () if self.rest is None else (self.rest.pattern,)
        if all(isinstance(pattern, _Constant) for pattern in (*fixed, *more)):
            return operators <= EVALUATED
        return not any(
            pattern.roots() and operators.isdisjoint(pattern.roots()) for pattern in fixed
        )

    def depth(self) -> int:
        return 1 + max((pattern.depth() for pattern in self.inputs), default=0)

    def parts(self) -> tuple[Pattern, ...]:
        return self.inputs

    def layers(self) -> int:
        return 1 + super().layers()

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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        node = None if value is None else value.producer
        if node is not None and node.first_result is value and _reads_constants(node):
            yield match.with_(None, None, (node,))
        else:
            yield from match.without(self, value)

    def layers(self) -> int:
        return 1

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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        producer = None if value is None else value.producer
        if producer is None or value not in producer.outputs[self.index : self.index + 1]:
            yield from match.without(self, value)
        else:
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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        seen = self._seen(value, match)
        if seen is None or isinstance(seen, str) or (self.where and not self.where(seen)):
            # Of a root that is no such layer there is nothing to say: no structure matched yet.
            if isinstance(seen, str) and match.nodes:
                match.refused.append(Reason(self.view.condition, seen))
            yield from match.without(self, value)
        else:
            here = match.with_(self.name, seen, seen.nodes)
            yield from self.of.matches(seen.x, here.with_(self.out, value) if self.out else here)

    def _seen(self, value: Value | None, match: Match) -> Any:
        """What the view says of the node that computes a value."""
        node = None if value is None else value.producer
        if node is None or node.op not in self.view.operators or node.outputs[0] is not value:
            return None
        return match.view(self.view, node)

    def lack(self, value: Value | None, match: Match) -> Lack | None:
        seen = self._seen(value, match)
        if value is None or seen is None:
            return super().lack(value, match)
        if isinstance(seen, str):
            return Lack(_origin(value, f"and {seen}") if match.nodes else seen)
        needed = meaning(self.where) if self.where else ""
        return Lack(f"{_origin(value)}: {needed or f'not {self.describe()} as the rule needs it'}")

    def layers(self) -> int:
        return 1 + super().layers()

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

    def matches(self, value: Value | None, match: M) -> Iterator[M]:
        for extended in self.pattern.matches(value, match):
            if extended.holds(self.condition):
                yield extended

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


def _reads_constants(node: Node) -> bool:
    """Whether all that a node reads is constant, in its bodies too."""
    read = [*node.inputs, *node.captured()] if node.bodies else node.inputs
    return all(value is None or constant(value) is not None for value in read)


def _origin(value: Value, end: str = "") -> str:
    """What computes a value, as the beginning of a sentence that says what should."""
    node = value.producer
    if node is not None:
        what = f"computed by {node.op} {node.label}"
    elif constant(value) is not None:
        what = "a constant"
    else:
        what = "an input of the graph" if value.is_input else "given from outside"
    return f"`{value.name}` is {what}{end and f', {end}'}"


def _shown(value: Value) -> str:
    tensor = constant(value)
    if tensor is not None and tensor.size == 1:
        return f"`{value.name}` = {tensor.array().reshape(()).item()!r}"
    return f"`{value.name}`"


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
    """A constant (`trtfuse.analysis.constants`), bound to `name`.

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
