"""Mutations of the file: versions, names, metadata, bytes, and the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import onnx
from onnx import FunctionProto, NodeProto, TensorProto, defs, helper

from .mutation import (
    Mutant,
    NotHere,
    a_scope,
    bodies,
    fresh,
    graphs,
    known,
    mutation,
    pick,
    tensors,
)

# Versions


@mutation(2)
def change_opset(mutant: Mutant, rng: Random) -> str:
    model = mutant.model
    imports = pick(rng, [model, *model.functions]).opset_import
    how = rng.choice(("version", "version", "version", "wild", "missing", "spelled", "twice"))
    how = rng.choice((how, "both", "ml", "domain")) if rng.random() < 0.3 else how
    if not imports and how not in ("both", "ml"):
        raise NotHere
    told = ""
    match how:
        case "version":
            imports[0].version = rng.randint(6, defs.onnx_opset_version() + 1)
            told = f"{imports[0].version}"
        case "wild":
            imports[0].version = rng.choice((0, -1, 1, 2, 1000, 2**31))
        case "missing":
            del imports[0]
        case "spelled":
            imports[0].domain = "ai.onnx" if imports[0].domain == "" else ""
        case "twice":
            imports.append(imports[0])
        case "both":
            imports.add(domain="ai.onnx", version=rng.choice((13, 17, 21)))
        case "ml":
            imports.add(domain=rng.choice(("ai.onnx.ml", "com.microsoft", "x")), version=1)
        case "domain":
            imports[0].domain = rng.choice(("x", "ai.onnx.ml"))
    return f"{how} {told}".strip()


@mutation(1)
def change_ir_version(mutant: Mutant, rng: Random) -> str:
    version = rng.choice((*range(3, 14), 3, 3, 0, 1, 2, 99, -1))
    mutant.model.ir_version = version
    return f"{version}"


@mutation(0.7)
def as_ir_3(mutant: Mutant, rng: Random) -> str:
    """IR 3 with its constants listed as inputs, as it asks for."""
    graph = mutant.model.graph
    mutant.model.ir_version = 3
    listed = {info.name for info in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in listed:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return f"{len(graph.initializer)} constants"


@mutation(0.5)
def metadata(mutant: Mutant, rng: Random) -> str:
    model, graph = mutant.model, mutant.model.graph
    how = rng.choice(("graph", "model", "training", "quantization", "node", "value", "unnamed"))
    match how:
        case "graph":
            graph.metadata_props.add(key="key", value="value")
            graph.doc_string = "kept"
        case "model":
            for _ in range(rng.randint(1, 2)):
                model.metadata_props.add(key="key", value="value")
            model.producer_name, model.domain = "another", "org"
        case "training":
            model.training_info.add().algorithm.name = "algorithm"
        case "quantization":
            note = graph.quantization_annotation.add(tensor_name=pick(rng, known(graph)))
            note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="nowhere")
        case "node":
            node = pick(rng, graph.node)
            node.metadata_props.add(key="trtfuse.group", value="mine")
            node.doc_string = "kept"
        case "value":
            pick(rng, graph.input).metadata_props.add(key="key", value="value")
        case "unnamed":
            graph.name = ""
    return how


# Names

_NAMES = (
    "", " ", "a/b:0", "üñï", "\n", '"', "x" * 300, "{}", "%s", "x", "y", "bn_fused", "conv_fused",
    "c_scaled", "c_1", "0", "\u202e", "😀", "then_branch", "a.b", "trtfuse.groups", "\x00", "nan",
)  # fmt: skip


def _rename(scope: onnx.GraphProto | FunctionProto, was: str, name: str) -> None:
    """Renames a value, in bodies as well unless they have one of the name themselves."""
    for node in scope.node:
        for names in (node.input, node.output):
            for at, each in enumerate(names):
                if each == was:
                    names[at] = name
        for body in bodies([node]):
            _rename(body, was, name)
    if isinstance(scope, FunctionProto):
        for listed in (scope.input, scope.output):
            for at, each in enumerate(listed):
                if each == was:
                    listed[at] = name
        return
    for info in (*scope.input, *scope.output, *scope.value_info):
        if info.name == was:
            info.name = name
    for tensor in scope.initializer:
        if tensor.name == was:
            tensor.name = name


@mutation(2)
def rename_value(mutant: Mutant, rng: Random) -> str:
    scope = a_scope(mutant, rng)
    was = pick(rng, known(scope))
    others = known(scope)
    name = rng.choice((*_NAMES, f"{was}_fused", f"{was}_1", f"{pick(rng, others)}_1"))
    if rng.random() < 0.15:
        name = pick(rng, others)
    _rename(scope, was, name)
    return f"{was!r} to {name[:20]!r}"


@mutation(1.5)
def rename_nodes(mutant: Mutant, rng: Random) -> str:
    how = rng.choice(("one", "one", "all alike", "none", "like a value"))
    scope = a_scope(mutant, rng)
    node: NodeProto = pick(rng, scope.node)
    match how:
        case "one":
            node.name = rng.choice((*_NAMES, *(each.name for each in scope.node)))
        case "all alike":
            for each in scope.node:
                each.name = "node"
        case "none":
            for each in scope.node:
                each.name = ""
        case "like a value":
            node.name = pick(rng, known(scope))
    return how


@mutation(0.7)
def shadow_a_name(mutant: Mutant, rng: Random) -> str:
    """A body gives a value a name that the graph around it has."""
    body = pick(rng, graphs(mutant.model)[1:])
    was = pick(rng, known(body))
    name = pick(rng, known(mutant.model.graph))
    _rename(body, was, name)
    return f"{was} to {name}"


@mutation(0.5)
def name_that_is_not_utf_8(mutant: Mutant, rng: Random) -> str:
    scope = a_scope(mutant, rng)
    how = rng.choice(("value", "node", "graph", "symbol", "operator"))
    mark = "placeholder7"
    match how:
        case "value":
            _rename(scope, pick(rng, known(scope)), mark)
        case "node":
            pick(rng, scope.node).name = mark
        case "graph":
            mutant.model.graph.name = mark
        case "symbol":
            info = pick(rng, [*mutant.model.graph.input, *mutant.model.graph.output])
            pick(rng, info.type.tensor_type.shape.dim).dim_param = mark
        case "operator":
            pick(rng, scope.node).op_type = mark
    mutant.scars.append(lambda content: content.replace(mark.encode(), b"\xff\xfe\xc3holder7\x80"))
    return how


# Bytes


@mutation(1)
def scar(mutant: Mutant, rng: Random) -> str:
    how = rng.choice(("flip", "flip", "flip", "cut", "extend", "remove", "insert", "repeat"))
    seed = rng.randrange(2**32)
    mutant.scars.append(lambda content: _scarred(content, how, Random(seed)))
    return how


def _scarred(content: bytes, how: str, rng: Random) -> bytes:
    if not content:
        return content
    # Weights are most of the bytes, and the least of interest: mostly near the beginning.
    place = rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), 200))
    match how:
        case "flip":
            made = bytearray(content)
            for _ in range(rng.choice((1, 1, 2, 8))):
                made[place] = rng.randrange(256)
                place = rng.randrange(len(content))
            return bytes(made)
        case "cut":
            return content[:place]
        case "extend":
            return content + rng.randbytes(rng.randint(1, 20))
        case "remove":
            return content[:place] + content[place + rng.randint(1, 8) :]
        case "insert":
            return content[:place] + rng.randbytes(rng.randint(1, 8)) + content[place:]
    end = place + rng.randint(1, 200)
    return content[:end] + content[place:end] + content[end:]


# External data


def _moved_out(mutant: Mutant, rng: Random) -> list[TensorProto]:
    moved: list[TensorProto] = []
    blob = bytearray(mutant.files.get("weights.bin") or b"")
    initializers = [t for graph in graphs(mutant.model) for t in graph.initializer]
    choices = initializers if rng.random() < 0.85 else tensors(mutant.model)
    for tensor in choices:
        if not tensor.raw_data or tensor.data_location == TensorProto.EXTERNAL:
            continue
        if moved and rng.random() < 0.4:
            continue
        blob += bytes(-len(blob) % rng.choice((1, 4, 64)))
        tensor.external_data.add(key="location", value="weights.bin")
        tensor.external_data.add(key="offset", value=f"{len(blob)}")
        tensor.external_data.add(key="length", value=f"{len(tensor.raw_data)}")
        blob += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        moved.append(tensor)
    if not moved:
        raise NotHere
    mutant.files["weights.bin"] = bytes(blob)
    return moved


@mutation(1)
def external_data(mutant: Mutant, rng: Random) -> str:
    return f"{len(_moved_out(mutant, rng))} constants"


def _set(tensor: TensorProto, key: str, value: str | None) -> None:
    kept = [(e.key, e.value) for e in tensor.external_data if e.key != key]
    del tensor.external_data[:]
    for each in kept:
        tensor.external_data.add(key=each[0], value=each[1])
    if value is not None:
        tensor.external_data.add(key=key, value=value)


@mutation(1.5)
def external_data_that_is_wrong(mutant: Mutant, rng: Random) -> str:
    tensor = pick(rng, _moved_out(mutant, rng))
    # What is out of the folder is a file that is there.
    changes: Mapping[str, Callable[[], object]] = {
        "missing": lambda: mutant.files.pop("weights.bin"),
        "cut": lambda: mutant.files.update({"weights.bin": mutant.files["weights.bin"][:-1]}),  # type: ignore[index]
        "empty": lambda: mutant.files.update({"weights.bin": b""}),
        "offset": lambda: _set(tensor, "offset", rng.choice(("3", "-1", "1" * 20, "x", "", " 4"))),
        "length": lambda: _set(tensor, "length", rng.choice(("0", "1", "-1", "9" * 20, "x", None))),
        "no offset": lambda: _set(tensor, "offset", None),
        "location": lambda: _set(tensor, "location", rng.choice((None, "", ".", "a/b"))),
        "up": lambda: _set(tensor, "location", "../outside.bin"),
        "round": lambda: _set(tensor, "location", "./x/../weights.bin"),
        "absolute": lambda: _set(tensor, "location", "/etc/hostname"),
        "backslash": lambda: _set(tensor, "location", "..\\outside.bin"),
        "link": lambda: mutant.files.update({"weights.bin": None}),
        "dims": lambda: tensor.dims.append(2),
        "type": lambda: setattr(tensor, "data_type", rng.randrange(0, 28)),
        "no entries": lambda: tensor.ClearField("external_data"),
        "twice": lambda: tensor.external_data.add(key="offset", value="0"),
        "checksum": lambda: tensor.external_data.add(key="checksum", value="00"),
        "raw as well": lambda: setattr(tensor, "raw_data", b"\0\0\0\0"),
        "memory": lambda: _set(tensor, "location", "*/_ORT_MEM_ADDR_/*"),
    }
    how = rng.choice(sorted(changes))
    changes[how]()
    return f"{tensor.name}: {how}"


@mutation(0.5)
def unread_parts(mutant: Mutant, rng: Random) -> str:
    """Nodes, constants and functions that nothing reads."""
    graph = mutant.model.graph
    source = pick(rng, known(graph))
    graph.node.append(helper.make_node("Relu", [source], [fresh(mutant, "unread")]))
    graph.node.append(helper.make_node(rng.choice(("Neg", "Shape")), [source], [""]))
    return source
