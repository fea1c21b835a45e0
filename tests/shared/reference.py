"""Runs whole models in float64, and measures what rounding can do to each number of their outputs.

The evaluation is the one of the package's own check, on the reference implementation in onnx. How
far rounding may move an output is measured: each node's result is moved by a hair, element by
element, and what becomes of the outputs, scaled back, is the size that errors are relative to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from oracle import widened

from trtfuse.analysis.reference_operators import OPERATORS

Array = npt.NDArray[Any]

HAIR = 2.0**-30


class Reference(ReferenceEvaluator):
    """The evaluator with our own operators, in functions and bodies as well."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **{**named, "new_ops": list(OPERATORS)})


class Moved(Reference):
    """The evaluator with the results of all nodes moved by a hair."""

    rng = np.random.default_rng(0)

    def _init(self) -> None:
        super()._init()
        for node in self.rt_nodes_:
            if node.onnx_node.op_type != "Constant":
                node.run = functools.partial(_run_moved, node.run)


def _run_moved(run: Callable[..., tuple[Any, ...]], *args: Any, **named: Any) -> tuple[Any, ...]:
    return tuple(_moved(result) for result in run(*args, **named))


def _moved(array: Any) -> Any:
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        return array
    return array * (1 + HAIR * Moved.rng.uniform(-1, 1, array.shape))


def outputs(model: ModelProto, feeds: Mapping[str, Array], how: type[Reference]) -> list[Array]:
    """The outputs of a model whose floating types are all float64."""
    with np.errstate(all="ignore"):
        found = how(model).run(None, dict(feeds))
    return [np.asarray(array) for array in found]


def expected(model: ModelProto, feeds: Mapping[str, Array]) -> list[tuple[Array, Array]]:
    """Each output, and the size that errors of its numbers are relative to."""
    results = outputs(model, feeds, Reference)
    sizes = [np.abs(result) for result in results]
    for seed in (1, 2):
        Moved.rng = np.random.default_rng(seed)
        nudged = {name: _moved(array) for name, array in feeds.items()}
        for index, moved in enumerate(outputs(model, nudged, Moved)):
            with np.errstate(invalid="ignore"):
                far = np.abs(moved - results[index]) / HAIR
            sizes[index] = np.maximum(sizes[index], np.where(np.isfinite(far), far, 0))
    return list(zip(results, sizes, strict=True))


def assert_same(before: ModelProto, after: ModelProto, **feeds: Array) -> None:
    """Both models compute the same in float64, up to what rounding can do to the first one.

    Args:
        before: of any operators that ONNX's reference implementation knows.
        after: likewise, with the same inputs and outputs.
        feeds: inputs by name; floating ones are taken as float64.
    """
    wide = {
        name: np.asarray(array, np.float64 if np.asarray(array).dtype.kind == "f" else None)
        for name, array in feeds.items()
    }
    results = outputs(widened(after), wide, Reference)
    for (old, size), new in zip(expected(widened(before), wide), results, strict=True):
        assert new.shape == old.shape
        if old.dtype.kind != "f":
            np.testing.assert_array_equal(new, old)
            continue
        np.testing.assert_array_equal(np.isfinite(new), np.isfinite(old))
        finite = np.isfinite(old)
        assert (np.abs(new - old)[finite] <= 1e-10 * (size[finite] + 1e-300)).all()
