"""`trtfuse rules`: the catalogue."""

from __future__ import annotations

from command_line import Run

import trtfuse


def test_rules_lists_the_catalogue_or_explains_one(run: Run) -> None:
    ran = run("rules")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [r.name for r in trtfuse.rules()]
    ran = run("rules", "conv-scale")
    assert ran.code == 0
    assert ran.out.startswith("conv-scale (rewrite, F8)\n\ns * (w * x + b) + t  ==  ")
    assert "  one-value-per-channel: " in ran.out


def test_the_rule_of_mlps_prints_the_limits(run: Run) -> None:
    ran = run("rules", "mlp")
    assert ran.out.startswith("mlp (group, F16)\n")
    assert "64 KiB for 7.5; 163 KiB for 8.0; " in ran.out
    assert "  fits-on-chip: " in ran.out
