"""Writes what the docs say of rules, guards and commands: `python docs/generate.py`.

With `--check` it writes nothing, and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import click

import trtfuse
from trtfuse.cli import command
from trtfuse.cli import main as main_of_the_command
from trtfuse.layers.limits import LIMITS
from trtfuse.layers.ways import WAYS
from trtfuse.result.advice import BEFORE
from trtfuse.rewrite.condition import IMPLIED, Condition
from trtfuse.rewrite.entries import FUSION_LIST
from trtfuse.rewrite.rule import AnyRule, GraphRule

DOCS = Path(__file__).parent
NAVIGATION = DOCS.parent / "mkdocs.yml"
COMMANDS = DOCS / "command-line.md"
REPORT = DOCS / "how-to" / "read-the-report.md"

WAYS_INTRODUCTION = """\
# What the builder does, and what is not rewritten for it

By default (`objective="safe"`) a documented rewrite is not made where it is known to cost the
engine. The guard `serves-the-engine` says so in the report, in the words of this table. Where
TensorRT fuses the spelled-out form by itself, its nodes become a group of the same entry.
`objective="graph"`, or `--objective graph`, makes every documented rewrite, whatever the builder
makes of it.

Each line was found by building both spellings and counting kernels and bytes; nothing was timed.
`python benchmarks/contexts.py` builds them anew: [every rule in its contexts](contexts.md). What
other backends do may differ.

| way | what the builder does | the experiment |
| --- | --- | --- |
"""

LIMITS_INTRODUCTION = f"""
## What it takes at most

Found by building up to the limit and one beyond it, with {LIMITS[0].backend} {LIMITS[0].version}.
No rewrite asks for more than that where the model did not.

