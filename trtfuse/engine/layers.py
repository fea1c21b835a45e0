"""The layers of an engine, as the builder's log or a layer-information JSON lists them.

Three notations are read:

- The block `Layers:` of a verbose build with detailed profiling. TensorRT for RTX says shapes,
  strides, types and formats there; full TensorRT says less of tensors and more of layers.
- The JSON of the engine inspector, which `trtexec --exportLayerInfo` writes.
- The block `Engine Layer Information:` of full TensorRT without detailed profiling or before
  version 10, a line `Layer(Type): ...` each.

Those of TensorRT for RTX were recorded from real builds. What full TensorRT writes is read as
NVIDIA's documentation and public logs show it: it takes a GPU to be made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtfuse.errors import EngineError, nothing_else_raised
from trtfuse.result.layer import BITS, Layer, LayerTensor

#: One name where TensorRT has two for a type.
_SPELLING = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16"}
_TYPE = re.compile(rf"(?i)(?<![a-z0-9])({'|'.join(BITS)})(?![a-z0-9])")


def kernels(layers: Iterable[Layer], profile: int = 0) -> int:
    """How many kernels one pass runs: the layers that are no signal, wait, NoOp or Constant.

    Args:
        layers: of an engine.
        profile: which of its optimization profiles; an engine runs one at a time.
    """
    return sum(layer.runs for layer in layers if layer.profile == profile)


def traffic(layers: Iterable[Layer], profile: int = 0) -> int:
    """How many bytes one pass moves: of each kernel the distinct tensors it reads and writes.

    Args:
        layers: of an engine.
        profile: which of its optimization profiles; an engine runs one at a time.

    Raises:
        EngineError: a tensor has a size or a type that is not known before the engine runs.
    """
    total = 0
    for layer in layers:
        if layer.profile != profile or not layer.runs:
            continue
        tensors = {t.name: t for t in (*layer.inputs, *layer.constants, *layer.outputs)}
        for tensor in tensors.values():
            size = tensor.bytes
            if size is None and not any(extent < 0 for extent in tensor.shape):
                raise EngineError(
                    f"the type of '{tensor.name}', '{tensor.type}', has no known size; "
                    "the traffic cannot be told"
                )
            if size is None:
                raise EngineError(
                    f"'{tensor.name}' has the shape {list(tensor.shape)} in layer '{layer.name}': "
                    "build with fixed input shapes to tell the traffic"
                )
            total += size
    return total


@nothing_else_raised
def read_layers(path: str | Path) -> tuple[Layer, ...]:
    """Reads the layers of an engine that was built elsewhere.

    Args:
        path: a log of `trtexec --verbose --profilingVerbosity=detailed` or of a verbose build in
            Python, or the JSON of `trtexec --profilingVerbosity=detailed --exportLayerInfo=...`.

    Returns:
        The layers in the order in which they run, those of every optimization profile.

    Raises:
        EngineError: the file cannot be read, or has no layers in it.
    """
    return layers_in(read_text(path), path)


def read_text(path: str | Path) -> str:
    """The text of a log or JSON file, in UTF-8 or, as PowerShell writes it, UTF-16.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read '{path}': {error.strerror}") from None
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if marked else "utf-8-sig", errors="replace")


def layers_in(text: str, path: str | Path) -> tuple[Layer, ...]:
    """The layers in the text of a file, JSON or log; `path` is for messages.

    Raises:
        EngineError: there are no layers in it, or they are cut short.
    """
    try:
        return read_json(text) if text.lstrip()[:1] in ("{", '"') else read_log(text)
    except EngineError as error:
        raise EngineError(f"'{path}': {error}") from None


# The builder's names are any text, and nothing in the log is quoted. So each part is recognised by
# what must follow it, and the earliest end that fits is taken: a bracket or a comma in a name ends
# nothing.

