"""`trtfuse rules`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from trtfuse.cli import options
from trtfuse.cli.completion import rule_names
from trtfuse.cli.output import print_json

if TYPE_CHECKING:
    from trtfuse.rewrite.rule import AnyRule


@click.command()
@click.argument("name", required=False, shell_complete=rule_names)
@options.as_json
def rules(name: str | None, as_json: bool) -> int:
    """List the rules, or describe one of them."""
    from trtfuse.rewrite.rule import selected

    chosen = selected([name] if name else None)
    if as_json:
        described = [_described(rule) for rule in chosen]
        print_json(described[0] if name else {"rules": described})
        return 0
    width = max(len(rule.name) for rule in chosen)
    for rule in chosen:
        if name:
            click.echo("\n\n".join(_told(rule)))
        else:
            what = rule.equation or " ".join(rule.doc.split())
            line = f"{rule.name:<{width}} {rule.kind:<7} {rule.entry.label:<7} {what}"
            click.echo(line.rstrip())
    return 0


def _described(rule: AnyRule) -> dict[str, Any]:
    """A rule as data."""
    equation = None if rule.equation is None else str(rule.equation)
    return {
        "name": rule.name,
        "kind": rule.kind,
        "entry": rule.entry.label,
        "since": rule.since,
        "equation": equation,
        "doc": rule.doc,
        "takes": rule.takes,
        "guards": [
            {"name": guard.name, "doc": " ".join(guard.doc.split()), "helps": guard.helps}
            for guard in rule.guards
        ],
    }


def _told(rule: AnyRule) -> Iterator[str]:
    """The paragraphs that say what a rule does."""
    listed = f", {rule.entry.label}" if rule.entry.label else ""
    yield f"{rule.name} ({rule.kind}{listed})"
    if rule.equation is not None:
        yield str(rule.equation)
    if rule.doc:
        yield rule.doc
    if rule.takes:
        yield textwrap.fill(f"Takes: {rule.takes}", 100, break_on_hyphens=False)
    if rule.guards:
        # One may be asked of two things.
        guards = (f"  {guard.name}: {' '.join(guard.doc.split())}" for guard in rule.guards)
        yield "\n".join(("It checks that:", *dict.fromkeys(guards)))
