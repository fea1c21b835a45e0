"""The script of the page: modules that fit together, each with names of its own."""

from __future__ import annotations

import importlib.resources
import re

from fusing import rewrite
from pages import nothing_fuses

from trtfuse.report.page import page
from trtfuse.report.script import dagre, script

PAGE = importlib.resources.files("trtfuse.report") / "html"
MODULES = {
    each.name.removesuffix(".js"): each.read_text(encoding="utf-8")
    for each in (PAGE / "script").iterdir()
}
#: An import: the other module, and the names.
IMPORT = re.compile(r'^import \{ (?=[^}]* \} from "\./(\w+)\.js";$)([\w, ]+) \}', re.MULTILINE)


def declared(module: str) -> list[str]:
    """The names that a module declares on its top level."""
    lines = [line.removeprefix("export ") for line in MODULES[module].splitlines()]
    names = []
    for line in lines:
        if line.startswith(("const ", "let ", "class ", "function ")):
            name = re.match(r"\w+ (\w+)", line)
            assert name, f"{module}.js: one name each on the top level: {line}"
            # Several in a line are constants.
            names += [name[1], *re.findall(r", ([A-Z][A-Z_]*) = ", line)]
    return names


def exported(module: str) -> set[str]:
    names = re.findall(r"^export (?:const|function) (\w+)", MODULES[module], re.MULTILINE)
    lines = re.findall(r"^export\b", MODULES[module], re.MULTILINE)
    assert len(names) == len(lines), f"{module}.js exports functions and constants only"
    return set(names)


def test_modules_import_what_others_export_and_nothing_in_a_circle() -> None:
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"{' imports '.join((*above, name))}"
        if name in order:
            return
        for other, names in IMPORT.findall(MODULES[name]):
            assert other in MODULES, f"{name}.js imports from {other}.js, which is not there"
            missing = set(names.split(", ")) - exported(other)
            assert not missing, f"{other}.js does not export {missing}, which {name}.js imports"
            visit(other, (*above, name))
        order.append(name)

    visit("main", ())
    assert set(order) == set(MODULES), "a module that the page does not need"
    # What is joined has all of them, each after those that it imports, and no line left over.
    joined = script()
    starts = [joined.index(MODULES[name].splitlines()[0]) for name in order]
    assert starts == sorted(starts)
    assert not re.search(r"^\s*(import|export)\b", joined, re.MULTILINE)


def test_nothing_is_exported_for_nobody() -> None:
    used = {
        (other, each)
        for text in MODULES.values()
        for other, names in IMPORT.findall(text)
        for each in names.split(", ")
    }
    assert used == {(name, each) for name in MODULES for each in exported(name)}


def test_names_of_modules_are_unique() -> None:
    # All modules share one scope in the page, so that no name may stand in two of them.
    places: dict[str, list[str]] = {}
    for name in MODULES:
        for each in declared(name):
            places.setdefault(each, []).append(f"{name}.js")
    assert {each: where for each, where in places.items() if len(where) > 1} == {}


def test_every_module_says_what_is_in_it() -> None:
    for name, text in MODULES.items():
        assert text.startswith("// "), f"{name}.js"


def test_the_layout_library_brings_its_licence() -> None:
    licence = (PAGE / "dagre" / "LICENSE").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in licence
    library = dagre()
    assert library.index(licence) < library.index("var dagre=")
    assert "sourceMappingURL" not in library
    # It stands in an element of the page, and nothing in it ends that.
    assert "</" not in library
    assert library in page(rewrite(nothing_fuses()).report.to_dict())