#: What stands before a message: `[11/25/2026-10:00:00] [V] [TRT] ` or `[TensorRT] VERBOSE: `.
_PREFIX = r"(?:\[[^\]\n]*\] ?)*(?:[A-Z]+: )?"
_BLOCK = re.compile(rf"^[^\n]*\bLayers:[ ]*\n(?=\s*{_PREFIX}Name: )", re.MULTILINE)
_START = rf"{_PREFIX}Name: (?:(?!\nName: ).)*?, LayerType: [^,\n]*, Inputs: \["
_HEAD = re.compile(
    rf"\s*{_PREFIX}Name: (?P<name>(?:(?!\nName: ).)*?), LayerType: (?P<type>[^,\n]*), Inputs: "
    r"(?=\[\]|\[ \{ Name: )",
    re.DOTALL,
)
_NAME = re.compile(rf"\s*{_PREFIX}Name: ")
_ENTRY = re.compile(
    r"\{ Name: (?P<name>.*?)(?:, Location: \w+)?, Dimensions: \[(?P<shape>[-\d,]*)\], "
    r"(?:(?:Strides: \[[-\d,]*\], StrideOrder: \[[-\d,]*\], )?Datatype: (?P<type>[^,]*), "
    r"Format: (?P<format>[^\n]*?)|Format/Datatype: (?P<both>[^\n]*?)) \}"
    r"(?=, \{ Name: |\](?:, [A-Z]\w*: |\s*\n|\s*\Z))",
    re.DOTALL,
)
_TAIL = re.compile(
    r"(?P<fields>[^\n]*?)(?:, Metadata: ?(?P<metadata>.*?))?"
    rf"(?=\n\s*{_START}|\n(?:I/O Tensors:|Bindings:|\[|\n)|\n{_PREFIX}Name: [^\n]*\Z|\s*\Z)",
    re.DOTALL,
)
_TACTIC = re.compile(r", TacticName: ([^,]*)")
_WEIGHTS = re.compile(r', (Weights|Bias): \{"Type": "(\w+)", "Count": (\d+)\}')
_OLD_BLOCK = re.compile(rf"^[^\n]*Engine Layer Information:[ ]*\n(?=\s*{_PREFIX}Layer\()", re.M)
_OLD_LINE = re.compile(
    rf"{_PREFIX}Layer\((?P<type>[^)]*)\): (?P<name>.*?)(?:, LayerImpl: \w+)?, "
    r"Tactic: (?P<value>-?\w+)(?: \((?P<tactic>[^)]*)\))?, ?(?P<tensors>.*)"
)
_OLD_START = re.compile(rf"{_PREFIX}Layer\(")
_ARROW = re.compile(" ?->(?: |$)")
_OLD_TENSOR = re.compile(
    r"(?P<name>.*?)(?:\[(?P<type>\w+)\((?P<shape>[-\d,:]*)\)\]"
    r"| \((?P<type2>\w+)\[(?P<shape2>[-\d,:]*)\]\))(?=, | -> |$)"
)
_PROFILE = re.compile(r" \[profile (\d+)\]")
_GRAPH = re.compile(r"_(myl\d+)_\d+$")


def read_log(text: str) -> tuple[Layer, ...]:
    r"""Reads the layers from a verbose log, whatever else is in it; of several builds, the last.

    Args:
        text: a log with the message that begins with `Layers:`, or with `Engine Layer Information:`
            as full TensorRT prints it without detailed profiling. What the latter leaves out is
            empty here: it lists no weights, so its traffic compares only with its like.

    Raises:
        EngineError: there are no layers in it, or they are cut short.
    """
    text = text.replace("\r\n", "\n")
    blocks = [(title.end(), _read_block) for title in _BLOCK.finditer(text)]
    blocks += [(title.end(), _read_old_block) for title in _OLD_BLOCK.finditer(text)]
    if not blocks:
        raise EngineError(
            "the log lists no layers: build verbosely and with detailed profiling, "
            "like trtexec --verbose --profilingVerbosity=detailed"
        )
    start, read = max(blocks, key=lambda block: block[0])
    return _with_profiles(tuple(read(text, start)))


def _read_block(text: str, at: int) -> Iterator[Layer]:
    number = 0
    while head := _HEAD.match(text, at):
        name = head["name"]
        inputs, at = _entries(text, head.end(), number)
        constants, at = _section(text, at, ", Constants: ", number)
        if not text.startswith(", Outputs: ", at):
            raise _cut(text, at, number)
        outputs, at = _section(text, at, ", Outputs: ", number)
        tail = _TAIL.match(text, at)
        if tail is None:
            raise _cut(text, at, number)
        for what, kind, count in _WEIGHTS.findall(tail["fields"]):
            constants += (LayerTensor(f"{name} {what}", (int(count),), _type(kind)),)
        tactic = _TACTIC.search(tail["fields"])
        metadata = tail["metadata"]
        nodes = _joined(name) if metadata is None else _nodes(metadata)
        yield Layer(
            name, head["type"], inputs, constants, outputs, nodes, tactic[1] if tactic else ""
        )
        at = tail.end()
        number += 1
    if _NAME.match(text, at):
        raise _cut(text, at, number)


