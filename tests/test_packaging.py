"""What is installed: quick to import, lazy about what is large, typed, and runnable as a module."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trtfuse

ROOT = Path(__file__).parent.parent

#: How many times the processor time of importing numpy and onnx importing and showing help take.
QUICK = 2.5


def python(program: str) -> str:
    """What a new Python prints for a program, without what plugins of pytest leave around."""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


@pytest.mark.parametrize(
    "work",
    [
        "import trtfuse",
        "import runpy, sys; sys.argv = ['trtfuse', '--help']\n"
        "try: runpy.run_module('trtfuse', run_name='__main__')\n"
        "except SystemExit as ended: assert not ended.code",
    ],
    ids=["import", "help"],
)
def test_importing_and_showing_help_are_quick(work: str) -> None:
    def seconds(work: str) -> float:
        # The first run may have to compile; the best of three is what it takes.
        program = f"import time\n{work}\nprint(time.process_time())"
        return min(float(python(program).splitlines()[-1]) for _ in range(3))

    assert seconds(work) < QUICK * seconds("import numpy, onnx")


@pytest.mark.parametrize(
    "module",
    [
        "onnxruntime",
        "onnx.reference",
        "hypothesis",
        "rich",
        "jinja2",
        "networkx",
        "onnx_graphsurgeon",
        "onnx_ir",
        "polygraphy",
        "pytest",
        "click",
        "onnx.backend",
    ],
)
def test_importing_leaves_alone_what_is_not_needed_yet(module: str) -> None:
    assert python(f"import sys, trtfuse; print({module!r} in sys.modules)") == "False"


@pytest.mark.parametrize("module", ["onnxruntime", "hypothesis", "rich", "jinja2"])
def test_the_command_line_leaves_alone_what_a_quiet_run_does_not_need(module: str) -> None:
    assert python(f"import sys, trtfuse.cli; print({module!r} in sys.modules)") == "False"


def test_nothing_of_the_tests_is_needed_to_fuse_and_verify() -> None:
    program = """
import sys
for name in ("hypothesis", "pytest", "sklearn", "torch", "networkx", "polygraphy",
             "onnx_graphsurgeon", "onnx_ir"):
    sys.modules[name] = None
from onnx import parser
import trtfuse
model = parser.parse_model('''
    <ir_version: 8, opset_import: ["": 17]>
    g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float[2] s = {2, 3}> {
        t = MatMul(x, w) y = Mul(t, s)
    }
''')
result = trtfuse.fuse(model, verify="model")
assert result.ok and str(result.report)
print(len(result.report.fused))
"""
    assert python(program) == "1"


def test_it_runs_as_a_module_and_as_a_command() -> None:
    version = f"trtfuse {trtfuse.__version__}"
    command = Path(sys.executable).with_name("trtfuse")
    for start in ([sys.executable, "-m", "trtfuse"], [str(command)]):
        ran = subprocess.run([*start, "--version"], check=True, capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == (f"{version}\n", "")


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert trtfuse.__version__ == project["version"] == importlib.metadata.version("trtfuse")


def test_types_are_for_everyone() -> None:
    assert importlib.resources.files(trtfuse).joinpath("py.typed").is_file()


def test_every_import_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = {line.split(">")[0].replace("-", "_") for line in project["dependencies"]}
    found = set()
    for path in (ROOT / "trtfuse").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).split(".")[0])
    needed = found - set(sys.stdlib_module_names) - {"trtfuse", "__future__"}
    extras = project["optional-dependencies"]
    assert extras["interop"] == ["trtfuse[graphsurgeon,onnx-ir,polygraphy]"]
    separate = (line for name in ("graphsurgeon", "onnx-ir", "polygraphy") for line in extras[name])
    interop = {line.split(">")[0].replace("-", "_") for line in separate}
    # protobuf comes with onnx, whose messages it is.
    assert needed - {"google"} == stated | interop
