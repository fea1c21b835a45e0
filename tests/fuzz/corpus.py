"""The models that mutants are made of, each with inputs that it runs on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graphs import OPSETS, graphs
from hypothesis import HealthCheck, Phase, given, settings
from onnx import ModelProto
from strategies import models
from suites import SUITES, suite_model

from .written import WRITTEN, parsed

Feeds = Mapping[str, Any]
#: ONNX Runtime takes none beyond this.
_LATEST_OPSET = 24
#: More nodes than this take longer and find no more.
_MOST_NODES = 16
_MOST_BYTES = 20_000


@dataclass(frozen=True, eq=False)
class Seed:
    """A model to be mutated.

    Attributes:
        name: what to call it.
        model: the model; not to be modified.
        feeds: inputs that it runs on, by name; none where they are to be drawn.
    """

    name: str
    model: ModelProto
    feeds: tuple[Feeds, ...] = ()


class Corpus:
    """All seeds.

    Attributes:
        seeds: the models.
        kinds: the same by what their names begin with, so that mutants take each kind as often.
        fingerprint: tells one corpus from another; a mutant is made again only from the same.
    """

    def __init__(self, seeds: list[Seed]) -> None:
        self.seeds = seeds
        self.kinds: dict[str, list[Seed]] = {}
        digest = hashlib.sha256()
        for seed in seeds:
            self.kinds.setdefault(seed.name.split("/")[0], []).append(seed)
            digest.update(seed.name.encode())
            digest.update(seed.model.SerializeToString(deterministic=True))
        self.fingerprint = digest.hexdigest()[:12]


@functools.cache
def corpus(drawn: int = 150, cases: bool = True) -> Corpus:
    """The corpus.

    Args:
        drawn: how many whole graphs Hypothesis draws, and how many chains of scales.
        cases: whether to take the node tests of onnx as well, which take 20 seconds to load.
    """
    seeds = [*_written(), *_drawn(drawn)]
    if cases:
        seeds += [*_examples(), *_backend_cases()]
    return Corpus(seeds)


def _written() -> Iterator[Seed]:
    for name in WRITTEN:
        yield Seed(f"written/{name}", parsed(name))
    for name in SUITES:
        yield Seed(f"suite/{name}", suite_model(name))


def _drawn(count: int) -> list[Seed]:
    seeds: list[Seed] = []
    opsets = [opset for opset in OPSETS if opset <= _LATEST_OPSET]
    quiet = settings(
        max_examples=3 * count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @quiet
    @given(graphs(opsets=opsets, same_names=False))
    def whole(drawn: Any) -> None:
        if 1 < len(drawn.model.graph.node) <= _MOST_NODES:
            seeds.append(Seed(f"graph/{len(seeds)}", _distinct(drawn.model), drawn.feeds))

    @settings(quiet, max_examples=count)
    @given(models())
    def chain(drawn: Any) -> None:
        feeds = tuple(drawn.feeds(shape) for shape in drawn.shapes)
        seeds.append(Seed(f"scales/{len(seeds)}", _distinct(drawn.model), feeds))

    whole()
    chain()
    return seeds


def _distinct(model: ModelProto) -> ModelProto:
    """The model, with each name of a node once: ONNX Runtime refuses others."""
    named: set[str] = set()
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            if node.name in named:
                node.name = ""
            named.add(node.name)
            graphs += [each.g for each in node.attribute if each.HasField("g")]
    return model


def _examples() -> Iterator[Seed]:
    path = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
    if path.exists():
        yield Seed("example/digits", onnx.load(path))


def _backend_cases() -> Iterator[Seed]:
    from backend_cases import cases

    for case in cases():
        model = case.model
        if model is None or case.data_sets is None or model.ByteSize() > _MOST_BYTES:
            continue
        names = [info.name for info in model.graph.input]
        feeds = tuple(
            dict(zip(names, map(_array, inputs), strict=False)) for inputs, _ in case.data_sets
        )
        yield Seed(f"case/{case.name}", model, feeds)


def _array(given: Any) -> Any:
    return np.asarray(given) if isinstance(given, np.generic) else given
