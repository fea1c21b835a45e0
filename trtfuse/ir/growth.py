"""How much larger constants may make a model: each of them, and all together.

What a constant is made from is counted as the file has it: weights stored as float16 behind a Cast
are half as large as what the Cast makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from onnx import ModelProto

from trtfuse.ir.constants import constant, ingredients
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.save import tensors
from trtfuse.ir.tensor import StoredTensor

#: By how many bytes a constant may be larger than those that it is made from.
FOLD_LIMIT = 64 * 1024

#: All constants together may add this many times the limit of one to a model, or as much as its
#: own constants take, whichever is more.
TOGETHER = 256

#: The entry of a model's metadata that says what was added, once that has reached the limit.
METADATA = "trtfuse.folded"


class Growth:
    """What new constants add to a model.

    A model in which the limit for all has stopped something says so in its metadata, and how much
    was added by then: a second run stops at the same point.

    Args:
        proto: the model as it was read.

    Attributes:
        limit: by how many bytes a constant may be larger than what it is made from.
        added: how many bytes constants have added so far, less what went for them.
        stopped: whether the limit for all has stopped anything.
    """

    def __init__(self, proto: ModelProto) -> None:
        self._proto = proto
        self.limit = FOLD_LIMIT
        self.added = 0
        self.stopped = False
        self._own: int | None = None
        #: What those would add that the limit for all has stopped, by their names.
        self._stopped: dict[str, int] = {}
        for entry in proto.metadata_props:
            if entry.key == METADATA:
                self._read(entry.value)

    def _read(self, text: str) -> None:
        try:
            said = json.loads(text)
            own, added = int(said["own"]), int(said["added"])
        except (ValueError, TypeError, KeyError):
            # It is not ours.
            return
        self._own, self.added, self.stopped = own, added, True

    @property
    def own(self) -> int:
        """The bytes of the constants that the model came with."""
        if self._own is None:
            self._own = sum(StoredTensor(t).stored_bytes for t in tensors(self._proto))
        return self._own

    @property
    def metadata(self) -> str | None:
        """What the model has to say of it; None if nothing was stopped."""
        return json.dumps({"own": self.own, "added": self.added}) if self.stopped else None

    def why_not(
        self, name: str, size: int, nodes: Sequence[Node], kept: Iterable[Value] = ()
    ) -> str | None:
        """Why new constants would be too large; None if they are not.

        Args:
            name: of the constant, or of the largest.
            size: the bytes of all of them.
            nodes: the nodes that they take the place of, the last one first.
            kept: constants that the new nodes go on reading.
        """
        if size > self.limit:
            made_from = self._made_from(nodes, kept)
            if size > made_from + self.limit:
                return (
                    f"`{name}` would take {size} bytes, made from {made_from}, and the limit of "
                    f"growth is {self.limit}: raise --fold-limit to at least {size - made_from}"
                )
        self._stopped.pop(name, None)
        if self.added + size <= TOGETHER * self.limit:
            # However little goes for them.
            return None
        more = self.more(size, nodes, kept)
        if more <= 0 or self.added + more <= TOGETHER * self.limit:
            return None
        if self.added + more <= self.own:
            return None
        self.stopped = True
        self._stopped[name] = more
        # Enough for those that were stopped before it as well: they would come first again.
        needed = -(-(self.added + sum(self._stopped.values())) // TOGETHER)
        return (
            f"`{name}` would add {more} bytes to the {self.added} that constants have added, and "
            f"all together may add {max(TOGETHER * self.limit, self.own)}: "
            f"raise --fold-limit to at least {needed}"
        )

    def _made_from(self, nodes: Sequence[Node], kept: Iterable[Value]) -> int:
        """The bytes that the file has for the constants that nodes read."""
        stored = {v: None for n in nodes for read in _read_by(n) for v in ingredients(read)}
        for value in kept:
            stored.pop(value, None)
        return sum(t.stored_bytes for v in stored if (t := constant(v)) is not None)

    def more(self, size: int, nodes: Sequence[Node], kept: Iterable[Value] = ()) -> int:
        """By how many bytes the model grows: what nothing else reads goes."""
        dying, kept = set(nodes), set(kept)
        pending = [v for node in nodes for v in _given_to(node)]
        gone: dict[Value, int] = {}
        while pending:
            value = pending.pop()
            tensor = constant(value)
            if tensor is None:
                continue
            if value.producer is not None and value.producer in nodes:
                gone[value] = tensor.stored_bytes
                continue
            if value in gone or value in kept or value.outputs or value.source is not None:
                continue
            if not dying.issuperset(value.uses):
                continue
            if value.tensor is None and value.producer is not None:
                if value.producer.op != "Constant":
                    dying.add(value.producer)
                    pending += [v for v in value.producer.inputs if v is not None]
                    continue
            elif value.graph.is_kept(value):
                continue
            gone[value] = tensor.stored_bytes
        return size - sum(gone.values())


def _read_by(node: Node) -> list[Value]:
    """The constants that a node or its bodies read, or that it is."""
    return [v for v in _given_to(node) if constant(v) is not None]


def _given_to(node: Node) -> list[Value]:
    """The values that a node or its bodies read; of a Constant, what it holds."""
    if node.op == "Constant":
        return [node.output]
    read = [*node.inputs, *node.captured()] if node.bodies else node.inputs
    return [v for v in read if v is not None]
