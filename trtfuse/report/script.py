"""The script of the page: its modules joined, and the library that lays out graphs."""

from __future__ import annotations

import importlib.resources
import re

_FOLDER = importlib.resources.files("trtfuse.report") / "html"
#: How the modules import and export; tests hold them to these forms.
_IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function) )", re.MULTILINE)


def script(main: str = "main") -> str:
    """A module after all that it imports, without the lines that say so.

    They share one scope then, so no two modules may declare the same name. A page that is opened
    from a file can import nothing, and a bundler would be one more thing to install.
    """
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = (_FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if imported not in modules:
                add(imported)
        modules[name] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(main)
    return "\n".join(modules.values())


def dagre() -> str:
    """The layout library as it is published, with its licence."""
    folder = _FOLDER / "dagre"
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    library = (folder / "dagre.min.js").read_text(encoding="utf-8")
    # Its map is not here, and tools for developers would look for it.
    library = re.sub(r"^//# sourceMappingURL=.*\n", "", library, flags=re.MULTILINE)
    return f"/*! dagre (@dagrejs/dagre, @dagrejs/graphlib)\n\n{licence}*/\n{library}"
