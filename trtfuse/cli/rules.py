"""`trtfuse rules`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trtfuse.rewrite.rule import AnyRule


@click.command()
@click.argument("name", required=False)
def rules(name: str | None) -> int:
    """List the rules, or say what one does."""
    from trtfuse.rewrite.rule import selected

    chosen = selected([name] if name else None)
    width = max(len(rule.name) for rule in chosen)
    for rule in chosen:
        if name:
            click.echo("\n\n".join(_told(rule)))
        else:
            what = rule.equation or " ".join(rule.doc.split())
            line = f"{rule.name:<{width}} {rule.kind:<7} {rule.entry.label:<7} {what}"
            click.echo(line.rstrip())
    return 0


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
        guards = (f"  {guard.name}: {' '.join(guard.doc.split())}" for guard in rule.guards)
        yield "\n".join(("It checks that:", *guards))
