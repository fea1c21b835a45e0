"""Hypothesis profiles, `ci` with the same examples every time and `deep` with many thousands; and
the models that the onnx package tests its operators with.
"""

from __future__ import annotations

import os

import pytest
from backend_cases import cases, model_of
from hypothesis import HealthCheck, settings
from onnx import ModelProto

# Read when the package is imported: every rewrite of a small model is watched.
os.environ.setdefault("TRTFUSE_DEBUG", "1")

#: Models are drawn node by node, which Hypothesis holds to be slow.
_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=_SLOW
)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, suppress_health_check=_SLOW, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def backend_models() -> dict[str, ModelProto]:
    """About two thousand small graphs, by kind and name."""
    return {f"{case.kind}/{case.name}": model_of(case) for case in cases()}