def _section(text: str, at: int, title: str, number: int) -> tuple[tuple[LayerTensor, ...], int]:
    """The tensors of a list that may be left out, with its title, and where it ends."""
    if not text.startswith(title, at):
        return (), at
    return _entries(text, at + len(title), number)


def _entries(text: str, at: int, number: int) -> tuple[tuple[LayerTensor, ...], int]:
    """The tensors of a list `[ { Name: ... }, { Name: ... }]`, and where it ends."""
    if text.startswith("[]", at):
        return (), at + 2
    tensors: list[LayerTensor] = []
    at += 2
    while entry := _ENTRY.match(text, at):
        both = entry["both"]
        kind, layout = (entry["type"], entry["format"]) if both is None else (both, both)
        tensors.append(LayerTensor(entry["name"], _sizes(entry["shape"]), _type(kind), layout))
        at = entry.end()
        if text.startswith("]", at):
            return tuple(tensors), at + 1
        at += len(", ")
    raise _cut(text, at, number)


def _cut(text: str, at: int, number: int) -> EngineError:
    at += len(text[at:]) - len(text[at:].lstrip("\n"))
    line = text.count("\n", 0, at) + 1
    shown = " ".join(text[at : at + 40].split())
    return EngineError(f"layer {number} is not complete: line {line} has '{shown}' there")


def _nodes(metadata: str) -> tuple[str, ...]:
    """The names in `[ONNX Layer: a]`, separated by a byte 0x1f, or 0x1e in full TensorRT."""
    start, metadata = "[ONNX Layer: ", metadata.rstrip(" \t")
    if not metadata.startswith(start) or not metadata.endswith("]"):
        return ()
    inner = metadata[len(start) : -1]
    # What was copied from a terminal or a web page has lost the byte.
    between = r"\][\x1e\x1f]\[" if re.search(r"\][\x1e\x1f]\[", inner) else r"\]\["
    return tuple(dict.fromkeys(re.split(rf"{between}ONNX Layer: ", inner)))


def _read_old_block(text: str, at: int) -> Iterator[Layer]:
    lines = (line for line in text[at:].split("\n") if line.strip())
    for number, line in enumerate(lines):
        entry = _OLD_LINE.fullmatch(line.strip())
        sides = None if entry is None else _old_tensors(entry["tensors"])
        if entry is not None and sides is not None:
            name, (inputs, outputs) = entry["name"], sides
            tactic = entry["tactic"] or entry["value"]
            yield Layer(name, entry["type"], inputs, (), outputs, _joined(name), tactic)
        elif _OLD_START.match(line):
            raise _cut(text, text.index(line, at), number)
        else:
            return


def _old_tensors(text: str) -> tuple[tuple[LayerTensor, ...], tuple[LayerTensor, ...]] | None:
    """The inputs and outputs in `a[Float(1,3)], b[Half(2)] -> c[...]`; None if it is not that."""
    sides: tuple[list[LayerTensor], list[LayerTensor]] = [], []
    at = side = 0
    while at < len(text):
        if arrow := _ARROW.match(text, at):
            at, side = arrow.end(), 1
            continue
        entry = _OLD_TENSOR.match(text, at)
        if entry is None:
            return None
        sizes = entry["shape"] or entry["shape2"] or ""
        # `[1,40:8,7]` has its channels in vectors of 8.
        shape, layout = _sizes(re.sub(r":\d+", "", sizes)), sizes if ":" in sizes else ""
        kind = _type(entry["type"] or entry["type2"])
        sides[side].append(LayerTensor(entry["name"], shape, kind, layout))
        at = entry.end() + (2 if text.startswith(", ", entry.end()) else 0)
    return tuple(sides[0]), tuple(sides[1])


