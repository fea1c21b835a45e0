"""What was fused in a model and what was not, as data, in the schema `trtfuse.report/1`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from trtfuse.check.verification import Verification
from trtfuse.errors import nothing_else_raised
from trtfuse.groups.partition import Group
from trtfuse.ir.graph import GROUP_DOMAIN, Node
from trtfuse.ir.operators import spelled
from trtfuse.model.model import Model
from trtfuse.report.entries import made, operators
from trtfuse.result.model_file import OriginalFile, OutputFile
from trtfuse.result.not_fused import NotFused
from trtfuse.result.trace import Trace
from trtfuse.rewrite.driver import Fused
from trtfuse.rewrite.rule import cleans_up

if TYPE_CHECKING:
    from trtfuse.result.comparison import Comparison

SCHEMA = "trtfuse.report/1"


@dataclass(frozen=True)
class Census:
    """How many nodes a model has, bodies and functions included, and of which operators."""

    nodes: int
    operators: dict[str, int]

    @staticmethod
    def of(model: Model) -> Census:
        """Counts the nodes of a model; the most frequent operators come first.

        For a call of a group, the nodes inside count: it saves none.
        """
        groups = {
            function.proto.name: function for function in model.functions if function.is_group
        }
        counts = Counter[str]()
        for graph in model.graphs():
            if graph.root.is_group:
                continue
            for node in graph.nodes():
                called = node.operator.domain == GROUP_DOMAIN
                group = groups.get(node.operator.name) if called else None
                counts.update([node.op] if group is None else map(_operator, group.nodes()))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return Census(counts.total(), dict(ordered))


def _operator(node: Node) -> str:
    """What a node runs, wherever its attributes stand."""
    return spelled(node.operator._replace(refers=()))


@dataclass(frozen=True)
class Fusion:
    """One fusion that was made.

    Attributes:
        rule: its name.
        kind: "rewrite" or "group".
        name: the fused nodes, joined as TensorRT joins them: `conv1 + bn1`.
        nodes, operators: what was fused, in the order of the graph.
        into: what took its place; empty where it was erased.
        error: what the check found, relative to the rounding of the original; None if unchecked.
        note: what else there is to say; None, and not in the JSON, where there is nothing.
    """

    rule: str
    kind: str
    name: str
    nodes: list[str]
    operators: list[str]
    into: list[str]
    error: float | None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fusion as the report's schema has it."""
        content = dict(vars(self))
        if self.note is None:
            del content["note"]
        return content

    @staticmethod
    def of(fused: Fused) -> Fusion:
        """The fusion with names for nodes."""
        nodes = [node.label for node in fused.nodes]
        return Fusion(
            fused.rule,
            fused.kind,
            " + ".join(nodes),
            nodes,
            [node.op for node in fused.nodes],
            [node.label for node in fused.into],
            fused.error,
        )

    @staticmethod
    def of_group(group: Group, called: bool) -> Fusion:
        """The group, which a call of its name took the place of, or whose nodes stay."""
        nodes = [node.label for node in group.nodes]
        operators = [node.op for node in group.nodes]
        became = [group.name] if called else nodes
        return Fusion(group.rule, "group", group.name, nodes, operators, became, None, group.note)


