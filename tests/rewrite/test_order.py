"""What comes out does not depend on the order in which the file has its nodes, nor on rules named.

A file has one of many topological orders of its nodes, and which one is no property of the model.
"""

from __future__ import annotations

from random import Random

from fusing import rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from node_order import contents, shuffled
from strategies import Drawn, models

from trtfuse.rewrite.rule import CATALOGUE


@given(models(), st.integers(0, 2**16))
def test_the_order_of_the_nodes_in_the_file_does_not_matter(drawn: Drawn, seed: int) -> None:
    fused = rewrite(drawn.model, verify="none").model
    other = rewrite(shuffled(drawn.model, seed), verify="none").model
    assert contents(other) == contents(fused)


@given(models(), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_in_which_rules_are_named_does_not_matter(drawn: Drawn, random: Random) -> None:
    names = list(CATALOGUE)
    random.shuffle(names)
    fused = rewrite(drawn.model, verify="none").model
    other = rewrite(drawn.model, rules=names, verify="none").model
    assert other.SerializeToString() == fused.SerializeToString()


@given(models())
@settings(max_examples=20)
def test_two_runs_give_the_same_bytes(drawn: Drawn) -> None:
    first, second = (rewrite(drawn.model).model.SerializeToString() for _ in range(2))
    assert first == second


@given(models())
def test_a_second_run_changes_nothing(drawn: Drawn) -> None:
    fused = rewrite(drawn.model, verify="none").model
    again = rewrite(fused, verify="none")
    assert again.report.fused == []
    assert again.model.SerializeToString() == fused.SerializeToString()
