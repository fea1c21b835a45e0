"""Options of several commands, and how what is given for them is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from trtfuse.cli.completion import rule_lists
from trtfuse.model.model import Objective

Command = TypeVar("Command", bound=Callable[..., Any])


class ShapesType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """Sizes by name: `x:1x3x640x640` is the shape of an input, `batch=1` the size of a dimension.

    Several may stand in a row with commas between them, as for trtexec. In a shape, a comma is as
    good as an x.

    Args:
        ranges: whether three may be given with `..` between them: smallest, best, largest.
    """

    name = "SHAPE"

    def __init__(self, ranges: bool = False) -> None:
        self.ranges = ranges

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[tuple[str, Any]]:
        return [self._read(part, param, ctx) for part in re.split(r",(?=[^,=:]+[=:])", value)]

    def _read(
        self, part: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        match = re.fullmatch(r"(?s:(.+))([:=])([0-9x,.]*)", part)
        texts = match[3].split("..") if match else []
        sizes = [
            tuple(int(size) for size in re.split("[x,]", text)) if text else ()
            for text in texts
            if re.fullmatch(r"(\d+([x,]\d+)*)?", text)
        ]
        single = match is not None and match[2] == "="
        fits = len(sizes) == len(texts) and all(len(s) == 1 for s in sizes if single)
        if match is None or not fits or len(sizes) not in ((1, 3) if self.ranges else (1,)):
            example = "write it like x:1x3x640x640, or like batch=1"
            if self.ranges:
                example += "; smallest, best and largest like x:1x3x8x8..4x3x8x8..8x3x8x8"
            self.fail(f"'{part}' is not a shape; {example}", param, ctx)
        if single:
            return match[1], sizes[0][0] if len(sizes) == 1 else tuple(size for (size,) in sizes)
        return match[1], sizes[0] if len(sizes) == 1 else tuple(sizes)


def by_name(
    _: click.Context, __: click.Parameter, value: tuple[list[tuple[str, Any]], ...]
) -> dict[str, Any]:
    """What is given for each input or dimension; what comes last counts."""
    return {name: sizes for pairs in value for name, sizes in pairs}


def _old_shapes(
    ctx: click.Context, param: click.Parameter, value: tuple[list[tuple[str, Any]], ...]
) -> dict[str, Any]:
    if value:
        click.echo("trtfuse: --input-shapes is now --shapes", err=True)
    return by_name(ctx, param, value)


def shapes(what: str, *, ranges: bool = False) -> Callable[[Command], Command]:
    """`--shapes`, with what it does in a command; the values come as a dictionary."""
    written = "x:1x3x640x640 is the shape of an input, batch=1 the size of a dimension"
    if ranges:
        written += (
            "; x:1x3x8x8..4x3x8x8..8x3x8x8 and batch=1..4..8 are the smallest, the best and the "
            "largest. Of an input that is itself a shape, its values"
        )
    return click.option(
        "--shapes",
        "shapes",
        type=ShapesType(ranges),
        multiple=True,
        callback=by_name,
        help=f"{what} {written}.",
    )


#: How many bytes a unit is; a prefix alone is binary, as trtexec has it.
_UNITS: dict[str, int] = {"": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in ((letter, 1024), (f"{letter}i", 1024), (f"{letter}b", 1000))
}


class Size(click.ParamType):  # type: ignore[type-arg]
    """`500MB`, `2 GiB` or a plain number, in bytes.

    Args:
        plain: how many bytes the 1 of a plain number stands for.
        called: those in words.
    """

    name = "SIZE"

    def __init__(self, plain: int = 1, called: str = "bytes") -> None:
        self.plain = plain
        self.called = called

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?)(b?)\s*", value.lower())
        if found is None:
            self.fail(
                f"'{value}' is not a size; write it like 500MB or 2GiB, or as a number of "
                f"{self.called}",
                param,
                ctx,
            )
        number, prefix, byte = found.groups()
        if not prefix and not byte:
            return round(float(number) * self.plain)
        # kb is 1000, and kib is what ki is.
        unit = prefix if prefix.endswith("i") else prefix + byte
        return round(float(number) * _UNITS[unit if prefix else ""])


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


def rules(what: str) -> Callable[[Command], Command]:
    """`--rules`, with what a command does with them."""
    return click.option(
        "--rules",
        "names",
        metavar="NAME,...",
        callback=names,
        shell_complete=rule_lists,
        help=what,
    )


old_shapes = click.option(
    "--input-shapes", type=ShapesType(), multiple=True, callback=_old_shapes, hidden=True
)
inputs = click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Compare the whole model on these inputs: a .npz, .npy or Polygraphy .json file, or a "
    "folder of them; random if omitted.",
)
skip = click.option(
    "--skip",
    metavar="NAME,...",
    callback=names,
    shell_complete=rule_lists,
    help="Do not apply these rules.",
)
backend = click.option(
    "--backend",
    metavar="NAME",
    help="tensorrt or tensorrt_rtx; the first that is installed if omitted.",
)
objective = click.option(
    "--objective",
    type=click.Choice(get_args(Objective)),
    default="safe",
    show_default=True,
    help="Apply every documented rewrite except those known to cost the engine (safe), or all of "
    "them (graph).",
)
target = click.option(
    "--target",
    metavar="CAPABILITY",
    help="Compute capability of the GPU, like 8.9, which limits the weights in an MLP.",
)
fold_limit = click.option(
    "--fold-limit",
    type=Size(),
    default="64KiB",
    show_default=True,
    help="By how much a folded constant may be larger than the constants it is computed from; all "
    "together may add 256 times this, or as much as the model's own constants take.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)

fail_if_worse = click.option(
    "--fail-if-worse",
    is_flag=True,
    help="Exit with 1 if the engine is worse: more kernels or more traffic, or, where neither got "
    "better, more activation memory or a larger engine.",
)
path = click.Path(path_type=Path)
model = ModelPath(path_type=Path)
