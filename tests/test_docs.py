"""The docs say what the code does: generated pages, commands and code in them."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import trtfuse
from trtfuse.cli import command
from trtfuse.rewrite.entries import FUSION_LIST
from trtfuse.rewrite.rule import CATALOGUE

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
TUTORIAL = ROOT / "docs" / "tutorial.md"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def detector() -> onnx.ModelProto:
    """A small stand-in for the detector of the tutorial, with an input like its own."""
    return onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[N, 3, H, W] x) => (float[N, 1, H, W] y)
        <float[1, 3, 1, 1] w = {0.2, -0.5, 0.4}, float[1] s = {2.0}> {
            c = Conv(x, w)
            m = Mul(c, s)
            y = Sigmoid(m)
        }"""
    )


def test_the_generated_pages_are_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=True)


@pytest.mark.parametrize("rule", trtfuse.rules(), ids=lambda rule: rule.name)
def test_a_rule_says_all_that_the_docs_have_of_it(rule: trtfuse.Rule) -> None:
    assert rule.entry.place < len(FUSION_LIST)
    assert rule.equation is not None
    for side in (rule.equation.before, rule.equation.after, rule.doc, rule.takes):
        assert side
        assert "==" not in side
    assert rule.takes.endswith(".")
    assert rule.doc.endswith(".")
    # What has a field of its own is not said again in prose.
    assert not re.search(rf"\b(Entry|Takes:|{rule.entry.label})\b", rule.doc)


@pytest.mark.parametrize("rule", trtfuse.rules(), ids=lambda rule: rule.name)
def test_a_guard_of_the_catalogue_says_what_it_makes_sure_of_and_what_helps(
    rule: trtfuse.Rule,
) -> None:
    assert [guard.name for guard in rule.guards if not (guard.doc and guard.helps)] == []


def test_the_fusion_list_has_a_row_for_every_rule_and_a_rule_for_every_rewrite() -> None:
    page = (ROOT / "docs" / "fusions.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\|\s+[A-Z|]", line)]
    listed = re.findall(r"\]\(rules/([a-z0-9-]+)\.md\)", page)
    assert sorted(listed) == sorted(rule.name for rule in trtfuse.rules())
    rewrites = [row for row in rows if "(rewrite" in row[1]]
    assert len(rewrites) == 18
    assert [row[0].strip("| ") for row in rows if row[0].strip("| ")] == [
        entry.label for entry in FUSION_LIST
    ]
    assert [row for row in rewrites if "rules/" not in row[2]] == []


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    linked = {
        (index.parent / link).resolve()
        for index in (docs / "index.md", docs / "rules" / "index.md")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", index.read_text(encoding="utf-8"))
    }
    pages = set(docs.glob("**/*.md")) - {docs / "index.md"}
    assert sorted(str(page.relative_to(docs)) for page in pages - linked) == []


def test_every_page_is_in_the_navigation() -> None:
    docs = ROOT / "docs"
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(docs)) for page in docs.glob("**/*.md"))


def test_every_rule_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^      - rules/(.*)\.md$", navigation, re.MULTILINE)
    assert listed == ["index", *(rule.name for rule in trtfuse.rules())]


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert all(f"## trtfuse {name}" in page for name in command.commands)


def test_every_guard_is_in_the_table_of_reasons() -> None:
    page = (ROOT / "docs" / "how-to" / "read-the-report.md").read_text(encoding="utf-8")
    guards = {guard.name for rule in trtfuse.rules() for guard in rule.guards}
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| ", page, re.MULTILINE)
    assert guards <= set(listed)
    assert {"one-consumer", "representable", "check", "opset"} <= set(listed)


def test_a_guard_of_one_name_makes_sure_of_one_thing() -> None:
    docs: dict[str, set[str]] = {}
    for rule in trtfuse.rules():
        for guard in rule.guards:
            docs.setdefault(guard.name, set()).add(guard.doc)
    assert {name: texts for name, texts in docs.items() if len(texts) > 1} == {}


def test_advice_is_given_on_guards_that_there_are() -> None:
    page = (ROOT / "docs" / "how-to" / "read-the-report.md").read_text(encoding="utf-8")
    table, advice = page.split("## What helps")
    advised = re.findall(r"`([a-z0-9-]+)`", "".join(re.findall(r"^\| (`.*?) \|", advice, re.M)))
    assert len(advised) > 5
    assert [name for name in advised if f"| `{name}` |" not in table] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=lambda page: page.name)