| limit | at most | the experiment |
| --- | --- | --- |
"""

#: An example of each command, run one after the other in a folder with digits.onnx.
EXAMPLES = {
    "fuse": "trtfuse fuse digits.onnx --report digits.json",
    "verify": "trtfuse verify digits.onnx digits.fused.onnx",
    "explain": "trtfuse explain digits.onnx bn1",
    "inspect": "trtfuse inspect digits.fused.onnx",
    "report": "trtfuse report digits.json",
    "build": "trtfuse build digits.fused.onnx --shapes batch=8",
    "compare": "trtfuse compare digits.onnx digits.fused.onnx --shapes batch=8",
    "rules": "trtfuse rules conv-scale",
}
#: Those that ask TensorRT.
BUILDS = ("inspect", "build", "compare")

#: The parts of a page that are written from the code.
GENERATED = re.compile(r"(?<=<!-- from the rules -->\n).*?(?=<!-- to here -->\n)", re.DOTALL)
HELPFUL = re.compile(r"(?<=<!-- what helps -->\n).*?(?=<!-- to here -->\n)", re.DOTALL)


def rule_page(rule: AnyRule) -> str:
    """The page of one rule."""
    document = f" of {rule.entry.document}" if rule.entry.document else ""
    takes = textwrap.fill(f"Takes: {rule.takes}", 100, break_on_hyphens=False)
    page = (
        f"# {rule.name}\n\n    {rule.equation}\n\n{rule.doc}\n\n"
        f"{takes}\n\n"
        f"Entry {rule.entry}{document}. Kind: {rule.kind}. Applies from opset {rule.since}.\n"
    )
    if isinstance(rule, GraphRule) and not rule.guards:
        # It merges or moves nodes, and has nothing to say where there is nothing to do.
        return page
    asked = (*rule.guards, *IMPLIED) if isinstance(rule, trtfuse.Rule) else rule.guards
    guards = {guard.name: guard.doc for guard in asked}
    rows = "\n".join(f"| `{name}` | {cell(doc)} |" for name, doc in guards.items())
    return f"{page}\n## What it declines\n\n| guard | what has to hold |\n| --- | --- |\n{rows}\n"


def cell(text: str) -> str:
    """A text in one line, as it may stand in a table."""
    return " ".join(text.split()).replace("|", r"\|")


def rule_index() -> str:
    """The table of all rules."""
    rows = "\n".join(
        f"| [{rule.name}]({rule.name}.md) | {rule.kind} | {rule.entry.label} | "
        f"`{cell(str(rule.equation))}` |"
        for rule in trtfuse.rules()
    )
    return (
        "# Rules\n\nRewrites in the order in which they are tried at each node. Groups are found "
        "when they are done; see\n[groups](../groups.md) for their precedence. Entries with F are "
        "the layer fusions of NVIDIA's *Best\nPractices for TensorRT Performance*, chapter 2.5; "
        "those with C are what today's *Layer Fusion\nCatalog* adds; Cleanup is what is expected "
        "before a build.\n\n"
        f"| rule | kind | entry | equation |\n| --- | --- | --- | --- |\n{rows}\n"
    )


def fusion_table() -> str:
    """The whole fusion list: its rules, the spellings they take, what they decline."""
    rows = []
    for entry in FUSION_LIST:
        rules = [rule for rule in trtfuse.rules() if rule.entry.label == entry.label]
        kinds = " or ".join(sorted({rule.kind for rule in rules}, reverse=True))
        first = f"{entry.label} | {entry.title or 'what is expected before a build'} ({kinds})"
        for rule in rules:
            link = f"[{rule.name}](rules/{rule.name}.md)"
            guards = ", ".join(dict.fromkeys(f"`{guard.name}`" for guard in rule.guards))
            rows.append(f"| {first} | {link} | {cell(rule.takes)} | {guards} |")
            first = " | "
    table = "\n".join(rows)
    return (
        "# The fusion list\n\nEntries with F are the fusions of NVIDIA's *Best Practices for "
        "TensorRT Performance*, chapter 2.5;\nthose with C are what today's *Layer Fusion Catalog* "
        "adds. A rewrite is algebra: the result is\nplain ONNX that any runtime can run. A "
        "[group](groups.md) is several nodes that one kernel runs.\nWhat a rule declines is said "
        "by its guards, besides `one-consumer`, `representable`,\n`bounded-growth`, `opset` and "
        "`check`, which hold "
        "for all rewrites; [the report](how-to/read-the-report.md) names them with the\nvalues "
        "that stopped it.\n\n"
        "| entry | fusion | rule | takes | declines by |\n| --- | --- | --- | --- | --- |\n"
        f"{table}\n"
    )


def guard_table() -> str:
    """Everything that may stop a rule, and which rules it may stop."""
    listed: dict[str, Condition] = {}
    stopped: dict[str, list[str]] = {}
    for rule in trtfuse.rules():
        for guard in rule.guards:
            listed[guard.name] = guard
            stopped.setdefault(guard.name, []).append(f"[{rule.name}](../rules/{rule.name}.md)")
    for each in (*IMPLIED, *BEFORE):
        listed.pop(each.name, None)
        stopped[each.name] = ["any"]
    conditions = (*IMPLIED, *BEFORE, *sorted(listed.values(), key=_name))
    rows = "\n".join(
        f"| `{each.name}` | {cell(each.doc)} | {', '.join(dict.fromkeys(stopped[each.name]))} |"
        for each in conditions
    )
    return f"\n| guard | what has to hold | rules |\n| --- | --- | --- |\n{rows}\n\n"


def help_table() -> str:
    """What a user can change, by guard; guards with the same answer in one row."""
    of_rules = sorted((each for rule in trtfuse.rules() for each in rule.guards), key=_name)
    alike: dict[str, list[str]] = {}
    for each in (*IMPLIED, *BEFORE, *of_rules):
        alike.setdefault(each.helps, []).append(f"`{each.name}`")
    rows = "\n".join(
        f"| {', '.join(dict.fromkeys(names))} | {cell(text)} |" for text, names in alike.items()
    )
    return f"\n| guard | what helps |\n| --- | --- |\n{rows}\n\n"


def _name(condition: Condition) -> str:
    return condition.name


def report_page() -> str:
    """The page on the report, with the guards of now."""
    text = GENERATED.sub(lambda _: guard_table(), REPORT.read_text(encoding="utf-8"))
    return HELPFUL.sub(lambda _: help_table(), text)


def navigation() -> str:
    """The settings of mkdocs, with the rules of now."""
    listed = "".join(f"      - rules/{rule.name}.md\n" for rule in trtfuse.rules())
    return re.sub(
        r"(?<=      - rules/index\.md\n)(      - rules/.*\n)*",
        listed,
        NAVIGATION.read_text(encoding="utf-8"),
    )


def command_page() -> str:
    """The help of every command, with an example and what it prints."""
    parts = ["# Command line\n"]
    shown = examples()
    for name, each in command.commands.items():
        parent = click.Context(command, info_name="trtfuse", **command.context_settings)
        context = click.Context(each, parent, name, terminal_width=88)
        indented = "\n".join(f"    {line}".rstrip() for line in each.get_help(context).splitlines())
        parts.append(f"## trtfuse {name}\n\n{indented}\n\nFor example:\n\n{shown[name]}")
    parts.append(
        "Exit codes: 0 done, also when nothing fused; 1 the check failed, or with "
        "`--fail-if-worse` the engine\nis worse, and no model was written; 2 wrong usage or a file "
        "that cannot be used, said in one line on\nstderr.\n"
    )
    return "\n".join(parts)


def examples() -> dict[str, str]:
    """What the example of each command prints: what the page has, where only numbers differ."""
    page = COMMANDS.read_text(encoding="utf-8") if COMMANDS.exists() else ""
    there = dict(re.findall(r"^(    \$ .*\n)((?:    .*\n|\n(?=    ))*)", page, re.MULTILINE))
    made = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copy(DOCS.parent / "examples" / "digits" / "digits.onnx", folder)
        for name, line in EXAMPLES.items():
            asked = f"    $ {line}\n"
            old = there.get(asked, "")
            builds = name in BUILDS and importlib.util.find_spec("tensorrt_rtx") is None
            new = old if builds else printed(shlex.split(line)[1:])
            made[name] = asked + (old if plain(old) == plain(new) else new)
    return made


def printed(arguments: list[str]) -> str:
    """What a command prints, indented."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main_of_the_command(arguments)
    return "".join(f"    {line}".rstrip() + "\n" for line in out.getvalue().splitlines())


