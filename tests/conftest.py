"""Hypothesis profiles: `ci` draws the same examples every time, `deep` draws many thousands."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
