"""The report as one HTML page that needs nothing beside itself, and as a summary for notebooks."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from trtfuse.report.entries import KINDS, kind
from trtfuse.report.headline import headline
from trtfuse.report.next_steps import next_steps, rank
from trtfuse.report.script import dagre, script
from trtfuse.report.shipping import facts
from trtfuse.report.wording import printable

_FOLDER = importlib.resources.files("trtfuse.report") / "html"
#: A notebook shows so many near misses.
_MOST_MISSES = 8


def page(data: dict[str, Any]) -> str:
    """A report as an HTML page: style, script and data in one file, no network.

    Args:
        data: the report as the schema `trtfuse.report/1` has it; keys that older versions did not
            write may be missing.
    """
    data = _printable(data)
    return _rendered(
        "page.html",
        data={"versions": {}, "engine": None, "notes": [], **data},
        headline=headline(data),
        facts=facts(data),
        steps=next_steps(data),
        style=_text("page.css"),
        dagre=dagre(),
        script=script(),
        content=_embedded(_content(data)),
        seconds=sum(data.get("seconds", {}).values()),
    )


def notebook(data: dict[str, Any]) -> str:
    """A report as a short piece of HTML for the output cell of a notebook."""
    data = _printable(data)
    rules: dict[tuple[str, str], int] = {}
    for entry in data["fused"]:
        key = kind(entry), entry["rule"]
        rules[key] = rules.get(key, 0) + 1
    return _rendered(
        "notebook.html",
        data={"notes": [], **data},
        headline=headline(data),
        rules=sorted(rules.items(), key=lambda item: item[0][0] == "cleanup"),
        misses=data["declined"][:_MOST_MISSES],
        more=max(0, len(data["declined"]) - _MOST_MISSES),
    )


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _rendered(template: str, **given: Any) -> str:
    # Most runs write no page.
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    return str(environment.from_string(_text(template)).render(given))


def _number(value: float | None) -> str:
    """A difference as the page has it: 1.2e-07, 0, or a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.1e}" if value else "0"


def _content(data: dict[str, Any]) -> dict[str, Any]:
    """What the script of the page draws from."""
    return {
        **{key: data.get(key) for key in ("before", "after", "declined", "pictures", "graph")},
        **{key: data.get(key) or {} for key in ("rules", "seconds", "cost")},
        "engine": data.get("engine"),
        "fused": [
            {**entry, "is": KINDS.index(kind(entry)), **built}
            for entry, built in zip(data["fused"], _built(data), strict=True)
        ],
        "guards": {
            name: {**guard, "rank": rank(guard.get("helps", ""))}
            for name, guard in (data.get("guards") or {}).items()
        },
    }


def _built(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What the builder did with each entry of `fused`; nothing where it was not looked up."""
    agreement = (data.get("engine") or {}).get("agreement") or {}
    outcomes = iter(agreement.get("fusions", ()))
    waiting = next(outcomes, None)
    built: list[dict[str, Any]] = []
    for entry in data["fused"]:
        # They come in the same order, and some are left out.
        if waiting is None or (waiting["rule"], waiting["name"]) != _known(entry):
            built.append({})
            continue
        built.append({"built": {key: waiting[key] for key in ("outcome", "kernels")}})
        waiting = next(outcomes, None)
    return built


def _known(entry: dict[str, Any]) -> tuple[str, str | None]:
    # The first reports had no names.
    return entry["rule"], entry.get("name")


def _embedded(content: dict[str, Any]) -> str:
    """JSON that may stand in a script element, whatever is in it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _printable(content: Any) -> Any:
    """The same, with what is not seen in its texts, or turns signs around, written out."""
    if isinstance(content, str):
        return content if content.isprintable() else printable(content)
    if isinstance(content, dict):
        return {key: _printable(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_printable(value) for value in content]
    return content
