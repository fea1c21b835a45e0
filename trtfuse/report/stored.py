"""Reports that were written as JSON before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trtfuse.errors import ModelError

#: What every version of the schema has, and of what kind; the other keys came later.
_ALWAYS = {
    "model": str,
    "before": dict,
    "after": dict,
    "fused": list,
    "declined": list,
    "verification": dict,
}
#: And what each of its entries has.
_WITHIN = {
    "before": ("nodes", "operators"),
    "after": ("nodes", "operators"),
    "fused": ("rule", "kind", "nodes", "operators", "into", "error"),
    "declined": ("rule", "at", "guard", "because"),
    "verification": ("level", "ok", "max_error", "tolerance", "checked", "notes"),
}


def read_report(path: Path) -> dict[str, Any]:
    """Reads a report that `trtfuse fuse --report R.json` wrote, now or with an older version.

    Args:
        path: the file.

    Raises:
        ModelError: it cannot be read, or is no report.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {error.strerror}") from None
    return parsed_report(content, f"'{path}'")


def parsed_report(content: bytes, where: str) -> dict[str, Any]:
    """The report that bytes hold.

    Args:
        content: the JSON.
        where: what to call it in messages.

    Raises:
        ModelError: it is no report.
    """
    try:
        data: Any = json.loads(content)
    except ValueError:
        raise ModelError(f"{where} is not JSON; `trtfuse fuse --report R.json` writes it") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, str) or not schema.startswith("trtfuse.report/"):
        raise ModelError(f"{where} is not a trtfuse report; `--report R.json` writes one")
    if schema != "trtfuse.report/1":
        raise ModelError(f"{where} is of the schema {schema}; this version reads trtfuse.report/1")
    for key, kind in _ALWAYS.items():
        if not isinstance(data.get(key), kind):
            raise ModelError(f"{where} is not a complete report: it has no '{key}'")
        for entry in data[key] if kind is list else [data[key]]:
            for field in _WITHIN.get(key, ()):
                if not isinstance(entry, dict) or field not in entry:
                    missing = f"an entry of '{key}' has no '{field}'"
                    raise ModelError(f"{where} is not a complete report: {missing}")
    return dict(data)
