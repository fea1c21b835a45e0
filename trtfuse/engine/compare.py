"""What the builder makes of two models, side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtfuse.check.inputs import Shapes
from trtfuse.check.model import running_shapes
from trtfuse.engine.agreement import agreement
from trtfuse.engine.build import build
from trtfuse.engine.difference import difference
from trtfuse.engine.engine import Engine
from trtfuse.engine.layers import kernels, layers_in, read_text, traffic
from trtfuse.engine.names import with_own_names
from trtfuse.errors import EngineError, UsageError, nothing_else_raised
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.ir.graph import Shape
from trtfuse.model.fixed import (
    Fixed,
    ShapesLike,
    agree_on_sizes,
    declared_shapes,
    fix_shapes,
    is_static,
    read_shapes,
    unlike_inputs,
)
from trtfuse.model.model import Model
from trtfuse.progress import Progress
from trtfuse.result.comparison import Built, Comparison, Kernel
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.layer import Layer

#: Files with what a builder said, as opposed to models.
RECORDS = (".json", ".log", ".txt")

#: What a log tells besides its layers.
_SECONDS = re.compile(r"Engine generation completed in ([\d.]+) seconds")
_ACTIVATION = re.compile(r"Total Activation Memory: (\d+)")
_WEIGHTS = re.compile(r"Total Weights Memory: (\d+)")


@nothing_else_raised
def compare(
    a: ModelLike | FusionResult | Engine,
    b: ModelLike | FusionResult | Engine,
    *,
    shapes: ShapesLike | None = None,
    targets: Sequence[str] = (),
    level: int | None = None,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Builds two models the same way, and compares the engines.

    Args:
        a: a model, a result of `fuse` or `build`, or the path of a .log, .txt or .json file with
            the layers of an engine that was built elsewhere (`read_layers`).
        b: the same; it is compared with `a`.
        shapes: sizes of inputs to fix, by input or by symbol, as in `fuse`. Sizes that only one of
            the models leaves open are fixed to those of the other; the rest to the first at which
            ONNX Runtime runs the model, with a batch of 1 and images of 64 by 64 first.
        targets: compute capabilities to build for, as for `build`.
        level: how hard the builder looks for a faster engine, as for `build`.
        backend: "tensorrt" or "tensorrt_rtx"; the first that is installed if omitted.
        progress: as for `build`.

    Returns:
        Both engines in figures, and the kernels in which they differ. Kernels and traffic are the
        same in every run; the time depends on the machine.

    Raises:
        EngineError: a model cannot be built, or a file has no layers.
        ModelError: a model cannot be read or is not valid.
        UsageError: a shape fits no input, or an argument does not fit the backend.
        VerifyError: an input is not a tensor.
    """
    sides = (_Side(a), _Side(b))
    fixed, notes = _fixed(sides, read_shapes(shapes))
    both: list[Built] = []
    engines: list[Engine] = []
    for side in sides:
        if side.record is not None:
            both.append(_recorded(side.record))
            continue
        engine = side.engine
        if engine is None:
            try:
                engine = build(
                    side.source,
                    shapes={name: fixed[name] for name in side.inputs if name in fixed},
                    targets=targets,
                    level=level,
                    backend=backend,
                    progress=progress,
                )
            except EngineError as error:
                if side is sides[0] or sides[0].model is None:
                    raise
                raise EngineError(
                    f"{error} ({sides[0].name} does build)", error.unsupported
                ) from None
        engines.append(engine)
        both.append(built(engine, side.name, side.own_names(engine.layers)))
    for one in both:
        if one.traffic is None:
            notes.append(f"{one.name} has sizes that are not known before it runs: no traffic")
    if len(engines) == 1:
        notes.append("one of the two was built elsewhere: compare like with like")
    left, right = both
    vanished, appeared = difference(left.layers, right.layers)
    return Comparison(
        left,
        right,
        _kernels(vanished),
        _kernels(appeared),
        ", ".join(dict.fromkeys(engine.builder for engine in engines)) or None,
        fixed,
        notes,
        agreement(b, right.layers) if isinstance(b, FusionResult) else None,
    )


