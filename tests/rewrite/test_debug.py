"""A rule that breaks a law is found out: by the graph's edits, or where rewrites are watched."""

from __future__ import annotations

import pytest
from fusing import rewrite
from models import model

import trtfuse
from trtfuse.ir.model import read_model
from trtfuse.rewrite.debug import LawBrokenError, check_uses
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Rule, guard

TWICE = "(float[2] x) => (float[2] y) { a = Relu(x) b = Relu(a) y = Exp(b) }"


def relu_of_relu(build: object, *guards: object) -> Rule:
    pattern = op.Relu(op.Relu(var("x"), out="inner"))
    return Rule("twice", pattern, guards, build)  # type: ignore[arg-type]


def cause(rule: Rule) -> BaseException | None:
    with pytest.raises(trtfuse.TrtfuseError) as raised:
        rewrite(model(TWICE), rules=[rule], verify="none")
    return raised.value.__cause__


def test_a_builder_has_no_way_to_change_the_graph() -> None:
    public = {name for name in dir(Replacement) if not name.startswith("_")}
    assert public == {"again", "constant", "op", "opset", "reads"}
    assert not hasattr(Replacement, "erase")


def test_a_builder_that_changes_the_graph_is_found_out() -> None:
    def build(m: Match, new: Replacement) -> object:
        new.graph.replace_uses(m["inner"], m["x"])
        return m["inner"]

    error = cause(relu_of_relu(build))
    assert isinstance(error, LawBrokenError)
    assert str(error) == "trying rule 'twice' changed the graph"


def test_a_guard_that_changes_a_node_is_found_out() -> None:
    @guard
    def renames(m: Match) -> str | None:
        """It renames the root."""
        m.root.rename("other")
        return "it never applies"

    error = cause(relu_of_relu(lambda m, _: m["inner"], renames()))
    assert isinstance(error, LawBrokenError)


def test_a_node_that_is_read_cannot_be_removed() -> None:
    graph = read_model(model(TWICE)).graph
    assert graph.first is not None
    with pytest.raises(ValueError, match="`a` is read by node_of_b"):
        graph.remove(graph.first)
    assert graph.last is not None
    with pytest.raises(ValueError, match="`y` is an output"):
        graph.remove(graph.last)
    check_uses(graph.model)


def test_a_node_is_put_into_one_graph_only() -> None:
    graph = read_model(model(TWICE)).graph
    other = read_model(model(TWICE)).graph
    assert graph.first is not None
    with pytest.raises(ValueError, match="in a graph already"):
        other.insert(graph.first, other.first)
    with pytest.raises(ValueError, match="is not in this graph"):
        other.remove(graph.first)
    with pytest.raises(ValueError, match="is not in this graph"):
        other.move(graph.first, graph.last)  # type: ignore[arg-type]


def test_a_constant_that_is_read_cannot_be_removed() -> None:
    made = model("(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { y = Add(x, c) }")
    graph = read_model(made).graph
    (constant,) = graph.initializers
    with pytest.raises(ValueError, match="`c` cannot be removed: it is read"):
        graph.remove_initializer(constant)


def test_use_def_chains_that_do_not_fit_the_nodes_are_found_out() -> None:
    read = read_model(model(TWICE))
    check_uses(read)
    assert read.graph.first is not None
    read.graph.first.output.uses.clear()
    with pytest.raises(LawBrokenError, match="the uses of `a` are not the nodes that read it"):
        check_uses(read)