def test_the_code_on_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    onnx.save(detector(), tmp_path / "detector.onnx")
    monkeypatch.chdir(tmp_path)
    known = dict(CATALOGUE)
    try:
        names: dict[str, object] = {"__name__": page.stem}
        for block in python_blocks(page):
            exec(compile(block, str(page), "exec"), names)
        for name, test in names.items():
            if name.startswith("test_") and callable(test):
                test()
    finally:
        CATALOGUE.clear()
        CATALOGUE.update(known)


@pytest.mark.parametrize("name", ["use-with-other-tools"])
def test_a_page_shows_what_its_code_prints(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "how-to" / f"{name}.md"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    text = page.read_text(encoding="utf-8")
    printed = []
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)
        shown = "".join(f"    {line}\n" for line in capsys.readouterr().out.splitlines())
        assert f"```python\n{block}```\n\n{shown}" in text
        printed.append(shown)
    assert all(printed)


def test_the_readme_shows_the_real_output_of_its_command(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = re.search(r"^pip install \. && (trtfuse .*)$", readme, re.MULTILINE)
    assert line is not None
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "digits").mkdir()
    model = ROOT / "examples" / "digits" / "digits.onnx"
    (tmp_path / "examples" / "digits" / "digits.onnx").write_bytes(model.read_bytes())
    arguments = shlex.split(line[1])[1:]
    printed = subprocess.run(
        [sys.executable, "-m", "trtfuse", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    # The errors come from the rounding of ONNX Runtime, which differs between processors.
    shown = [re.sub(r"\d\.\de-\d\d", "small", text) for text in (readme, printed)]
    assert shown[1].strip() in shown[0]


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/build-with-tensorrt.md"])
def test_the_output_of_a_build_is_shown_as_it_is(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    command = re.search(r"^ *(trtfuse build \S*digits\.fused\.onnx .*)$", text, re.MULTILINE)
    assert command is not None
    arguments = shlex.split(command[1])[1:]
    model = tmp_path / arguments[1]
    model.parent.mkdir(parents=True, exist_ok=True)
    trtfuse.fuse(ROOT / "examples" / "digits" / "digits.onnx").save(model)
    printed = subprocess.run(
        [sys.executable, "-m", "trtfuse", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    # The figures belong to the version of TensorRT that is named, and to the day.
    kinds = [re.sub(r"[\d.]*\d( (kB|MB|GB|bytes))?", "N", s) for s in (text, printed)]
    assert kinds[1].strip() in kinds[0]


def commands_of_the_tutorial() -> list[tuple[str, str]]:
    """The commands with what they print."""
    text = TUTORIAL.read_text(encoding="utf-8")
    return re.findall(r"```console\n\$ trtfuse (.*)\n((?:.*\n)*?)```", text)


def without_figures(output: str) -> list[list[str]]:
    """The words of an output; times and what comes of rounding differ between machines."""
    words = re.sub(r"\d\S*e[+-]\d+|[\d.]+ s\b", "N", output)
    return [line.split() for line in words.splitlines() if not line.startswith("build time")]


def test_the_tutorial_has_its_commands_in_one_form() -> None:
    assert len(commands_of_the_tutorial()) == 6
    assert TUTORIAL.read_text(encoding="utf-8").count("$ trtfuse") == 6


@pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None
    or importlib.util.find_spec("tensorrt_rtx") is None,
    reason="it needs the wheel with the detector, and TensorRT for RTX",
)
def test_the_commands_of_the_tutorial_print_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    assert spec is not None
    assert spec.submodule_search_locations
    models = Path(spec.submodule_search_locations[0]) / "models"
    (tmp_path / "detector.onnx").symlink_to(models / "ch_PP-OCRv4_det_infer.onnx")
    monkeypatch.chdir(tmp_path)
    exec(python_blocks(TUTORIAL)[0], {})
    for arguments, shown in commands_of_the_tutorial():
        printed = subprocess.run(
            [sys.executable, "-m", "trtfuse", *shlex.split(arguments)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert without_figures(printed) == without_figures(shown), arguments


@pytest.fixture(scope="module")
def screenshots() -> Any:
    pytest.importorskip("selenium")
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_not_older_than_what_they_show(screenshots: Any) -> None:
    recorded = json.loads(screenshots.TAKEN.read_text(encoding="utf-8"))
    old = [
        shot.name for shot in screenshots.SHOTS if recorded[shot.name] != screenshots.taken_of(shot)
    ]
    assert old == [], "docs/screenshots.py takes them again"


def test_every_picture_is_recorded_and_shown(screenshots: Any) -> None:
    pictures = {path.name for path in screenshots.IMAGES.glob("*.png")}
    assert {shot.name for shot in screenshots.SHOTS} == pictures
    assert set(json.loads(screenshots.TAKEN.read_text(encoding="utf-8"))) == pictures
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in pictures if f"images/{name})" not in pages] == []
