"""The loop of a rule's author: `python -m tests.check_rule NAME` runs what tests mention a rule.

Options for pytest follow the name: `python -m tests.check_rule conv-scale -x -n 0`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import trtfuse

_TESTS = Path(__file__).parent


def mentioning(name: str) -> list[Path]:
    """The test files in which a rule is named, those of rules and groups first."""
    # Where a group stands for a rewrite that is held back, tests have both in one name.
    named = re.compile(rf"(?<![\w-])(spelled-)?{name.removeprefix('spelled-')}(?![\w-])")
    files = [
        *sorted(_TESTS.glob("rules/**/test_*.py")),
        *sorted(_TESTS.glob("groups/test_*.py")),
    ]
    files += [path for path in sorted(_TESTS.rglob("test_*.py")) if path not in files]
    return [path for path in files if named.search(path.read_text(encoding="utf-8"))]


def main(arguments: list[str]) -> int:
    """Runs the tests; returns the exit code of pytest, 2 for an unknown rule."""
    names = [rule.name for rule in trtfuse.rules()]
    if not arguments or arguments[0] not in names:
        print(f"name a rule: {', '.join(sorted(names))}", file=sys.stderr)
        return 2
    name, *options = arguments
    return int(pytest.main([*map(str, mentioning(name)), *options]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
