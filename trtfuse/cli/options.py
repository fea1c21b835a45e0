"""Options of several commands, and how what is given for them is read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

import click

from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.model.model import Objective


class Shape(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """`x:1,3,224,224`, or `x:1x3x224x224`, is the shape [1, 3, 224, 224] of the input x."""

    name = "NAME:SIZES"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, colon, sizes = value.rpartition(":")
        try:
            shape = tuple(int(size) for size in re.split("[,x]", sizes)) if sizes else ()
        except ValueError:
            shape = (-1,)
        if not colon or not name or any(size < 0 for size in shape):
            self.fail(f"'{value}' is no shape; write it like x:1,3,224,224", param, ctx)
        return name, shape


class EngineShape(click.ParamType):  # type: ignore[type-arg]
    """`x:1x3x224x224`, or `x:1x3x8x8..4x3x8x8..8x3x8x8`: smallest, best and largest."""

    name = "NAME:SIZES[..SIZES..SIZES]"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, list[tuple[int, ...]]]:
        name, colon, sizes = value.rpartition(":")
        try:
            shapes = [
                tuple(int(size) for size in re.split("[x,]", part)) if part else ()
                for part in sizes.split("..")
            ]
        except ValueError:
            shapes = []
        negative = any(size < 0 for shape in shapes for size in shape)
        if not colon or not name or negative or len(shapes) not in (1, 3):
            self.fail(
                f"'{value}' is no shape; write it like x:1x3x224x224, or smallest, best and "
                "largest like x:1x3x8x8..4x3x8x8..8x3x8x8",
                param,
                ctx,
            )
        return name, shapes if len(shapes) == 3 else shapes * 3


class ModelPath(click.Path):
    """The path of a model. An empty one would be the current folder, and all models in it."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("it is empty; give the path of a model, or - for stdin", param, ctx)
        return super().convert(value, param, ctx)


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if value is None else tuple(n.strip() for n in value.split(",") if n.strip())


input_shapes = click.option(
    "--input-shapes",
    "input_shapes",
    type=Shape(),
    multiple=True,
    help="Shape of an input for the check, like x:1,3,224,224; drawn if left out.",
)
inputs = click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Compare the whole model on these inputs: a .npz, .npy or Polygraphy .json file, or a "
    "folder of them; random if omitted.",
)
objective = click.option(
    "--objective",
    type=click.Choice(get_args(Objective)),
    default="safe",
    show_default=True,
    help="Make every documented rewrite but those known to cost the engine, or all of them.",
)
target = click.option(
    "--target",
    metavar="CAPABILITY",
    help="Compute capability of the GPU, like 8.9, which limits the weights in an MLP.",
)
fold_limit = click.option(
    "--fold-limit",
    metavar="BYTES",
    type=click.IntRange(min=0),
    default=FOLD_LIMIT,
    show_default=True,
    help="By how much a constant may be larger than what the model stores of those that it is made "
    "from; all together may add 256 times as much, or as much as the model's own take.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else."
)

path = click.Path(path_type=Path)
model = ModelPath(path_type=Path)
