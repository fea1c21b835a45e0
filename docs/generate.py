"""Writes the pages of the rules and of the command line from the code: `python docs/generate.py`.

With `--check` it writes nothing, and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

import trtfuse
from trtfuse.cli import command

DOCS = Path(__file__).parent

#: What the driver makes sure of, whatever the rule.
IMPLIED = {
    "one-consumer": "Values between the matched nodes are read by nobody else and are no outputs "
    "of the graph.",
    "representable": "The folded constants fit the type they are stored in.",
    "check": "Old and new spelling agree in float64 (unless `verify` is `none`).",
}


def rule_page(rule: trtfuse.Rule) -> str:
    """The page of one rule."""
    equation, _, text = rule.doc.partition("\n\n")
    guards = {guard.name: guard.doc for guard in rule.guards} | IMPLIED
    rows = "\n".join(f"| `{name}` | {' '.join(doc.split())} |" for name, doc in guards.items())
    return (
        f"# {rule.name}\n\n    {equation.rstrip('.')}\n\n{text}\n\n"
        f"Kind: {rule.kind}. Applies from opset {rule.since}.\n\n"
        f"## What it declines\n\n| guard | what has to hold |\n| --- | --- |\n{rows}\n"
    )


def rule_index() -> str:
    """The table of all rules."""
    rows = "\n".join(
        f"| [{rule.name}]({rule.name}.md) | {rule.entry} | "
        f"`{rule.doc.splitlines()[0].rstrip('.')}` |"
        for rule in trtfuse.rules()
    )
    return (
        "# Rules\n\nIn the order in which they are tried at each node. Entries with F are the "
        "layer fusions of\nNVIDIA's *Best Practices for TensorRT Performance*, chapter 2.5.2.\n\n"
        f"| rule | entry | equation |\n| --- | --- | --- |\n{rows}\n"
    )


def command_page() -> str:
    """The help of every command."""
    parts = ["# Command line\n"]
    for name, each in command.commands.items():
        parent = click.Context(command, info_name="trtfuse", **command.context_settings)
        context = click.Context(each, parent, name, terminal_width=88)
        indented = "\n".join(f"    {line}".rstrip() for line in each.get_help(context).splitlines())
        parts.append(f"## trtfuse {name}\n\n{indented}\n")
    parts.append(
        "Exit codes: 0 done, also when nothing fused; 1 the check failed, and no model was "
        "written; 2 wrong\nusage or a file that cannot be used, said in one line on stderr.\n"
    )
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    made = {DOCS / "rules" / f"{rule.name}.md": rule_page(rule) for rule in trtfuse.rules()}
    return made | {
        DOCS / "rules" / "index.md": rule_index(),
        DOCS / "command-line.md": command_page(),
    }


def main() -> None:
    """Writes the pages, or checks them."""
    stale = [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(path.name for path in stale)}" if stale else 0)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
        click.echo(f"wrote {path.relative_to(DOCS)}")


if __name__ == "__main__":
    main()
