"""The examples run as their READMEs say, with what the repository itself carries."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
#: Needs PyTorch, which the tests do without.
TRAINING = "train.py"
SCRIPTS = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]


def run(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_there_are_examples() -> None:
    assert ROOT / "examples" / "digits" in FOLDERS
    assert ROOT / "examples" / "digits" / "accuracy.py" in SCRIPTS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_example_has_a_readme_that_names_its_scripts_and_models(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    # Fused models are what a reader of the README has made, not what the example carries.
    made = set(folder.glob("*.fused.onnx"))
    found = (path for suffix in ("py", "onnx") for path in folder.glob(f"*.{suffix}"))
    carried = [path.name for path in found if path not in made]
    assert carried
    assert [name for name in carried if name not in text] == []
    # What it tells to run is there.
    told = re.findall(r"python (examples/\S+\.py)", text)
    assert told
    assert [name for name in told if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    "script",
    [path for path in SCRIPTS if path.name != TRAINING],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_a_script_runs(script: Path) -> None:
    before = {path: path.read_bytes() for path in script.parent.iterdir() if path.is_file()}
    found = run(script)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    after = {path: path.read_bytes() for path in script.parent.iterdir() if path.is_file()}
    assert after == before


def test_the_digits_are_told_apart_as_well_after_as_before() -> None:
    out = run(ROOT / "examples" / "digits" / "accuracy.py").stdout
    nodes = re.search(r"^nodes: +(\d+) before, (\d+) after$", out, re.MULTILINE)
    assert nodes is not None
    assert int(nodes[2]) < int(nodes[1]) == 8
    correct = re.search(r"\((\d+) and (\d+) of 450\)$", out, re.MULTILINE)
    assert correct is not None
    assert correct[1] == correct[2]
    assert int(correct[1]) > 430
    assert re.search(r"^check: +agrees$", out, re.MULTILINE)


#: What these print depends on nothing but the model that the repository carries.
SHOWN = {
    "graphsurgeon": "probabilities.py",
    "onnx-ir": "between_passes.py",
    "polygraphy": "compare.py",
}


@pytest.mark.parametrize("folder", sorted(SHOWN))
def test_a_readme_shows_what_its_script_prints(folder: str) -> None:
    readme = (ROOT / "examples" / folder / "README.md").read_text(encoding="utf-8")
    printed = run(ROOT / "examples" / folder / SHOWN[folder]).stdout
    assert printed
    assert "".join(f"    {line}\n" for line in printed.splitlines()) in readme
