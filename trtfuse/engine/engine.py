"""An engine: the plan, and what the builder said about it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trtfuse.engine.backend import PACKAGES
from trtfuse.engine.layers import kernels, read_log, traffic
from trtfuse.engine.native.log import Message
from trtfuse.engine.profiles import Profile
from trtfuse.errors import EngineError, nothing_else_raised
from trtfuse.model.saving import written
from trtfuse.result.layer import Layer

#: The end of what TensorRT says of each node of a function that is called twice, as functions of
#: groups are: that it cannot be asked for the tensor by the node's name, which nobody does.
_NOT_QUERYABLE = "already exists, the output tensors of this new instance will not be queryable."


@dataclass(frozen=True)
class Sizes:
    """What an engine takes, in bytes; None where the builder did not say.

    Attributes:
        engine: the plan, as it is written to a file.
        weights: of the engine when it is loaded.
        activation: for all tensors between layers.
        scratch: the most that one layer needs for itself.
        host_persistent: on the host, for as long as the engine is loaded.
    """

    engine: int
    weights: int | None
    activation: int | None
    scratch: int | None
    host_persistent: int | None

    @staticmethod
    def of(plan: bytes, messages: Iterable[Message]) -> Sizes:
        """The sizes from the builder's messages, which alone tell them."""
        texts = [message.text for message in messages if message.severity == "info"]

        def said(what: str) -> int | None:
            matches = [re.match(rf"{what} Memory: (\d+) bytes", text) for text in texts]
            numbers = [int(match[1]) for match in matches if match]
            return numbers[-1] if numbers else None

        return Sizes(
            len(plan),
            said("Total Weights"),
            said("Total Activation"),
            said("Max Scratch"),
            said("Total Host Persistent"),
        )


@dataclass(frozen=True)
class Engine:
    """What `build` makes.

    Attributes:
        plan: the engine as TensorRT reads it back.
        backend: the package that built it, "tensorrt" or "tensorrt_rtx".
        version: of the package. TensorRT reads plans of its own version only.
        targets: the compute capabilities that it was built for; empty for the package's own
            choice: the GPU of the machine, or with TensorRT for RTX all from Ampere on.
        profiles: the smallest, best and largest shape of the inputs that were given one.
        sizes: what it takes.
        seconds: how long the builder took.
        messages: everything that TensorRT said, in the order in which it did.
    """

    plan: bytes = field(repr=False)
    backend: str
    version: str
    targets: tuple[str, ...]
    profiles: dict[str, Profile]
    sizes: Sizes
    seconds: float
    messages: tuple[Message, ...] = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of TensorRT, each once, without those on functions that are called twice."""
        texts = (
            message.text
            for message in self.messages
            if message.severity == "warning" and not message.text.endswith(_NOT_QUERYABLE)
        )
        return tuple(dict.fromkeys(texts))

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """What the engine runs, in that order, with the ONNX nodes in each layer.

        Raises:
            EngineError: TensorRT's log does not list them, or not in a way that is known.
        """
        listed = [message.text for message in self.messages if message.text.startswith("Layers:")]
        if not listed:
            raise EngineError(f"the log of {self.backend} {self.version} lists no layers")
        return read_log(listed[-1])

    @property
    def kernels(self) -> int:
        """How many kernels one pass runs."""
        return kernels(self.layers)

    @property
    def traffic(self) -> int:
        """How many bytes one pass moves between kernels and memory.

        Raises:
            EngineError: sizes are open; build with one shape for each input.
        """
        return traffic(self.layers)

    @property
    def builder(self) -> str:
        """What built it, for people: "TensorRT 10.13.3"."""
        return f"{PACKAGES[self.backend][0]} {self.version}"

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The engine without the plan: its figures, warnings and layers.

        Kernels and traffic are None where the log does not tell them; `layers` is then the reason.
        """
        layers: list[dict[str, Any]] | str
        count = moved = None
        try:
            layers = [
                {"name": layer.name, "type": layer.type, "nodes": list(layer.nodes)}
                for layer in self.layers
            ]
            count = self.kernels
            # Sizes are open, or this version of TensorRT does not tell them.
            with contextlib.suppress(EngineError):
                moved = self.traffic
        except EngineError as error:
            layers = str(error)
        return {
            "builder": self.builder,
            "targets": list(self.targets),
            "profiles": {
                name: [list(shape) for shape in profile] for name, profile in self.profiles.items()
            },
            "seconds": self.seconds,
            "kernels": count,
            "traffic": moved,
            "sizes": asdict(self.sizes),
            "warnings": list(self.warnings),
            "layers": layers,
        }

    @nothing_else_raised
    def save(self, path: str | Path) -> None:
        """Writes the plan, whole or not at all; a file that is there is replaced.

        Raises:
            ModelError: it cannot be written.
        """
        with written(Path(path)) as file:
            file.write(self.plan)
