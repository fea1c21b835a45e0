"""Mutations of the structure: nodes and what they read."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, defs, helper, numpy_helper

from .mutation import (
    Mutant,
    NotHere,
    a_node,
    a_scope,
    computed,
    fresh,
    insert,
    known,
    label,
    mutation,
    pick,
    readers,
    replace_nodes,
)

UNARY = (
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Flatten", "Floor", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "IsNaN", "LeakyRelu", "Log",
    "LogSoftmax", "Neg", "NonZero", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shape",
    "Sigmoid", "Sign", "Sin", "Size", "Softmax", "Softplus", "Softsign", "Sqrt", "Squeeze", "Tanh",
    "Transpose", "Dropout", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceProd",
    "ReduceMin", "ReduceSumSquare", "ReduceLogSumExp", "Gelu", "Mish", "CastLike", "EyeLike",
)  # fmt: skip
BINARY = (
    "Add", "And", "BitShift", "CastLike", "Concat", "Div", "Equal", "Expand", "Gather", "Greater",
    "Less", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Reshape", "Slice",
    "Squeeze", "Sub", "Sum", "Tile", "Unsqueeze", "Xor", "GreaterOrEqual", "LessOrEqual", "Gemm",
    "GatherND", "GatherElements", "Compress", "TopK", "Where", "Pad", "Split", "BitwiseAnd",
)  # fmt: skip
#: Operators that take the place of each other without making the model invalid.
ALIKE = (
    ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Exp", "Sqrt", "Identity", "Erf", "Softplus"),
    ("Add", "Mul", "Sub", "Div", "Pow", "Max", "Min", "Sum", "Mean"),
    ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceProd"),
    ("ReduceMean", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
    ("AveragePool", "MaxPool"),
    ("GlobalAveragePool", "GlobalMaxPool"),
    ("Softmax", "LogSoftmax", "Hardmax"),
    ("Squeeze", "Unsqueeze"),
    ("Reshape", "Expand", "Tile"),
    ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"),
    ("And", "Or", "Xor"),
    ("ArgMax", "ArgMin"),
    ("Conv", "ConvTranspose"),
)
_OPERATORS = sorted({schema.name for schema in defs.get_all_schemas()})


@mutation()
def delete_node(mutant: Mutant, rng: Random) -> str:
    scope, place, node = a_node(mutant, rng)
    gone = label(node)
    del scope.node[place]
    return gone


@mutation(2)
def delete_node_and_pass_its_input_on(mutant: Mutant, rng: Random) -> str:
    scope, place, node = a_node(mutant, rng)
    if not node.input or not node.output:
        raise NotHere
    gone, source, target = label(node), node.input[0], node.output[0]
    uses = readers(scope, target)
    for reader, at in uses:
        reader.input[at] = source
    if target in _outputs(scope):
        del node.attribute[:], node.input[1:], node.output[1:]
        node.op_type, node.domain = "Identity", ""
    else:
        del scope.node[place]
    return gone


def _outputs(scope: GraphProto | FunctionProto) -> list[str]:
    if isinstance(scope, FunctionProto):
        return list(scope.output)
    return [info.name for info in scope.output]


@mutation()
def duplicate_node(mutant: Mutant, rng: Random) -> str:
    scope, place, node = a_node(mutant, rng)
    copy = NodeProto()
    copy.CopyFrom(node)
    insert(scope, place, copy)
    return label(copy)


@mutation(3)
def twin_of_a_node(mutant: Mutant, rng: Random) -> str:
    """A second node that computes the same, and which some of the readers read."""
    scope, place, node = a_node(mutant, rng)
    twin = NodeProto()
    twin.CopyFrom(node)
    for at, name in enumerate(node.output):
        if not name:
            continue
        twin.output[at] = fresh(mutant, "twin")
        for reader, read in readers(scope, name):
            if rng.random() < 0.5:
                reader.input[read] = twin.output[at]
        break
    if twin.name:
        twin.name += "_twin"
    del twin.output[1:]
    insert(scope, place, twin)
    return label(twin)


@mutation()
def swap_nodes(mutant: Mutant, rng: Random) -> str:
    scope = a_scope(mutant, rng)
    nodes = list(scope.node)
    if len(nodes) < 2:
        raise NotHere
    one, other = rng.sample(range(len(nodes)), 2)
    nodes[one], nodes[other] = nodes[other], nodes[one]
    replace_nodes(scope, nodes)
    return f"{one}, {other}"


@mutation()
def shuffle_nodes(mutant: Mutant, rng: Random) -> str:
    scope = a_scope(mutant, rng)
    nodes = list(scope.node)
    if len(nodes) < 2:
        raise NotHere
    rng.shuffle(nodes)
    replace_nodes(scope, nodes)
    return f"{len(nodes)} nodes"


@mutation(3)
def read_another_value(mutant: Mutant, rng: Random) -> str:
    scope, place, node = a_node(mutant, rng)
    if not node.input:
        raise NotHere
    # Mostly one that is computed before, now and then any, which may close a cycle.
    names = known(scope)
    if rng.random() < 0.8:
        later = {name for after in list(scope.node)[place:] for name in after.output}
        names = [name for name in names if name not in later]
    at = rng.randrange(len(node.input))
    node.input[at] = pick(rng, names)
    return f"{label(node)} reads {node.input[at]} at {at}"


@mutation()
def close_a_cycle(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    if not node.input or not node.output:
        raise NotHere
    node.input[rng.randrange(len(node.input))] = pick(rng, node.output)
    return label(node)


@mutation()
def read_what_is_not_there(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    at = rng.randrange(max(1, len(node.input)))
    if not node.input:
        raise NotHere
    node.input[at] = rng.choice(("", "nowhere"))
    return f"{label(node)} at {at}"


@mutation()
def drop_inputs(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    if not node.input:
        raise NotHere
    kept = rng.randrange(len(node.input))
    del node.input[kept:]
    return f"{label(node)} keeps {kept}"


@mutation()
def add_inputs(mutant: Mutant, rng: Random) -> str:
    scope, _, node = a_node(mutant, rng)
    node.input.extend(rng.choice(("", pick(rng, known(scope)))) for _ in range(rng.randint(1, 3)))
    return label(node)


@mutation()
def permute_inputs(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    names = list(node.input)
    if len(names) < 2:
        raise NotHere
    rng.shuffle(names)
    del node.input[:]
    node.input.extend(names)
    return label(node)


@mutation(0.5)
def change_outputs(mutant: Mutant, rng: Random) -> str:
    scope, _, node = a_node(mutant, rng)
    how = rng.choice(("drop", "blank", "add", "add blanks", "twice", "another", "permute"))
    if not node.output and how not in ("add", "another"):
        raise NotHere
    match how:
        case "drop":
            del node.output[rng.randrange(len(node.output)) :]
        case "blank":
            node.output[rng.randrange(len(node.output))] = ""
        case "add":
            node.output.append(fresh(mutant, "more"))
        case "add blanks":
            node.output.extend([""] * rng.randint(1, 4))
        case "twice":
            node.output.append(node.output[0])
        case "another":
            node.output.append(pick(rng, computed(scope)))
        case "permute":
            names = list(node.output)
            rng.shuffle(names)
            del node.output[:]
            node.output.extend(names)
    return f"{label(node)}: {how}"


@mutation(3)
def swap_operator(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    others = [name for group in ALIKE if node.op_type in group for name in group]
    was = label(node)
    node.op_type = pick(rng, others)
    return f"{was} becomes {node.op_type}"


@mutation()
def any_operator(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    was = label(node)
    choices = UNARY if len(node.input) == 1 else BINARY if len(node.input) == 2 else _OPERATORS
    node.op_type = rng.choice(choices if rng.random() < 0.7 else _OPERATORS)
    if rng.random() < 0.5:
        del node.attribute[:]
    return f"{was} becomes {node.op_type}"


@mutation(0.5)
def unknown_operator(mutant: Mutant, rng: Random) -> str:
    _, _, node = a_node(mutant, rng)
    was = label(node)
    how = rng.choice(("plugin", "domain", "ml", "microsoft", "spelled"))
    match how:
        case "plugin":
            node.op_type = rng.choice(("EfficientNMS_TRT", "", "relu", "GroupNormalizationPlugin"))
        case "domain":
            node.domain = rng.choice(("com.example", "trtfuse.groups", "x y"))
        case "ml":
            node.domain = "ai.onnx.ml"
        case "microsoft":
            node.domain = "com.microsoft"
            node.op_type = rng.choice(("Gelu", "FusedConv", "QuickGelu", node.op_type))
        case "spelled":
            node.domain = "ai.onnx" if node.domain == "" else ""
    return f"{was}: {how}"


def _inserted(mutant: Mutant, rng: Random, source: str) -> list[NodeProto]:
    """One or two nodes after a value; the last computes what its readers read instead."""
    target, between = fresh(mutant, "put"), fresh(mutant, "between")
    how = rng.choice(
        (
            "Identity",
            "Identity",
            "Cast",
            "Cast",
            "round trip",
            "Transpose",
            "both",
            "Reshape",
            "Neg",
            "Relu",
            "Clip",
            "scale",
            "shift",
            "Squeeze",
            "Unsqueeze",
            "Dropout",
            "unary",
            "Expand",
            "Slice",
            "Concat",
            "Split",
            "quantize",
            "Shape",
            "Sum",
        )
    )
    types = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64)
    types += (TensorProto.BOOL, TensorProto.INT32, TensorProto.BFLOAT16, TensorProto.INT8)
    weights = numpy_helper.from_array

    def of(array: Any) -> tuple[str, NodeProto]:
        name = fresh(mutant, "const")
        return name, helper.make_node("Constant", [], [name], value=weights(np.asarray(array)))

    match how:
        case "Cast":
            return [helper.make_node("Cast", [source], [target], to=rng.choice(types))]
        case "round trip":
            first = helper.make_node("Cast", [source], [between], to=rng.choice(types))
            return [first, helper.make_node("Cast", [between], [target], to=TensorProto.FLOAT)]
        case "Transpose":
            rank = rng.randint(1, 5)
            attributes = {} if rng.random() < 0.3 else {"perm": rng.sample(range(rank), rank)}
            return [helper.make_node("Transpose", [source], [target], **attributes)]
        case "both":
            rank = rng.randint(2, 4)
            perm = rng.sample(range(rank), rank)
            back = [perm.index(axis) for axis in range(rank)]
            first = helper.make_node("Transpose", [source], [between], perm=perm)
            return [first, helper.make_node("Transpose", [between], [target], perm=back)]
        case "Reshape":
            sizes = rng.choice(([0, -1], [-1], [0, 0, -1], [1, -1], [-1, 1], [0, 0, 0, 0], [2, -1]))
            name, node = of(np.array(sizes, np.int64))
            return [node, helper.make_node("Reshape", [source, name], [target])]
        case "Squeeze" | "Unsqueeze":
            name, node = of(np.array([rng.choice((0, 1, -1))], np.int64))
            return [node, helper.make_node(how, [source, name], [target])]
        case "Clip":
            (low, first), high = of(np.float32(rng.choice((0.0, -1.0, 6.0)))), np.float32(6)
            top, second = (
                f"{between}_top",
                helper.make_node(
                    "Constant", [], [f"{between}_top"], value=weights(np.asarray(high))
                ),
            )
            return [first, second, helper.make_node("Clip", [source, low, top], [target])]
        case "scale" | "shift":
            numbers = rng.choice(
                (
                    np.float32(2),
                    np.float32([0.5]),
                    np.float32([[1.0]]),
                    np.float32(0),
                    np.float32([1, 2, 3]),
                    np.float32([[[2]], [[3]]]),
                    np.float32(np.nan),
                    np.float32(1e30),
                    np.float32(1e-30),
                    np.float32(-1),
                    np.float32(1),
                )
            )
            name, node = of(numbers)
            operator = rng.choice(("Mul", "Div") if how == "scale" else ("Add", "Sub"))
            operands = [source, name] if rng.random() < 0.7 else [name, source]
            return [node, helper.make_node(operator, operands, [target])]
        case "Expand":
            name, node = of(np.array(rng.choice(([1], [1, 1], [2, 1, 1], [])), np.int64))
            return [node, helper.make_node("Expand", [source, name], [target])]
        case "Slice":
            ends = rng.choice(([2**63 - 1], [1], [-1], [2]))
            names = [of(np.array(numbers, np.int64)) for numbers in ([0], ends)]
            names[1] = (f"{names[0][0]}_end", names[1][1])
            names[1][1].output[0] = names[1][0]
            reads = [source, *(name for name, _ in names)]
            return [*(n for _, n in names), helper.make_node("Slice", reads, [target])]
        case "Concat":
            axis = rng.choice((0, 1, -1))
            reads = [source] * rng.randint(1, 2)
            return [helper.make_node("Concat", reads, [target], axis=axis)]
        case "Split":
            axis = rng.choice((0, 1, -1))
            return [helper.make_node("Split", [source], [target], axis=axis)]
        case "quantize":
            (name, first), (zero, second) = of(np.float32(0.1)), of(np.int8(rng.choice((0, 3))))
            zero = f"{name}_zero"
            second.output[0] = zero
            q = helper.make_node("QuantizeLinear", [source, name, zero], [between])
            d = helper.make_node("DequantizeLinear", [between, name, zero], [target])
            return [first, second, q, d]
        case "Sum":
            return [helper.make_node("Sum", [source] * rng.randint(1, 3), [target])]
        case "unary":
            return [helper.make_node(rng.choice(UNARY), [source], [target])]
    return [helper.make_node(how, [source], [target])]


@mutation(5)
def insert_nodes(mutant: Mutant, rng: Random) -> str:
    """Puts nodes between a value and one or all of its readers."""
    scope = a_scope(mutant, rng)
    name = pick(rng, known(scope))
    uses = readers(scope, name)
    if not uses:
        raise NotHere
    if rng.random() < 0.4:
        uses = [pick(rng, uses)]
    made = _inserted(mutant, rng, name)
    places = [list(scope.node).index(reader) for reader, _ in uses]
    for reader, at in uses:
        reader.input[at] = made[-1].output[0]
    for node in reversed(made):
        insert(scope, min(places), node)
    return f"{' '.join(node.op_type for node in made)} behind {name}"


@mutation(2)
def append_a_node(mutant: Mutant, rng: Random) -> str:
    """A node that reads any values, whose result is an output or read by nobody."""
    graph = mutant.model.graph
    names = known(graph)
    operator = rng.choice(UNARY) if rng.random() < 0.4 else rng.choice(BINARY)
    count = 1 if operator in UNARY else 2
    target = fresh(mutant, "appended")
    node = helper.make_node(operator, [pick(rng, names) for _ in range(count)], [target])
    graph.node.append(node)
    if rng.random() < 0.8:
        info = helper.make_tensor_value_info(target, TensorProto.FLOAT, None)
        if rng.random() < 0.7:
            info.ClearField("type")
        graph.output.append(info)
    return label(node)


@mutation(2)
def change_graph_outputs(mutant: Mutant, rng: Random) -> str:
    graph = mutant.model.graph
    how = rng.choice(("value", "value", "drop", "twice", "input", "nothing", "permute", "weight"))
    match how:
        case "value":
            name = pick(rng, computed(graph))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
            if rng.random() < 0.8:
                graph.output[-1].ClearField("type")
        case "drop":
            if not graph.output:
                raise NotHere
            del graph.output[rng.randrange(len(graph.output))]
        case "twice":
            graph.output.append(pick(rng, graph.output))
        case "input":
            graph.output.append(pick(rng, graph.input))
        case "nothing":
            graph.output.append(helper.make_tensor_value_info("nowhere", TensorProto.FLOAT, [1]))
        case "permute":
            order = list(graph.output)
            rng.shuffle(order)
            del graph.output[:]
            graph.output.extend(order)
        case "weight":
            tensor = pick(rng, graph.initializer)
            graph.output.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return how


@mutation(2)
def change_graph_inputs(mutant: Mutant, rng: Random) -> str:
    graph = mutant.model.graph
    how = rng.choice(("listed", "listed", "dropped", "unused", "twice", "computed", "permute"))
    match how:
        case "listed":
            # From IR 4 on it can be overridden then.
            tensor = pick(rng, graph.initializer)
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        case "dropped":
            if not graph.input:
                raise NotHere
            del graph.input[rng.randrange(len(graph.input))]
        case "unused":
            graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [2]))
        case "twice":
            graph.input.append(pick(rng, graph.input))
        case "computed":
            name = pick(rng, computed(graph))
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]))
        case "permute":
            order = list(graph.input)
            rng.shuffle(order)
            del graph.input[:]
            graph.input.extend(order)
    return how


@mutation(2)
def constant_as_node(mutant: Mutant, rng: Random) -> str:
    graph = mutant.model.graph
    tensor = pick(rng, graph.initializer)
    insert(graph, 0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    graph.initializer.remove(tensor)
    for info in [each for each in graph.input if each.name == graph.node[0].output[0]]:
        graph.input.remove(info)
    return graph.node[0].output[0]


@mutation(2)
def input_as_constant(mutant: Mutant, rng: Random) -> str:
    graph = mutant.model.graph
    stored = {tensor.name for tensor in graph.initializer}
    info = pick(rng, (each for each in graph.input if each.name not in stored))
    tensor_type = info.type.tensor_type
    shape = [dim.dim_value or 2 for dim in tensor_type.shape.dim]
    if np.prod(shape, dtype=float) > 4096:
        raise NotHere
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
        numbers = np.random.default_rng(rng.randrange(2**32)).integers(-2, 4, shape).astype(dtype)
        graph.initializer.append(numpy_helper.from_array(numbers, info.name))
    except (KeyError, TypeError, ValueError):
        raise NotHere from None
    if rng.random() < 0.8:
        graph.input.remove(info)
    return graph.initializer[-1].name


@mutation(1.5)
def move_into_an_if(mutant: Mutant, rng: Random) -> str:
    """A node, or all from one on, into both branches of an If on a constant or an input."""
    graph = mutant.model.graph
    if not graph.node:
        raise NotHere
    first = rng.randrange(len(graph.node))
    last = first + 1 if rng.random() < 0.6 else len(graph.node)
    moved = list(graph.node)[first:last]
    results = list(dict.fromkeys(name for node in moved for name in node.output if name))
    if not results:
        raise NotHere
    branches = {}
    for branch in ("then", "else"):
        names = {name: f"{branch}_{name}" for name in results}
        nodes = []
        for node in moved:
            copy = NodeProto()
            copy.CopyFrom(node)
            for at, name in enumerate(node.input):
                copy.input[at] = names.get(name, name)
            for at, name in enumerate(node.output):
                copy.output[at] = names.get(name, name)
            copy.name = f"{branch}_{node.name}" if node.name else ""
            nodes.append(copy)
        outputs = [helper.make_empty_tensor_value_info(names[name]) for name in results]
        for info in outputs:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
        branches[f"{branch}_branch"] = helper.make_graph(nodes, branch, [], outputs)
    condition = fresh(mutant, "condition")
    choice = helper.make_node("If", [condition], results, **branches)
    nodes = [*list(graph.node)[:first], choice, *list(graph.node)[last:]]
    replace_nodes(graph, nodes)
    if rng.random() < 0.5:
        graph.initializer.append(numpy_helper.from_array(np.array(rng.random() < 0.5), condition))
        if mutant.model.ir_version < 4:
            graph.input.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    else:
        graph.input.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    return f"{len(moved)} nodes"


@mutation(1.5)
def move_into_a_function(mutant: Mutant, rng: Random) -> str:
    """A node as a local function of its own."""
    graph = mutant.model.graph
    if mutant.model.ir_version < 8 or not graph.node:
        raise NotHere
    place = rng.randrange(len(graph.node))
    node = graph.node[place]
    reads = list(dict.fromkeys(name for name in node.input if name))
    gives = list(dict.fromkeys(name for name in node.output if name))
    body = NodeProto()
    body.CopyFrom(node)
    name = f"Own{len(mutant.model.functions)}"
    mutant.model.functions.append(
        helper.make_function("own", name, reads, gives, [body], mutant.model.opset_import)
    )
    call = helper.make_node(name, reads, gives, domain="own")
    if rng.random() < 0.2:
        call.input.append("")
    graph.node[place].CopyFrom(call)
    if all(each.domain != "own" for each in mutant.model.opset_import):
        mutant.model.opset_import.add(domain="own", version=1)
    return label(body)


@mutation(0.5)
def change_a_function(mutant: Mutant, rng: Random) -> str:
    function = pick(rng, mutant.model.functions)
    how = rng.choice(("input", "output", "attribute", "opset", "itself", "twice", "gone", "name"))
    match how:
        case "input":
            function.input.append("more")
        case "output":
            if not function.output:
                raise NotHere
            function.output[0] = rng.choice(("nowhere", *function.input))
        case "attribute":
            function.attribute.append("alpha")
        case "opset":
            del function.opset_import[:]
        case "itself":
            call = helper.make_node(function.name, function.input, ["again"], domain="own")
            function.node.append(call)
        case "twice":
            mutant.model.functions.append(function)
        case "gone":
            mutant.model.functions.remove(function)
        case "name":
            function.name = rng.choice(("", "Relu", "Conv"))
    return how
