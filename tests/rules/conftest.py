"""The opsets that rules are tried at; and whatever a rule declines here, `explain` says too."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import ModelProto, defs

import trtfuse


@pytest.fixture(params=[7, 9, 13, 14, 17, 22, defs.onnx_opset_version()])
def opset(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture(autouse=True)
def _explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds the explanation of every model that declines something against its report."""
    fuse = trtfuse.fuse

    def fused(model: ModelProto, **given: Any) -> trtfuse.FusionResult:
        result = fuse(model, **given)
        told = {
            name: given[name] for name in ("rules", "skip", "objective", "seed") if name in given
        }
        if result.report.declined and not set(given) - {*told, "verify"}:
            found = trtfuse.explain(model, **told)
            said = {
                (miss.rule, miss.at, each.guard, each.because)
                for miss in found.misses
                for each in miss.objections
            }
            wanted = {(d.rule, d.at, d.guard, d.because) for d in result.report.declined}
            assert wanted <= said
            assert str(found)
        return result

    monkeypatch.setattr(trtfuse, "fuse", fused)