class _Side:
    """One of the two: a model to build, an engine, or a file that tells what was built."""

    def __init__(self, given: ModelLike | FusionResult | Engine) -> None:
        self.engine = given if isinstance(given, Engine) else None
        self.record: Path | None = None
        self.model: Model | None = None
        self.source: Any = given
        if isinstance(given, Engine):
            self.name = "the engine"
        elif isinstance(given, FusionResult):
            self.name = "the fused model" if given.source is None else f"{given.source} fused"
            self.model = Model(given.model, None if given.source is None else given.source.parent)
        elif isinstance(given, (str, Path)):
            self.name = str(given)
            if Path(given).suffix in RECORDS:
                self.record = Path(given)
            else:
                self.model = read_model(given)
        else:
            self.model = read_model(given)
            self.name = self.model.graph.proto.name or "the model"

    def own_names(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers of its engine, with the names that nodes had before they were grouped."""
        return layers if self.model is None else with_own_names(layers, self.model.proto)

    @property
    def inputs(self) -> dict[str, Shape | None]:
        """The shapes of the inputs that a caller has to give, by name."""
        return {} if self.model is None else declared_shapes(self.model)


def _fixed(sides: tuple[_Side, _Side], given: Fixed) -> tuple[Shapes, list[str]]:
    """Shapes for the inputs of both models whose sizes vary, and notes on those not given.

    Raises:
        UsageError: what is given is for no input, or does not fit it.
    """
    models = [side.model for side in sides if side.model is not None]
    open_ = {name for side in sides for name, shape in side.inputs.items() if not is_static(shape)}
    # What is given for an input of fixed sizes is for `build` to judge: it may be itself a shape.
    everywhere = {name for side in sides for name in side.inputs}
    judged = {name: s for name, s in given.items() if name in everywhere - open_}
    shapes = _sizes({name: s for name, s in judged.items() if isinstance(s, tuple)})
    wanted = {name: sizes for name, sizes in given.items() if name not in shapes}
    names = [_names(model) for model in models]
    for model, own, others in zip(models, names, reversed(names), strict=True):
        # What is in neither model, the first one is refused for.
        elsewhere = others - own
        fix_shapes(model, {name: s for name, s in wanted.items() if name not in elsewhere})
    if models:
        agree_on_sizes(models[0], models[-1])
        unlike = unlike_inputs(models[0], models[-1]) if wanted else None
        if unlike is not None:
            raise UsageError(f"{unlike}; both are built for the same sizes")
    elif given:
        raise UsageError("engines have their sizes already; leave the shapes out")
    drawn: dict[str, None] = {}
    for model in models:
        declared = declared_shapes(model)
        left = [name for name, shape in declared.items() if not is_static(shape)]
        drawn.update(dict.fromkeys(left))
        found = running_shapes(model, {}) if left else _sizes(declared)
        shapes.update((name, found[name]) for name in declared if name in open_)
    listed = ", ".join(f"'{name}'" for name in drawn)
    note = f"the sizes of {listed} vary: these are the first that run; give others with --shapes"
    return shapes, [note] if drawn else []


def _names(model: Model) -> set[object]:
    """What may be given a size: inputs and symbols."""
    declared = declared_shapes(model)
    return {*declared, *(size for shape in declared.values() for size in shape or ())}


def _sizes(shapes: Mapping[str, Sequence[object] | None]) -> Shapes:
    """Shapes that have nothing but sizes."""
    return {
        name: tuple(size for size in shape or () if isinstance(size, int))
        for name, shape in shapes.items()
    }


def _traffic(layers: Sequence[Layer]) -> int | None:
    try:
        return traffic(layers)
    except EngineError:
        return None


def _kernels(layers: Sequence[Layer]) -> list[Kernel]:
    return [Kernel(layer.name, layer.type, list(layer.nodes)) for layer in layers]


def built(engine: Engine, name: str, layers: tuple[Layer, ...]) -> Built:
    """What `build` made; the layers are its own, their nodes perhaps under other names."""
    sizes = engine.sizes
    return Built(
        name,
        kernels(layers),
        _traffic(layers),
        engine.seconds,
        sizes.engine,
        sizes.weights,
        sizes.activation,
        layers,
    )


def _recorded(path: Path) -> Built:
    """What a log or a layer-information JSON tells of a build elsewhere.

    Raises:
        EngineError: it cannot be read, or has no layers in it.
    """
    text = read_text(path)
    layers = layers_in(text, path)

    def last(pattern: re.Pattern[str]) -> float | None:
        numbers = pattern.findall(text)
        return float(numbers[-1]) if numbers else None

    weights, activation = last(_WEIGHTS), last(_ACTIVATION)
    return Built(
        str(path),
        kernels(layers),
        _traffic(layers),
        last(_SECONDS),
        None,
        None if weights is None else int(weights),
        None if activation is None else int(activation),
        layers,
    )