def _joined(name: str) -> tuple[str, ...]:
    """The nodes that the name of a layer joins: `conv1 + PWN(relu1)`, `{ForeignNode[a...z]}`."""
    if name.startswith("Reformatting CopyNode for "):
        return ()
    if foreign := re.fullmatch(r"\{ForeignNode\[(.*?)\.\.\.(.*)\]\}", name):
        name = " + ".join(foreign.groups())
    parts = (re.sub(r"^PWN\((.*)\)$", r"\1", part) for part in name.split(" + "))
    return tuple(dict.fromkeys(p for p in parts if p and not p.startswith("(Unnamed Layer*")))


def _sizes(text: str) -> tuple[int, ...]:
    """Sizes with commas between them; any negative one is not known."""
    return tuple(max(int(size), -1) for size in text.split(",") if size)


def _type(text: str) -> str:
    """TensorRT's name of the type in a text like `Channel major FP16 format`.

    The text itself if it names no type; empty if it says N/A.
    """
    spelled = _TYPE.search(text)
    if spelled is None:
        return "" if "N/A" in text else text
    return _SPELLING.get(spelled[0].lower(), spelled[0])


def _with_profiles(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers with their profiles, which the builder tells in names: `x [profile 1]`.

    Not every layer names its profile, but the names of all layers of a profile end alike: in
    `_myl1_` and a number.
    """
    profiles: dict[str, int] = {}
    graphs = [ending[1] if (ending := _GRAPH.search(layer.name)) else "" for layer in layers]
    own = [
        max((int(n) for name in _all_names(layer) for n in _PROFILE.findall(name)), default=0)
        for layer in layers
    ]
    for graph, profile in zip(graphs, own, strict=True):
        if graph:
            profiles[graph] = max(profile, profiles.get(graph, 0))
    return tuple(
        replace(layer, profile=profiles.get(graph, profile))
        for layer, graph, profile in zip(layers, graphs, own, strict=True)
    )


def _all_names(layer: Layer) -> Iterator[str]:
    yield layer.name
    yield from (tensor.name for tensor in (*layer.inputs, *layer.outputs))


def read_json(text: str) -> tuple[Layer, ...]:
    """Reads the layers from the JSON of the engine inspector.

    Args:
        text: `{"Layers": [...], "Bindings": [...]}`, as `trtexec --exportLayerInfo` writes it for
            an engine that was built with detailed profiling.

    Raises:
        EngineError: it is not JSON, has no layers, or only their names.
    """
    try:
        parsed = json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        raise EngineError(f"this is not JSON: {error}") from None
    listed = parsed.get("Layers") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise EngineError('this JSON has no "Layers"; trtexec --exportLayerInfo writes them')
    if any(not isinstance(layer, dict) for layer in listed):
        raise EngineError(
            "this JSON has the names of layers only: build with --profilingVerbosity=detailed"
        )
    return _with_profiles(tuple(map(_from_json, listed)))


def _from_json(listed: Mapping[str, Any]) -> Layer:
    name, metadata = str(listed.get("Name", "")), listed.get("Metadata")
    inputs, constants, outputs = (
        tuple(_tensor(entry) for entry in _list(listed, key))
        for key in ("Inputs", "Constants", "Outputs")
    )
    for key in ("Weights", "Bias"):
        weights = listed.get(key)
        if isinstance(weights, Mapping) and isinstance(weights.get("Count"), int):
            kind = _type(str(weights.get("Type", "")))
            constants += (LayerTensor(f"{name} {key}", (weights["Count"],), kind),)
    return Layer(
        name,
        str(listed.get("LayerType", "")),
        inputs,
        constants,
        outputs,
        _joined(name) if metadata is None else _nodes(str(metadata)),
        str(listed.get("TacticName", "")),
    )


def _list(listed: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = listed.get(key)
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _tensor(listed: Mapping[str, Any]) -> LayerTensor:
    layout = str(listed.get("Format/Datatype", listed.get("Format", "")))
    sizes = listed.get("Dimensions")
    shape = tuple(s if isinstance(s, int) else -1 for s in sizes) if sizes else ()
    kind = str(listed.get("Datatype", layout))
    return LayerTensor(str(listed.get("Name", "")), shape, _type(kind), layout)