def plain(text: str) -> str:
    """A text without the numbers that belong to a machine, a version or a day."""
    return " ".join(
        re.sub(
            r"[-+]?[\d.]*\d(e[+-]\d+)?( (kB|MB|GB|bytes)|%)?|(?<= )=$", "N", text, flags=re.M
        ).split()
    )


def ways_page() -> str:
    """What the builder is known to do, where that decides on a rewrite."""
    rows = (f"| {way.name} | {way} | {way.shown} |\n" for way in WAYS)
    limits = (f"| {limit.name} | {limit.most:,} {limit.of} | {limit.shown} |\n" for limit in LIMITS)
    return WAYS_INTRODUCTION + "".join(rows) + LIMITS_INTRODUCTION + "".join(limits)


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    made = {DOCS / "rules" / f"{rule.name}.md": rule_page(rule) for rule in trtfuse.rules()}
    return made | {
        DOCS / "rules" / "index.md": rule_index(),
        DOCS / "fusions.md": fusion_table(),
        DOCS / "ways.md": ways_page(),
        COMMANDS: command_page(),
        REPORT: report_page(),
        NAVIGATION: navigation(),
    }


def main() -> None:
    """Writes the pages, or checks them; those of rules that are gone go too."""
    made = pages()
    stale = [
        path
        for path, text in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    gone = [path for path in (DOCS / "rules").glob("*.md") if path not in made]
    if "--check" in sys.argv:
        names = ", ".join(path.name for path in (*stale, *gone))
        sys.exit(f"out of date: {names}" if names else 0)
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
        click.echo(f"wrote {path.relative_to(DOCS.parent)}")
    for path in gone:
        path.unlink()
        click.echo(f"removed {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
