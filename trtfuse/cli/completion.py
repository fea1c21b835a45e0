"""What a shell completes besides options and files: names of rules, and of nodes."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.message import DecodeError
from onnx import ModelProto

from trtfuse.ir.operators import name_of
from trtfuse.rewrite.rule import rules

#: Reading a larger model takes longer than anybody waits for a completion.
_LARGEST = 1 << 28


def rule_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The rules that begin with what is there."""
    return [rule.name for rule in rules() if rule.name.startswith(incomplete)]


def rule_lists(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same for the last of several names with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in rule_names(context, parameter, last)]


def node_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The nodes of the model that is on the command line already."""
    path = context.params.get("path")
    try:
        if not isinstance(path, Path) or not path.is_file() or path.stat().st_size > _LARGEST:
            return []
        graph = ModelProto.FromString(path.read_bytes()).graph
    except (OSError, DecodeError):
        return []
    names = dict.fromkeys(map(name_of, graph.node))
    return [name for name in names if name.startswith(incomplete)]
