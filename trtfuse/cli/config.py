"""Defaults of options from `[tool.trtfuse]` in pyproject.toml.

Its keys are options of `fuse`, of which `explain` takes those that it has; other commands have
tables of their own, as `[tool.trtfuse.build]`. The command line wins.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from trtfuse.cli import options
from trtfuse.errors import UsageError

FILE = "pyproject.toml"
#: The commands whose options are the keys of the table itself: `explain` says what `fuse` does.
_DIRECT = ("fuse", "explain")
#: What is of one call alone.
_NOT_HERE = ("help", "no-config")


def _read(context: click.Context, _: click.Parameter, ignored: bool) -> None:
    if ignored or context.resilient_parsing or context.parent is None:
        return
    found = _nearest(Path.cwd())
    group = context.parent.command
    if found is not None and isinstance(group, click.Group):
        path, table = found
        context.default_map = _Defaults(path, group).of(context.command, table)


no_config = click.option(
    "--no-config",
    "--isolated",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="Ignore [tool.trtfuse] in pyproject.toml.",
)


def _nearest(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest pyproject.toml upwards that has a table for trtfuse, and the table."""
    for folder in (start, *start.parents):
        path = folder / FILE
        try:
            content = path.read_bytes() if path.is_file() else b""
            # Others are none of our business, even where they are broken.
            if b"trtfuse" not in content:
                continue
            table = tomllib.loads(content.decode()).get("tool", {}).get("trtfuse")
        except (OSError, ValueError, AttributeError) as error:
            said = " ".join(str(error).split())
            raise UsageError(
                f"cannot read '{_shown(path)}': {said}; correct it, or give --no-config"
            ) from None
        if isinstance(table, dict):
            return path, table
        if table is not None:
            raise UsageError(f"'{_shown(path)}': tool.trtfuse is a table, not {_toml(table)}")
    return None


def _shown(path: Path) -> str:
    return os.path.relpath(path)


class _Defaults:
    """What a file says of the options of commands.

    Args:
        path: of the file.
        group: the commands that there are.
    """

    def __init__(self, path: Path, group: click.Group) -> None:
        self.path = path
        self.options = {
            name: _options(command)
            for name, command in group.commands.items()
            if "no-config" in _options(command, all_of_them=True)
        }

    def of(self, command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of one command, by the names of its parameters; all are looked at."""
        fuse = self.options["fuse"]
        tables = {name: table[name] for name in self.options if isinstance(table.get(name), dict)}
        direct = {key: value for key, value in table.items() if key not in tables}
        made = self._converted("[tool.trtfuse]", direct, fuse, tables=self.options)
        by_command = {
            name: self._converted(f"[tool.trtfuse.{name}]", given, self.options[name])
            for name, given in tables.items()
        }
        name = str(command.name)
        known = {option.name for option in self.options[name].values()}
        shared = {key: value for key, value in made.items() if key in known}
        return (shared if name in _DIRECT else {}) | by_command.get(name, {})

    def _converted(
        self,
        where: str,
        given: Mapping[str, Any],
        known: Mapping[str, click.Option],
        tables: Iterable[str] = (),
    ) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in given.items():
            option = known.get(key)
            if option is None:
                near = difflib.get_close_matches(key, [*known, *tables], 1, 0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
                raise self._wrong(where, f"there is no key '{key}'; {hint}")
            made[str(option.name)] = self._value(where, key, value, option)
        return made

    def _value(self, where: str, key: str, value: Any, option: click.Option) -> Any:
        """A value as the command line would have it, if it is one."""
        listed = option.multiple or option.callback is options.names
        items = value if isinstance(value, list) and listed else [value]
        if option.is_flag or option.count:
            kind, what = (bool, "true or false") if option.is_flag else (int, "a whole number")
            if type(value) is not kind:
                raise self._wrong(where, f"'{key}' is {what}, not {_toml(value)}")
            return value
        if any(isinstance(item, bool) or not isinstance(item, (str, int, float)) for item in items):
            what = "text, or a list of it" if listed else "text or a number"
            raise self._wrong(where, f"'{key}' is {what}, not {_toml(value)}")
        texts = [str(item) for item in items]
        if isinstance(option.type, click.Path) and self.path.parent != Path.cwd():
            texts = [text if text == "-" else str(self.path.parent / text) for text in texts]
        written = texts if option.multiple else ",".join(texts)
        try:
            option.type_cast_value(click.Context(click.Command(None)), written)
        except click.BadParameter as error:
            raise self._wrong(where, f"'{key}': {error.message}") from None
        return written

    def _wrong(self, where: str, said: str) -> UsageError:
        return UsageError(f"'{_shown(self.path)}', {where}: {said}")


def _options(command: click.Command, all_of_them: bool = False) -> dict[str, click.Option]:
    """The options of a command by their long names, without the dashes."""
    found = {}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            long = next(name for name in option.opts if name.startswith("--"))
            found[long.removeprefix("--")] = option
    return found if all_of_them else {k: v for k, v in found.items() if k not in _NOT_HERE}


def _toml(value: Any) -> str:
    """A value for a message."""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"'{value}'"
        if isinstance(value, str)
        else "a table"
        if isinstance(value, dict)
        else str(value)
    )
