"""Hypothesis profiles: `ci` draws the same examples every time, `deep` draws many thousands."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Read when the package is imported: every rewrite of a small model is watched.
os.environ.setdefault("TRTFUSE_DEBUG", "1")

import trtfuse

#: Models are drawn node by node, which Hypothesis holds to be slow.
_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=_SLOW
)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, suppress_health_check=_SLOW, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

#: Folders and files of tests that look at the nodes which rewrites leave.
_REWRITES = {"check", "ir", "layers", "report", "result", "rewrite", "rules"}
_REWRITES.add("test_light_models.py")


@pytest.fixture(autouse=True, scope="module")
def _without_groups(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where rewrites are tested, groups are looked for only if a test asks for them."""
    with pytest.MonkeyPatch.context() as patch:
        if _REWRITES & {request.path.name, request.path.parent.name}:
            patch.setattr(trtfuse, "fuse", functools.partial(trtfuse.fuse, groups="off"))
        yield
