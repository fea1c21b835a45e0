"""Rules: a pattern, guards, and a builder, as one value; and the catalogue of them.

    @rule(
        "conv-scale",
        seen_as(Scale, "scale", seen_as(Convolution, "conv", var("x"))),
        one_value_per_channel("scale", of="conv"),
        equation=Equation("s * (w * x + b) + t", "(s * w) * x + (s * b + t)"),
        entry=F8,
    )
    def conv_scale(m, new): ...      # returns what takes the place of the root's output

A builder gets the match and a `Replacement` to make nodes with. It never touches the graph.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Concatenate, Literal, NamedTuple, ParamSpec, overload

from trtfuse.errors import UsageError
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.editor import GraphEditor
from trtfuse.rewrite.entries import UNLISTED, Entry, listed
from trtfuse.rewrite.pattern import ANY_OPERATOR, Match, Pattern
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.replacement import Replacement

P = ParamSpec("P")

#: A rewrite is algebra that any runtime can run; a group is what one GPU kernel will run.
Kind = Literal["rewrite", "group"]


@dataclass(frozen=True, slots=True, init=False)
class Guard(Condition):
    """A condition of a rule beyond the structure, with the function that asks it.

    Attributes:
        name, doc, helps: as in `Condition`.
        check: returns None, or the end of the sentence "not fused because ...".
    """

    check: Callable[[Match], str | None] = field(kw_only=True)

    def __init__(
        self,
        name: str,
        check: Callable[[Match], str | None],
        doc: str = "",
        helps: str = "",
    ) -> None:
        Condition.__init__(self, name, doc, helps)
        object.__setattr__(self, "check", check)


#: A function of a match, and of arguments that the rule gives.
Asks = Callable[Concatenate[Match, P], str | None]


@overload
def guard(check: Asks[P]) -> Callable[P, Guard]: ...


@overload
def guard(*, helps: str) -> Callable[[Asks[P]], Callable[P, Guard]]: ...


def guard(check: Asks[P] | None = None, *, helps: str = "") -> object:
    """Makes a guard of a function of a match, and of arguments that the rule gives.

        @guard(helps="give the model static shapes")
        def static(m, name): ...

    The function returns None where the rule may go on, else the end of the sentence "not fused
    because ...", with names and numbers. Its name, in kebab-case, is the guard's, and its docstring
    says what the guard makes sure of.

    Args:
        check: the function.
        helps: what a user can change where the rule may not go on.
    """

    def made(check: Asks[P]) -> Callable[P, Guard]:
        name, doc = check.__name__.replace("_", "-"), inspect.getdoc(check) or ""

        @functools.wraps(check)
        def with_arguments(*args: P.args, **kwargs: P.kwargs) -> Guard:
            return Guard(name, lambda m: check(m, *args, **kwargs), doc, helps)

        return with_arguments

    return made if check is None else made(check)


class Equation(NamedTuple):
    """What a rule holds to be the same.

    Attributes:
        before: what it looks for.
        after: what it makes of that.
        others: further equations of the same rule.
    """

    before: str
    after: str
    others: tuple[Equation, ...] = ()

    def also(self, before: str, after: str) -> Equation:
        """The equation, and one more that the same rule goes by."""
        return self._replace(others=(*self.others, Equation(before, after)))

    def __str__(self) -> str:
        return ";  ".join((f"{self.before}  ==  {self.after}", *map(str, self.others)))


#: What a builder returns: the value that takes the place of the root's output, or one for each;
#: None for an output that is left out, or that nothing needs.
Built = Value | tuple[Value | None, ...]


@dataclass(frozen=True)
class Rule:
    """A rewrite.

    Attributes:
        name: kebab-case; the same in the command line, the report and the docs.
        pattern: what it looks for.
        guards: what has to hold besides, cheap ones first.
        build: makes what takes the root's place.
        kind: "rewrite" or "group".
        entry: the entry of the fusion list that it implements.
        shared: the names of interior values that may have other consumers.
        explains: operators that the report says something about wherever one is left over.
        since: the opset that it applies from; before 7, Add and Mul broadcast by an attribute.
        equation: what it holds to be the same.
        takes: the spellings that it takes, in words.
    """

    name: str
    pattern: Pattern
    guards: tuple[Guard, ...]
    build: Callable[[Match, Replacement], Built]
    kind: Kind = "rewrite"
    entry: Entry = UNLISTED
    shared: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    since: int = 7
    equation: Equation | None = None
    takes: str = ""

    @property
    def doc(self) -> str:
        """What it does, in prose: the docstring of its builder."""
        return inspect.getdoc(self.build) or ""

    @functools.cached_property
    def depth(self) -> int:
        """How many nodes deep the pattern reaches."""
        return self.pattern.depth()

    def __repr__(self) -> str:
        return f"Rule({self.name!r})"


class Change(NamedTuple):
    """What a `GraphRule` did: the nodes that it looked at, and those that stand in their place."""

    nodes: tuple[Node, ...]
    into: tuple[Node, ...]


Changes = Iterator[Change]


#: Nodes that a `GraphRule` leaves as they are, though a user may expect it to change them, and why;
#: the first is the one that it is said of.
LeftApart = tuple[tuple[Node, ...], Reason]


@dataclass(frozen=True)
class GraphRule:
    """A rewrite that no pattern says: it takes the whole graph to find, and merges or moves nodes.

    What is computed stays the same operator by operator, so there is nothing to evaluate.

    Attributes:
        name, kind, entry, since, equation, takes: as in `Rule`.
        apply: changes a graph through an editor, and yields each change when it is made.
        guards: what has to hold.
        apart: what it leaves in a graph that it has been applied to, and why; for `explain`.
    """

    name: str
    apply: Callable[[GraphEditor], Changes]
    entry: Entry = UNLISTED
    kind: Kind = "rewrite"
    since: int = 1
    guards: tuple[Condition, ...] = ()
    apart: Callable[[Graph], Iterator[LeftApart]] | None = None
    equation: Equation | None = None
    takes: str = ""

    @property
    def doc(self) -> str:
        """What it does, in prose: the docstring of the function that applies it."""
        return inspect.getdoc(self.apply) or ""

    def __repr__(self) -> str:
        return f"GraphRule({self.name!r})"


@dataclass(frozen=True)
class GroupRule:
    """Nodes that one kernel runs. `trtfuse.groups` finds them when the rewrites are done.

    Attributes:
        name, entry, kind, since, equation, takes: as in `Rule`.
        doc: what it does, in prose.
        guards: what has to hold.
        module: where it is defined.
    """

    name: str
    entry: Entry
    doc: str = ""
    guards: tuple[Condition, ...] = ()
    module: str = ""
    kind: Kind = "group"
    since: int = 7
    equation: Equation | None = None
    takes: str = ""

    def __repr__(self) -> str:
        return f"GroupRule({self.name!r})"


AnyRule = Rule | GraphRule | GroupRule

#: Every rule by name.
CATALOGUE: dict[str, AnyRule] = {}


def graph_rule(
    name: str,
    *guards: Condition,
    equation: Equation | None = None,
    takes: str = "",
    entry: Entry | str = UNLISTED,
    apart: Callable[[Graph], Iterator[LeftApart]] | None = None,
) -> Callable[[Callable[[GraphEditor], Changes]], GraphRule]:
    """Adds a `GraphRule` to the catalogue; the function below it applies it.

    Args:
        name: see `GraphRule`, as for the others.
        guards: what has to hold.
        equation: what it holds to be the same.
        takes: the spellings that it takes, in words.
        entry: the entry of the fusion list that it implements, or its label.
        apart: says what it leaves as it is.

    Raises:
        UsageError: the name is taken.
    """

    def add(apply: Callable[[GraphEditor], Changes]) -> GraphRule:
        made = GraphRule(
            name,
            apply,
            _listed(entry),
            guards=guards,
            apart=apart,
            equation=equation,
            takes=takes,
        )
        _register(made, apply.__module__)
        return made

    return add


def group_rule(
    name: str,
    *guards: Condition,
    equation: Equation,
    doc: str,
    takes: str,
    entry: Entry,
    module: str,
) -> GroupRule:
    """Adds a `GroupRule` to the catalogue.

    Args:
        name: see `GroupRule`, as for the others.
        guards: what has to hold.
        equation: what it holds to be the same.
        doc: what it does, in prose.
        takes: the spellings that it takes, in words.
        entry: the entry of the fusion list that it implements.
        module: the name of the module that it is called from.

    Raises:
        UsageError: the name is taken.
    """
    prose = inspect.cleandoc(doc)
    made = GroupRule(name, entry, prose, guards, module, equation=equation, takes=takes)
    _register(made, module)
    return made


def _listed(entry: Entry | str) -> Entry:
    return listed(entry) if isinstance(entry, str) else entry


def _register(made: AnyRule, module: str) -> None:
    known = CATALOGUE.get(made.name)
    if known is not None and _module(known) != module:
        raise UsageError(f"there is a rule '{made.name}' already, in {_module(known)}")
    CATALOGUE[made.name] = made


def _module(known: AnyRule) -> str:
    if isinstance(known, GroupRule):
        return known.module
    return (known.build if isinstance(known, Rule) else known.apply).__module__


def rule(
    name: str,
    pattern: Pattern,
    *guards: Guard,
    kind: Kind = "rewrite",
    equation: Equation | None = None,
    takes: str = "",
    entry: Entry | str = UNLISTED,
    shared: tuple[str, ...] = (),
    explains: tuple[str, ...] = (),
    since: int = 7,
) -> Callable[[Callable[[Match, Replacement], Built]], Rule]:
    """Adds a rule to the catalogue; the function below it is the builder.

    The builder's docstring says in prose what the rule does. A second rule of the same name from
    the same module takes the place of the first, as when a notebook cell is run again.

    Args:
        name: kebab-case.
        pattern: what it looks for (`trtfuse.rewrite.pattern`).
        guards: what has to hold besides, cheap ones first (`trtfuse.rewrite.guards`).
        kind: see `Rule`, as for the others.
        equation: what it holds to be the same.
        takes: the spellings that it takes, in words.
        entry: the entry of the fusion list that it implements, or its label.
        shared: interior values that may have other consumers.
        explains: operators that the report says something about wherever one is left over.
        since: the opset that it applies from.

    Raises:
        UsageError: the name is taken by a rule from elsewhere, the pattern can match a value that
            no node computes, it asks for an operator or attribute that ONNX does not have, or it
            does not bind a name in `shared`.
    """

    def add(build: Callable[[Match, Replacement], Built]) -> Rule:
        if not pattern.roots():
            raise UsageError(f"the pattern of rule '{name}' does not begin with an operator")
        # Those of the catalogue have a test: looking up all operators takes its time at import.
        ours = build.__module__.startswith("trtfuse.rules.")
        if not ours and (mistake := pattern.mistake()):
            raise UsageError(f"the pattern of rule '{name}' asks for {mistake}")
        for asked in guards:
            if not isinstance(asked, Guard):
                what = getattr(asked, "__name__", repr(asked))
                raise UsageError(
                    f"guard '{what}' of rule '{name}' is not made yet; call it, as `{what}(...)`"
                )
        unbound = set(shared) - pattern.names()
        if unbound:
            names = ", ".join(f"'{missing}'" for missing in sorted(unbound))
            raise UsageError(f"the pattern of rule '{name}' binds no {names}, which it shares")
        made = Rule(
            name,
            pattern,
            guards,
            build,
            kind,
            _listed(entry),
            shared,
            explains,
            since,
            equation,
            takes,
        )
        _register(made, build.__module__)
        return made

    return add


def rules() -> tuple[AnyRule, ...]:
    """The catalogue: every rule, in the order in which they are tried.

    That is the order of the fusion list (`trtfuse.rewrite.entries`), then come those of users, each
    as they were added.
    """
    return tuple(sorted(CATALOGUE.values(), key=lambda rule: rule.entry.place))


class RulesByRoot(dict[str, list[Rule]]):
    """The rules whose pattern can begin at a node of an operator, in their order.

    Those that begin at any operator come first: what is constant needs no other spelling.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        super().__init__()
        roots = [(rule, frozenset(rule.pattern.roots())) for rule in rules]
        self._roots = sorted(roots, key=lambda pair: ANY_OPERATOR not in pair[1])

    def __missing__(self, operator: str) -> list[Rule]:
        begin = {operator, ANY_OPERATOR}
        self[operator] = [rule for rule, roots in self._roots if not roots.isdisjoint(begin)]
        return self[operator]


def selected(
    names: Iterable[str | AnyRule] | None, skip: Iterable[str] = ()
) -> tuple[AnyRule, ...]:
    """The rules that are asked for, in the catalogue's order.

    Args:
        names: names, or rules; None for all.
        skip: names to take away.

    Raises:
        UsageError: a name is unknown; the message suggests the nearest.
    """
    chosen = list(rules())
    if names is not None:
        given = [_named(choice) if isinstance(choice, str) else choice for choice in names]
        order = {rule.name: index for index, rule in enumerate(chosen)}
        chosen = sorted(given, key=lambda rule: order.get(rule.name, len(order)))
    skipped = {_named(name).name for name in skip}
    return tuple(rule for rule in chosen if rule.name not in skipped)


def _named(name: str) -> AnyRule:
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.3)
    hint = f"; did you mean '{near[0]}'?" if near else "; `trtfuse rules` lists them"
    raise UsageError(f"unknown rule '{name}'{hint}")


def cleans_up(name: str) -> bool:
    """Whether a rule is of the list's cleanup, as the removal of unused nodes is."""
    rule = CATALOGUE.get(name)
    return name == "unused" or (rule is not None and rule.entry.cleans_up)
