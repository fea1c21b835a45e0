"""Asks TensorRT's parser what it has against a model, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtfuse.engine.backend import Backend, find_backend
from trtfuse.engine.missing import missing
from trtfuse.engine.mistaken import beyond_rank, in_doubt, mistaken
from trtfuse.engine.native.log import Log
from trtfuse.engine.native.session import Job
from trtfuse.engine.parse import prepared, refusal, refuse
from trtfuse.engine.process import in_a_child
from trtfuse.errors import EngineError, Unsupported
from trtfuse.model.model import Model

#: What is asked where TensorRT is not installed, or does not start.
TABLES = "the list of what it is known not to have (no TensorRT is installed)"


@dataclass(frozen=True)
class Objections:
    """What TensorRT has against a model.

    Attributes:
        asked: what was asked: a parser, or the tables of this package.
        nodes: the nodes that it cannot take.
        reason: why it cannot take the model, where that is no node; None if it can.
    """

    asked: str
    nodes: Sequence[Unsupported] = ()
    reason: str | None = None


def objections(model: Model, where: str) -> Objections:
    """What TensorRT cannot take of a model: its parser says so, or our tables do.

    Args:
        model: not changed.
        where: what to call it in messages.
    """
    try:
        backend = find_backend()
    except EngineError:
        return Objections(TABLES, tuple(dict.fromkeys(missing(model))))
    asked = f"the parser of {backend.title} {backend.version}"
    try:
        _parse(backend, model, where)
    except EngineError as error:
        if not error.unsupported and "cannot start" in str(error):
            # There is no driver, for one.
            return Objections(TABLES, tuple(dict.fromkeys(missing(model))))
        reason = None if error.unsupported else str(error)
        return Objections(asked, error.unsupported, reason)
    return Objections(asked)


def _parse(backend: Backend, model: Model, where: str) -> None:
    """Lets the parser read a model, in a process of its own.

    Raises:
        EngineError: it does not take it, or crashes.
    """
    proto = model.proto
    refuse(backend, where, beyond_rank(model, {}))
    log = Log()
    job = Job(
        model=prepared(backend, proto, where, {}),
        where=where,
        title=backend.title,
        folder=None if model.folder is None else str(model.folder),
        operators=in_doubt(proto),
        plugins=not backend.rtx,
        parse_only=True,
    )

    def tell(kind: str, content: Any) -> None:
        if kind == "supported":
            refuse(backend, where, mistaken(proto, content, {}))

    outcome = in_a_child(backend, job, log, tell, lambda: "nothing was built")
    if not outcome.parsed:
        raise refusal(backend, proto, outcome.errors, log, where, {})
