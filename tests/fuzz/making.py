"""Makes the mutant of a number: the same one always, from the same corpus."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Any

from onnx import ModelProto

from . import attributes, files, structure, values  # noqa: F401 - they register their mutations
from .corpus import Corpus, Seed
from .mutation import MUTATIONS, Mutant, NotHere

_MOST_MUTATIONS = 4
#: So often a mutation is drawn anew if the model has nothing that it changes.
_DRAWS = 8
#: How often a kind of seeds is taken.
_WEIGHTS = {"written": 3, "suite": 4, "example": 0.2}


@dataclass(frozen=True)
class Made:
    """A mutant, and how to fuse it.

    Attributes:
        number: what it is made from.
        seed: the model that was mutated.
        mutations: what was changed, each as `mutation: what it did`.
        content: the bytes of the model.
        files: the files beside it; None stands for a symbolic link out of the folder.
        groups, verify: arguments of `fuse`.
        given: whether it is given as "bytes", "proto" or "path".
    """

    number: int
    seed: Seed
    mutations: tuple[str, ...]
    content: bytes
    files: dict[str, bytes | None]
    groups: Any
    verify: Any
    given: str


@functools.cache
def _mutations() -> tuple[list[str], list[float]]:
    return list(MUTATIONS), [weight for _, weight in MUTATIONS.values()]


def make(number: int, corpus: Corpus, kept: Collection[int] | None = None) -> Made:
    """The mutant of a number.

    Args:
        number: any whole number.
        corpus: what mutants are made of.
        kept: which of its mutations to make; all if left out. The others stay the same.
    """
    # Of a text, which Python hashes alike on every machine.
    rng = Random(f"trtfuse {number}")
    weights = [_WEIGHTS.get(kind, 2) for kind in corpus.kinds]
    (listed,) = rng.choices(list(corpus.kinds.values()), weights)
    seed = listed[rng.randrange(len(listed))]
    count = rng.choices(range(_MOST_MUTATIONS + 1), (1, 8, 6, 3, 2))[0]
    groups = rng.choice(("off", "flat", "functions"))
    verify = "rewrite" if rng.random() < 0.15 else "none"
    given = rng.choice(("bytes", "bytes", "bytes", "proto", "path"))
    model = ModelProto()
    model.CopyFrom(seed.model)
    mutant, told = Mutant(model), []
    for at in range(count):
        if kept is not None and at not in kept:
            continue
        told += _mutated(mutant, Random(f"trtfuse {number} {at}"))
    if mutant.files:
        given = "path"
    content = mutant.content()
    return Made(number, seed, tuple(told), content, mutant.files, groups, verify, given)


def _mutated(mutant: Mutant, rng: Random) -> list[str]:
    names, weights = _mutations()
    for _ in range(_DRAWS):
        (name,) = rng.choices(names, weights)
        before = ModelProto()
        before.CopyFrom(mutant.model)
        try:
            return [f"{name}: {MUTATIONS[name][0](mutant, rng)}"]
        except NotHere:
            mutant.model = before
        except Exception:  # noqa: BLE001 - what protobuf does not hold, or an earlier one broke
            mutant.model = before
    return []
