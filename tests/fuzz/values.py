"""Mutations of types, dimensions, weights, and of what the model claims of its values."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
from onnx import (
    ModelProto,
    TensorProto,
    TensorShapeProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from .mutation import (
    Mutant,
    NotHere,
    a_tensor,
    computed,
    graphs,
    inferred,
    mutation,
    pick,
    scopes,
    tensors,
)

_SIZES = (0, 1, 2, 3, 5, -1, -2, 2**31, 2**62, 2**63 - 1)
_SYMBOLS = ("batch", "N", "d0", "", "batch + 1", "?", "1")
_TYPES = (*tuple(range(28)), 99, 2**31 - 1)


def _infos(model: ModelProto, inputs: bool = True) -> list[ValueInfoProto]:
    listed: list[ValueInfoProto] = []
    for graph in graphs(model):
        listed += [*graph.output, *graph.value_info]
        if inputs:
            listed += graph.input
    for function in model.functions:
        listed += function.value_info
    return listed


@mutation(1)
def change_type_of_value(mutant: Mutant, rng: Random) -> str:
    info = pick(rng, _infos(mutant.model))
    info.type.tensor_type.elem_type = rng.choice(_TYPES)
    return f"{info.name} is of type {info.type.tensor_type.elem_type}"


@mutation(0.5)
def change_kind_of_value(mutant: Mutant, rng: Random) -> str:
    info = pick(rng, _infos(mutant.model))
    inner = TypeProto()
    inner.CopyFrom(info.type)
    how = rng.choice(("none", "sequence", "optional", "map", "sparse"))
    info.ClearField("type")
    match how:
        case "sequence":
            info.type.sequence_type.elem_type.CopyFrom(inner)
        case "optional":
            info.type.optional_type.elem_type.CopyFrom(inner)
        case "map":
            info.type.map_type.key_type = TensorProto.INT64
            info.type.map_type.value_type.CopyFrom(inner)
        case "sparse":
            info.type.sparse_tensor_type.elem_type = inner.tensor_type.elem_type
    return f"{info.name}: {how}"


@mutation(0.7)
def change_type_of_tensor(mutant: Mutant, rng: Random) -> str:
    tensor = a_tensor(mutant, rng)
    tensor.data_type = rng.choice(_TYPES)
    return f"{tensor.name} is of type {tensor.data_type}"


@mutation(1.5)
def convert_everything(mutant: Mutant, rng: Random) -> str:
    """All of one floating type becomes another, as converters do it."""
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    old, new = rng.choice(kinds), rng.choice(kinds[:3])
    if rng.random() < 0.7:
        old = TensorProto.FLOAT
    changed = 0
    for tensor in tensors(mutant.model):
        if tensor.data_type != old or tensor.data_location == TensorProto.EXTERNAL:
            continue
        try:
            with np.errstate(all="ignore"):
                array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(new))
        except Exception:  # noqa: BLE001 - its bytes and dims disagree
            raise NotHere from None
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        changed += 1
    for info in _infos(mutant.model):
        if info.type.tensor_type.elem_type == old:
            info.type.tensor_type.elem_type = new
            changed += 1
    for scope in scopes(mutant.model):
        for node in scope.node:
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i == old:
                    attribute.i = new
                    changed += 1
    if not changed:
        raise NotHere
    return f"{old} to {new}"


def _change_dim(dim: TensorShapeProto.Dimension, rng: Random) -> None:
    how = rng.random()
    if how < 0.35:
        dim.dim_param = rng.choice(_SYMBOLS)
    elif how < 0.5:
        dim.Clear()
    else:
        dim.dim_value = rng.choice(_SIZES)


def _change_shape(info: ValueInfoProto, rng: Random) -> str:
    if not info.type.HasField("tensor_type"):
        raise NotHere
    tensor_type = info.type.tensor_type
    how = rng.choice(("dim", "dim", "dim", "none", "rank", "scalar", "more", "fewer", "permute"))
    dims = tensor_type.shape.dim
    match how:
        case "dim":
            _change_dim(pick(rng, dims), rng)
        case "none":
            tensor_type.ClearField("shape")
        case "rank":
            tensor_type.shape.CopyFrom(TensorShapeProto())
            for _ in range(rng.randint(0, 6)):
                _change_dim(dims.add(), rng)
        case "scalar":
            tensor_type.shape.CopyFrom(TensorShapeProto())
        case "more":
            dims.add().dim_value = 1
        case "fewer":
            del dims[rng.randrange(len(dims)) if dims else pick(rng, ()) :]
        case "permute":
            order = list(dims)
            rng.shuffle(order)
            del dims[:]
            dims.extend(order)
    return f"{info.name}: {how}"


@mutation(2)
def change_shape_of_input(mutant: Mutant, rng: Random) -> str:
    return _change_shape(pick(rng, mutant.model.graph.input), rng)


@mutation(2)
def open_the_inputs(mutant: Mutant, rng: Random) -> str:
    """Inputs whose sizes are fixed get open ones; value_info stays as it was."""
    graph = mutant.model.graph
    stored = {tensor.name for tensor in graph.initializer}
    infos = [each for each in graph.input if each.name not in stored]
    changed = 0
    for info in infos:
        for at, dim in enumerate(info.type.tensor_type.shape.dim):
            if rng.random() < 0.6:
                dim.dim_param = "batch" if at == 0 else f"{info.name}_{at}"
                changed += 1
    if not changed:
        raise NotHere
    return f"{changed} sizes"


@mutation(3)
def change_shape_of_value(mutant: Mutant, rng: Random) -> str:
    """A claim about a value that is computed."""
    return _change_shape(pick(rng, _infos(mutant.model, inputs=False)), rng)


@mutation(3)
def state_shapes(mutant: Mutant, rng: Random) -> str:
    """The shapes that are inferred, some of them changed."""
    result = inferred(mutant.model)
    mutant.model.CopyFrom(result)
    listed = mutant.model.graph.value_info
    for info in listed:
        if rng.random() < 0.25:
            try:
                _change_shape(info, rng)
            except NotHere:
                continue
    return f"{len(listed)} values"


@mutation(2)
def claim_another_batch(mutant: Mutant, rng: Random) -> str:
    """Every value is said to have another first size, or the symbol of an input."""
    if rng.random() < 0.6:
        mutant.model.CopyFrom(inferred(mutant.model))
    size = rng.choice((0, 1, 2, 4, 7, "batch", "N", None))
    changed = 0
    for info in _infos(mutant.model, inputs=rng.random() < 0.3):
        for dim in info.type.tensor_type.shape.dim[:1]:
            dim.Clear()
            if isinstance(size, int):
                dim.dim_value = size
            elif size:
                dim.dim_param = size
            changed += 1
    if not changed:
        raise NotHere
    return f"{size} for {changed} values"


@mutation(2)
def borrow_a_shape(mutant: Mutant, rng: Random) -> str:
    """A value is said to have the shape of another one."""
    infos = [i for i in _infos(mutant.model) if i.type.HasField("tensor_type")]
    if len(infos) < 2:
        raise NotHere
    one, other = rng.sample(range(len(infos)), 2)
    infos[one].type.tensor_type.shape.CopyFrom(infos[other].type.tensor_type.shape)
    return f"{infos[one].name} like {infos[other].name}"


@mutation(1.5)
def claim_of_any_value(mutant: Mutant, rng: Random) -> str:
    """A value that has no value_info gets one, right or wrong."""
    graph = mutant.model.graph
    name = pick(rng, computed(graph))
    dims = [rng.choice((1, 2, 3, 4, "batch", None)) for _ in range(rng.randint(0, 4))]
    kind = rng.choice((TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL))
    graph.value_info.append(helper.make_tensor_value_info(name, kind, dims))
    return f"{name} {dims}"


@mutation(1)
def drop_claims(mutant: Mutant, rng: Random) -> str:
    how = rng.choice(("value_info", "output shapes", "output types", "input shapes"))
    graph = mutant.model.graph
    match how:
        case "value_info":
            if not graph.value_info:
                raise NotHere
            del graph.value_info[:]
        case "output shapes" | "input shapes":
            for info in graph.output if how == "output shapes" else graph.input:
                if info.type.HasField("tensor_type"):
                    info.type.tensor_type.ClearField("shape")
        case "output types":
            for info in graph.output:
                info.ClearField("type")
    return how


# Weights


def _arrays(mutant: Mutant, rng: Random) -> Iterator[tuple[TensorProto, np.ndarray]]:
    """A tensor whose numbers can be read, and these."""
    tensor = a_tensor(mutant, rng)
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except Exception:  # noqa: BLE001 - its bytes and dims disagree
        raise NotHere from None
    yield tensor, array


@mutation(5)
def change_numbers(mutant: Mutant, rng: Random) -> str:
    """Some or all numbers of a constant."""
    for tensor, array in _arrays(mutant, rng):
        if array.size == 0 or array.dtype.kind not in "fiub":
            raise NotHere
        flat = array.reshape(-1)
        if array.dtype.kind == "f":
            value = rng.choice(
                (
                    0.0,
                    -0.0,
                    1.0,
                    -1.0,
                    2.0,
                    0.5,
                    -0.25,
                    6.0,
                    float("nan"),
                    float("inf"),
                    1e-30,
                    1e30,
                    1e38,
                    1e-40,
                    65504.0,
                    -float("inf"),
                    0.7978845608,
                    1e-05,
                    3.0,
                )
            )
        elif array.dtype.kind == "b":
            value = rng.random() < 0.5
        else:
            value = rng.choice((0, 1, -1, 2, 3, 4, -2, -3, 2**31 - 1, 2**63 - 1, -(2**63), 127))
            bounds = np.iinfo(array.dtype)
            value = max(int(bounds.min), min(int(bounds.max), value))
        with np.errstate(all="ignore"):
            if rng.random() < 0.4:
                flat[:] = value
            else:
                flat[rng.randrange(flat.size)] = value
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        return f"{name} gets {value}"
    raise NotHere


@mutation(4)
def change_shape_of_tensor(mutant: Mutant, rng: Random) -> str:
    """A constant of another shape, whose bytes fit it."""
    for tensor, array in _arrays(mutant, rng):
        how = rng.choice(
            (
                "one more",
                "one more",
                "trailing one",
                "flat",
                "scalar",
                "first",
                "empty",
                "longer",
                "transposed",
                "squeezed",
                "wider",
            )
        )
        if array.ndim > 6 or array.size > 4096:
            raise NotHere
        match how:
            case "one more":
                array = array[None]
            case "trailing one":
                array = array[..., None]
            case "flat":
                array = array.reshape(-1)
            case "scalar":
                array = array.reshape(-1)[:1].reshape(() if array.size else (0,))
            case "first":
                array = array[:1] if array.ndim else array.reshape(1)
            case "empty":
                array = array[:0] if array.ndim else np.zeros((0,), array.dtype)
            case "longer":
                array = np.concatenate([array, array]) if array.ndim else np.stack([array, array])
            case "transposed":
                array = np.ascontiguousarray(array.T)
            case "squeezed":
                array = array.squeeze()
            case "wider":
                array = np.broadcast_to(array, (2, *array.shape)).copy()
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        for graph in graphs(mutant.model):
            for info in graph.input:
                if info.name == name and rng.random() < 0.8:
                    info.CopyFrom(
                        helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
                    )
        return f"{name}: {how}"
    raise NotHere


@mutation(1)
def dims_that_do_not_fit(mutant: Mutant, rng: Random) -> str:
    tensor = a_tensor(mutant, rng)
    how = rng.choice(("change", "append", "drop", "negative", "huge"))
    match how:
        case "change" | "negative" | "huge":
            if not tensor.dims:
                raise NotHere
            at = rng.randrange(len(tensor.dims))
            wild = {"change": rng.choice((0, 1, 2, 3, 5)), "negative": -1, "huge": 2**40}
            tensor.dims[at] = wild[how]
        case "append":
            tensor.dims.append(rng.choice((0, 1, 2, 2**20)))
        case "drop":
            if not tensor.dims:
                raise NotHere
            del tensor.dims[rng.randrange(len(tensor.dims)) :]
    return f"{tensor.name} {list(tensor.dims)}"


@mutation(1)
def data_that_does_not_fit(mutant: Mutant, rng: Random) -> str:
    tensor = a_tensor(mutant, rng)
    how = rng.choice(("cut", "longer", "none", "both", "floats", "other field", "int32"))
    match how:
        case "cut":
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case "longer":
            tensor.raw_data += bytes(rng.randint(1, 9))
        case "none":
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "string_data"):
                tensor.ClearField(field)
        case "both":
            tensor.float_data.append(1.0)
        case "floats":
            tensor.ClearField("raw_data")
            tensor.float_data.extend([1.0] * rng.randint(0, 4))
        case "other field":
            tensor.ClearField("raw_data")
            tensor.int64_data.extend([1] * max(1, int(np.prod(tensor.dims, dtype=float) % 64)))
        case "int32":
            tensor.ClearField("raw_data")
            tensor.int32_data.extend([1] * rng.randint(0, 4))
    return f"{tensor.name}: {how}"


@mutation(1)
def data_as_numbers(mutant: Mutant, rng: Random) -> str:
    """The same numbers in the field of their type, not as raw bytes."""
    for tensor, array in _arrays(mutant, rng):
        name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
        if kind not in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32):
            raise NotHere
        tensor.CopyFrom(helper.make_tensor(name, kind, dims, array.reshape(-1).tolist()))
        return name
    raise NotHere


@mutation(0.5)
def initializer_named_twice(mutant: Mutant, rng: Random) -> str:
    graph = pick(rng, (each for each in graphs(mutant.model) if each.initializer))
    tensor = pick(rng, graph.initializer)
    how = rng.choice(("twice", "of a value", "sparse", "unused", "no name"))
    match how:
        case "twice":
            graph.initializer.append(tensor)
        case "of a value":
            tensor.name = pick(rng, computed(graph))
        case "sparse":
            sparse = graph.sparse_initializer.add()
            sparse.values.CopyFrom(numpy_helper.from_array(np.float32([2.0]), tensor.name))
            sparse.indices.CopyFrom(numpy_helper.from_array(np.int64([0]), ""))
            sparse.dims.extend(tensor.dims)
            graph.initializer.remove(tensor)
        case "unused":
            graph.initializer.append(numpy_helper.from_array(np.float32([1]), "unused_weight"))
        case "no name":
            tensor.name = ""
    return f"{how}"