@dataclass(repr=False)
class Report:
    """What happened to a model.

    Attributes:
        model: its path, or the name of its graph.
        before, after: what it was made of and is made of.
        fused: what was fused, in the order in which it happened.
        declined: what was not and why, in the order of the graph.
        verification: what was checked, and what came of it.
        notes: what was the matter with the model where it was read, and what was put right; a
            sentence each.
        also: what was changed besides fusing: sizes fixed, calls of groups as nodes again.
        seconds: by stage: read, rewrite, write, and verify where the whole model was.
        versions: of trtfuse and of what its result depends on.
        engine: what TensorRT made of the original and of the result (`trtfuse.compare`), where
            they were built.
        options: how the model was fused, by the names that `fuse` has for them.
        command: the command line, where there was one.
        date: when, in UTC, as ISO 8601 has it: "2026-11-28T14:32:05Z".
        original: where the model was read from, and its size; None if not from a file.
        output: where `FusionResult.save` wrote the result, its size and hash; None if not.
        trace: what the details of JSON and of the page are worked out from; it keeps the original
            in memory as long as the report.
    """

    model: str
    before: Census
    after: Census
    fused: list[Fusion]
    declined: list[NotFused]
    verification: Verification
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    also: list[str] = field(default_factory=list)
    engine: Comparison | None = None
    options: dict[str, Any] = field(default_factory=dict)
    command: str | None = None
    date: str | None = None
    original: OriginalFile | None = None
    output: OutputFile | None = None
    trace: Trace | None = field(default=None, repr=False, compare=False)

    @nothing_else_raised
    def to_dict(self, *, details: bool = True) -> dict[str, Any]:
        """The report as the schema has it (`report/schema.json`).

        Args:
            details: whether with all that takes time to work out: origins, pictures, estimates.
        """
        from trtfuse.result.detailed import detailed

        content: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self.model,
            "before": dict(vars(self.before)),
            "after": dict(vars(self.after)),
            "fused": [fusion.to_dict() for fusion in self.fused],
            "declined": [miss.to_dict() for miss in self.declined],
            "verification": asdict(self.verification),
            "seconds": dict(self.seconds),
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "also": list(self.also),
            "engine": None if self.engine is None else self.engine.to_dict(),
            "options": dict(self.options),
            "command": self.command,
            "date": self.date,
            "original": None if self.original is None else asdict(self.original),
            "output": None if self.output is None else asdict(self.output),
        }
        return detailed(content, self.trace) if details else content

    @nothing_else_raised
    def to_markdown(self) -> str:
        """The whole report: every fusion and every near miss, as GitHub's Markdown has tables."""
        from trtfuse.report.markdown import markdown

        return markdown(self.to_dict(details=False))

    @nothing_else_raised
    def to_html(self) -> str:
        """The report as one self-contained HTML page."""
        from trtfuse.report.page import page

        return page(self.to_dict())

    @nothing_else_raised
    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __repr__(self) -> str:
        nodes = f"{self.before.nodes:,} -> {self.after.nodes:,} nodes"
        checked = "" if self.verification.ok else ", check failed"
        done = made({"fused": [vars(fusion) for fusion in self.fused]})
        return f"<Report of {self.model!r}: {nodes}, {done}{checked}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from trtfuse.report.page import notebook

        return notebook(self.to_dict(details=False))

    def __str__(self) -> str:
        """The report as plain text."""
        from trtfuse.report.text import text

        return text(self.to_dict(details=False))

    def fusions(self) -> dict[str, list[Fusion]]:
        """The rewrites of each rule, but for those that only clean up."""
        return {
            rule: made
            for rule, made in self.by_rule().items()
            if not cleans_up(rule) and made[0].kind == "rewrite"
        }

    def groups(self) -> dict[str, list[Fusion]]:
        """The groups of each rule."""
        return {rule: made for rule, made in self.by_rule().items() if made[0].kind == "group"}

    def cleanups(self) -> dict[str, list[Fusion]]:
        """What each rule cleaned up: nodes that do nothing, constants, duplicates."""
        return {rule: made for rule, made in self.by_rule().items() if cleans_up(rule)}

    def operators(self) -> Iterator[tuple[str, int, int]]:
        """Each operator with its count before and after, the most frequent first."""
        return operators({"before": vars(self.before), "after": vars(self.after)})

    def by_rule(self) -> dict[str, list[Fusion]]:
        """What each rule did."""
        fusions: dict[str, list[Fusion]] = {}
        for fusion in self.fused:
            fusions.setdefault(fusion.rule, []).append(fusion)
        return fusions
