"""What is taken and what is refused: what ONNX Runtime loads is taken, and then loads as before."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fusing import rewrite
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    parser,
)
from onnx.helper import make_opsetid as opset
from onnx.helper import make_tensor_value_info as tensor_info

import trtfuse
from trtfuse.errors import ModelError
from trtfuse.interop.reading import read_model
from trtfuse.model.model import Model

FLOAT = TensorProto.FLOAT


def parsed(text: str, header: str = '<ir_version: 8, opset_import: ["": 17]>') -> ModelProto:
    return parser.parse_model(f"{header} {text}")


def chain() -> ModelProto:
    return parsed(
        "g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> "
        "{ [mul] t = Mul(x, k) [add] y = Add(t, k) }"
    )


def held() -> ModelProto:
    return parsed(
        "g (float[2] x) => (float[2] y) { [two] k = Constant <value = float[2] {1, 2}> () "
        "[mul] t = Mul(x, k) [add] y = Add(t, k) }"
    )


def scan_of_nothing() -> ModelProto:
    return parsed(
        "g (float[3, 2] x, float[2] z) => (float[2] y, float[3, 2] s) { y, s = Scan(z, x) "
        "<num_scan_inputs = 1, body = b (float[2] p, float[2] v) => () { q = Add(p, v) }> }"
    )


def convolution() -> ModelProto:
    return parsed(
        "g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) "
        "<float[2, 2, 1, 1] w = {1, 2, 3, 4}> { [conv] t = Conv(x, w) y = Relu(t) }"
    )


def branches() -> ModelProto:
    return parsed(
        """
        g (float[2] x, bool c) => (float[2] y) {
          a = Neg(x)
          [if] y = If(c) <
            then_branch = yes () => (float[2] o) { b = Neg(a) o = Add(b, x) },
            else_branch = no () => (float[2] p) { p = Mul(a, a) }
          >
        }
        """
    )


def loop() -> ModelProto:
    return parsed(
        """
        g (int64 n, bool c, float[2] x) => (float[2] y, float[k, 2] s) {
          [loop] y, s = Loop(n, c, x) <
            body = each (int64 i, bool go, float[2] p) => (bool on, float[2] q, float[2] e) {
              on = Identity(go)
              q = Add(p, x)
              e = Neg(q)
            }
          >
        }
        """
    )


def scan() -> ModelProto:
    return parsed(
        """
        g (float[3, 2] x, float[2] z) => (float[2] y, float[3, 2] s) {
          [scan] y, s = Scan <
            num_scan_inputs = 1,
            body = each (float[2] p, float[2] v) => (float[2] q, float[2] e) {
              q = Add(p, v)
              e = Neg(q)
            }
          > (z, x)
        }
        """
    )


def called() -> ModelProto:
    return parsed(
        """
        g (float[2] x) => (float[2] y) { [call] y = local.f(x) }
        <domain: "local", opset_import: ["": 17]> f (a) => (b) { t = Exp(a) b = Neg(t) }
        """,
        '<ir_version: 8, opset_import: ["": 17, "local": 1]>',
    )


def one(operator: str, header: str = '<ir_version: 8, opset_import: ["": 17]>') -> ModelProto:
    return parsed(f"g (float[2] x) => (float[2] y) {{ [node] y = {operator}(x) }}", header)


def body(model: ModelProto, node: int = 0, attribute: int = 0) -> GraphProto:
    owner = model.graph.node[node]
    return [a.g for a in owner.attribute if a.type == AttributeProto.GRAPH][attribute]


def with_weights(**fields: Any) -> ModelProto:
    model = chain()
    given = {"data_type": FLOAT, "dims": [2], **fields}
    model.graph.initializer[0].CopyFrom(TensorProto(name="k", **given))
    return model


def with_unused(**fields: Any) -> ModelProto:
    model = chain()
    given = {"data_type": FLOAT, "dims": [2], **fields}
    model.graph.initializer.append(TensorProto(name="z", **given))
    return model


def with_constant(**fields: Any) -> ModelProto:
    model = chain()
    node = NodeProto(op_type="Constant", name="constant", output=["c"])
    attribute = node.attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(TensorProto(**{"data_type": FLOAT, "dims": [2], **fields}))
    model.graph.node.insert(0, node)
    model.graph.node[1].input[1] = "c"
    return model


def sparse(places: list[int], dims: list[int], name: str = "k") -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("", TensorProto.INT64, [len(places)], places)
    return helper.make_sparse_tensor(values, indices, dims)


def with_sparse(places: list[int], dims: list[int]) -> ModelProto:
    model = chain()
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(sparse(places, dims))
    return model


def changed(
    make: Callable[[], ModelProto], change: Callable[[ModelProto], object]
) -> Callable[[], ModelProto]:
    """A model that something was done to."""

    def made() -> ModelProto:
        model = make()
        change(model)
        return model

    return made


def without_numbers_first(model: ModelProto) -> None:
    tensors = model.graph.initializer
    tensors.append(tensors[0])
    tensors[0].ClearField("float_data")


def list_twice(model: ModelProto) -> None:
    model.ir_version = 3
    info = helper.make_tensor_value_info("k", TensorProto.FLOAT, [2])
    model.graph.input.extend([info, info])


def reverse(nodes: Any) -> None:
    reversed_nodes = list(nodes)[::-1]
    del nodes[:]
    nodes.extend(reversed_nodes)


def set_imports(*imports: onnx.OperatorSetIdProto) -> Callable[[ModelProto], object]:
    def change(model: ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(imports)

    return change


def declare(name: str, element_type: int, dims: list[Any]) -> Callable[[ModelProto], object]:
    return lambda m: m.graph.value_info.append(tensor_info(name, element_type, dims))


def attribute(name: str, content: Any) -> Callable[[ModelProto], object]:
    return lambda m: m.graph.node[0].attribute.append(helper.make_attribute(name, content))


def untyped(name: str, **content: Any) -> Callable[[ModelProto], object]:
    return lambda m: m.graph.node[0].attribute.append(AttributeProto(name=name, **content))


def return_outer(model: ModelProto) -> None:
    yes = body(model, 1)
    del yes.node[:]
    yes.output[0].name = "a"


def uncalled(model: ModelProto) -> None:
    model.graph.CopyFrom(chain().graph)
    model.functions[0].node[0].input[0] = "nothing"


#: What is taken, with a part of the note on it; None where the checker has nothing against it.
TAKEN: dict[str, tuple[Callable[[], ModelProto], str | None]] = {
    "in order": (chain, None),
    "nodes not in order": (
        changed(chain, lambda m: reverse(m.graph.node)),
        "nodes sorted, because they came before the nodes they read from: node 'add'",
    ),
    "an owner before what its body reads": (
        changed(branches, lambda m: reverse(m.graph.node)),
        "nodes sorted, because they came before the nodes they read from: node 'if'",
    ),
    "a body not in order": (
        changed(branches, lambda m: reverse(body(m, 1).node)),
        "nodes sorted",
    ),
    "a function not in order": (
        changed(called, lambda m: reverse(m.functions[0].node)),
        "nodes sorted",
    ),
    "an output without a shape": (
        changed(chain, lambda m: m.graph.output[0].type.tensor_type.ClearField("shape")),
        "Field 'shape' of 'type' is required but missing",
    ),
    "an output without a type": (
        changed(chain, lambda m: m.graph.output[0].ClearField("type")),
        "outputs declared without a type: 'y'",
    ),
    "an input without a shape": (
        changed(chain, lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
        "Field 'shape' of 'type' is required but missing",
    ),
    "an input of size -1": (
        changed(
            chain,
            lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(
                onnx.TensorShapeProto.Dimension(dim_value=-1)
            ),
        ),
        None,
    ),
    "a graph without a name": (
        changed(chain, lambda m: m.graph.ClearField("name")),
        "graphs given a name: 'graph'",
    ),
    "a body without a name": (
        changed(branches, lambda m: body(m, 1).ClearField("name")),
        "graphs given a name: 'then_branch'",
    ),
    "a domain not imported": (
        lambda: one("com.microsoft.Gelu"),
        "operator sets imported that nodes use but the model does not import: 'com.microsoft', "
        "version 1",
    ),
    "a domain of ONNX not imported": (
        lambda: one("ai.onnx.ml.Normalizer"),
        "'ai.onnx.ml', version 5",
    ),
    "a domain that nobody knows": (lambda: one("my.own.Thing"), "'my.own', version 1"),
    "a function's domain not imported": (
        changed(called, lambda m: m.opset_import.pop()),
        "'local', version 1",
    ),
    "a function without operator sets": (
        changed(called, lambda m: m.functions[0].ClearField("opset_import")),
        "'ai.onnx', version 17",
    ),
    "initializers that are no inputs": (
        changed(chain, lambda m: setattr(m, "ir_version", 3)),
        "initializers listed as inputs, as IR versions before 4 require: 'k'",
    ),
    "a plugin": (
        lambda: one("EfficientNMS_TRT"),
        "so no rule knows them: EfficientNMS_TRT 'node'",
    ),
    "an operator before its time": (lambda: one("Gelu"), "no rule knows them: Gelu"),
    "an operator after its time": (lambda: one("Upsample"), "no rule knows them: Upsample"),
    "an unknown operator in a function": (
        changed(called, lambda m: setattr(m.functions[0].node[0], "op_type", "Foo")),
        "no rule knows them: Foo",
    ),
    "the default domain spelled otherwise": (
        changed(chain, lambda m: setattr(m.graph.node[0], "domain", "ai.onnx")),
        "No opset import for domain 'ai.onnx'",
    ),
    "the default domain imported twice": (
        changed(chain, lambda m: m.opset_import.append(opset("ai.onnx", 17))),
        None,
    ),
    "two opsets": (
        changed(chain, lambda m: m.opset_import.append(opset("ai.onnx", 13))),
        "opsets 13 and 17 of ONNX are both imported: no rule knows their operators",
    ),
    "an opset of the future": (
        changed(chain, set_imports(opset("", 99))),
        "opset 99 of ONNX is newer than the installed onnx, which knows",
    ),
    "no default domain where no node needs it": (
        changed(lambda: one("com.microsoft.Gelu"), set_imports(opset("com.microsoft", 1))),
        None,
    ),
    "no default domain where nodes need it": (
        changed(chain, set_imports(opset("com.microsoft", 1))),
        "not ONNX operators at the imported opset, so no rule knows them: Mul 'mul'",
    ),
    "an IR version below all": (
        changed(chain, lambda m: setattr(m, "ir_version", -(1 << 40))),
        "cannot have opset_import",
    ),
    "IR version 1 with opsets": (
        changed(chain, lambda m: setattr(m, "ir_version", 1)),
        "cannot have opset_import",
    ),
    "no IR version": (
        changed(chain, lambda m: m.ClearField("ir_version")),
        "no IR version is stated: 8 is taken",
    ),
    "an IR version of the future": (
        changed(chain, lambda m: setattr(m, "ir_version", 99)),
        "IR version 99 is newer than the installed onnx",
    ),
    "a claim of another size": (
        changed(chain, declare("t", FLOAT, [5])),
        "the model declares `t` as [5], and its inputs make it [2]",
    ),
    "a claim of another rank": (
        changed(chain, declare("t", FLOAT, [5, 1])),
        "the model declares `t` as [5, 1], and its inputs make it [2]",
    ),
    "a claim of size 0": (changed(chain, declare("t", FLOAT, [0])), None),
    "a claim of size -1": (changed(chain, declare("t", FLOAT, [-1])), None),
    "a claim on an initializer": (
        changed(chain, declare("k", FLOAT, [7])),
        "the model declares `k` as [7], and its inputs make it [2]",
    ),
    "a claim on nothing": (changed(chain, declare("nothing", FLOAT, [7])), None),
    "a claim made twice": (
        changed(changed(chain, declare("t", FLOAT, [2])), declare("t", FLOAT, [2])),
        None,
    ),
    "a claim without a name": (changed(chain, lambda m: m.graph.value_info.add()), None),
    "nodes of one name": (
        changed(chain, lambda m: setattr(m.graph.node[0], "name", "add")),
        None,
    ),
    "an initializer twice, the first without numbers": (
        changed(chain, without_numbers_first),
        "should contain one and only one value field",
    ),
    "an initializer listed twice": (
        changed(chain, list_twice),
        "initializers listed as inputs only once: 'k'",
    ),
    "a Constant twice": (
        changed(held, lambda m: m.graph.node.insert(0, m.graph.node[0])),
        "Constants dropped, because another one of the same name follows: 'k'",
    ),
    "a Constant that reads": (
        changed(held, lambda m: m.graph.node[0].input.append("t")),
        "Constants left with their first attribute and without inputs: node 'two'",
    ),
    "a Scan whose body returns nothing": (scan_of_nothing, None),
    "an initializer twice": (
        changed(chain, lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "initializer name is not unique",
    ),
    "an initializer without a name": (
        changed(
            chain,
            lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32))),
        ),
        "Field 'name' of 'init'",
    ),
    "unused weights of another size": (
        lambda: with_unused(raw_data=bytes(12)),
        "an unused initializer left out: 'z' holds 12 bytes, but float32[2] takes 8",
    ),
    "unused strings of another number": (
        lambda: with_unused(data_type=TensorProto.STRING, string_data=[b"a"]),
        "an unused initializer left out: 'z' has 1 entries in string_data",
    ),
    "weights in two fields": (
        lambda: with_weights(
            float_data=[1, 2], raw_data=np.array([3, 4], np.float32).tobytes()
        ),
        "one and only one value field",
    ),
    "a dense and a sparse initializer": (
        changed(
            chain, lambda m: m.graph.sparse_initializer.append(sparse([0, 1], [2]))
        ),
        "sparse initializer name is not unique",
    ),
    "sparse indices in no order": (lambda: with_sparse([1, 0], [2]), "not in sorted order"),
    "attributes without a type": (
        changed(convolution, untyped("strides", ints=[1, 1])),
        "attributes given the type of their value: 'strides' of node 'conv'",
    ),
    "a body that returns what is outside": (
        changed(branches, return_outer),
        "bodies given an Identity, because they returned a value of the graph around them: "
        "'a' of 'yes'",
    ),
    "a function that nothing calls": (
        changed(called, uncalled),
        "unused functions dropped, because they read values that nothing computes: 'f'",
    ),
    "metadata of one key": (
        changed(
            chain,
            lambda m: [m.metadata_props.add(key="a", value=value) for value in "bc"],
        ),
        "duplicate keys in metadata_props",
    ),
    "no outputs": (changed(chain, lambda m: m.graph.ClearField("output")), None),
    "a weight that no group divides": (changed(convolution, attribute("group", 3)), None),
}  # fmt: skip


def loads(model: ModelProto | bytes) -> bool:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        ort.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - ONNX Runtime has no common type of its own
        return False
    return True


@pytest.mark.parametrize("name", TAKEN)
def test_what_runtimes_load_is_taken_noted_and_loads_afterwards(name: str) -> None:
    make, note = TAKEN[name]
    original = make()
    before = original.SerializeToString()
    result = rewrite(original)
    assert original.SerializeToString() == before
    notes = " | ".join(result.report.notes)
    assert "\n" not in notes
    if note is None:
        assert not notes
    else:
        assert note in notes
    if loads(original):
        assert loads(result.model)
        assert [o.name for o in result.model.graph.output] == [
            o.name for o in original.graph.output
        ]
    again = rewrite(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    "name",
    [
        "nodes not in order",
        "an owner before what its body reads",
        "an output without a type",
        "a graph without a name",
        "initializers that are no inputs",
        "an initializer twice",
        "an initializer twice, the first without numbers",
        "an initializer listed twice",
        "a Constant twice",
        "a Constant that reads",
        "weights in two fields",
        "a dense and a sparse initializer",
        "sparse indices in no order",
        "a domain not imported",
        "two opsets",
    ],
)
def test_what_is_taken_computes_the_same(name: str) -> None:
    original = TAKEN[name][0]()
    result = rewrite(original, groups="off")
    feeds = {"x": np.array([3, -2], np.float32), "c": np.array(True)}
    feeds = {info.name: feeds[info.name] for info in original.graph.input if info.name in feeds}
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    expected, actual = (
        ort.InferenceSession(m.SerializeToString(), options).run(None, feeds)
        for m in (original, result.model)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def no_value(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].Clear()
    model.graph.node[0].attribute[0].name = "value"


def shadowed(model: ModelProto) -> None:
    body(model, 1).node[0].output[0] = "c"
    body(model, 1).node[1].input[0] = "c"
    model.graph.ClearField("name")


#: What is refused, and why.
REFUSED: dict[str, tuple[Callable[[], ModelProto | bytes], str]] = {
    "nothing": (ModelProto, "the model has no graph: it is empty, or not an ONNX model"),
    "a circle": (
        lambda: parsed("g (float[2] x) => (float[2] y) { [a] a = Add(x, y) [b] y = Neg(a) }"),
        "nodes read from each other in a circle: node 'a', node 'b'; no runtime can run that",
    ),
    "a node that reads itself": (
        lambda: parsed("g (float[2] x) => (float[2] y) { [a] y = Add(x, y) }"),
        "nodes read from each other in a circle: node 'a'; no runtime can run that",
    ),
    "what nothing computes": (
        lambda: parsed("g (float[2] x) => (float[2] y) { y = Add(x, z) }"),
        "node 'node_of_y' (Add) reads 'z', which nothing computes",
    ),
    "what no body has": (
        changed(branches, lambda m: body(m, 1).node[0].input.__setitem__(0, "z")),
        "node 'node_of_b' (Neg) reads 'z', which nothing computes",
    ),
    "an output without a name": (
        changed(chain, lambda m: m.graph.output[0].ClearField("name")),
        "graph output '' is computed by no node",
    ),
    "a name for two values": (
        changed(chain, lambda m: m.graph.node[0].output.__setitem__(0, "y")),
        "node 'add' computes 'y', a name that is taken; rename one",
    ),
    "the name of an input": (
        changed(chain, lambda m: m.graph.node[0].output.__setitem__(0, "x")),
        "in a circle: node 'mul'",
    ),
    "the name of an initializer": (
        changed(chain, lambda m: m.graph.node[1].output.__setitem__(0, "k")),
        "in a circle",
    ),
    "two inputs of a name": (
        changed(chain, lambda m: m.graph.input.append(m.graph.input[0])),
        "two inputs of a graph are called 'x'; rename one",
    ),
    "a name of the graph around": (
        changed(branches, shadowed),
        "node 'node_of_c' (Neg) computes 'c', a name that is taken; rename one",
    ),
    "an input without a type": (
        changed(chain, lambda m: m.graph.input[0].ClearField("type")),
        "input 'x' is declared without a type; give it one",
    ),
    "an input of an unknown type": (
        changed(chain, lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99)),
        "input 'x' is declared with the element type 99, which ONNX does not have",
    ),
    "an output of an unknown type": (
        changed(chain, lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 0)),
        "output 'y' is declared with the element type 0, which ONNX does not have",
    ),
    "no operator sets": (
        changed(chain, set_imports()),
        "the model imports no operator set of ONNX, so nobody can tell what its operators do",
    ),
    "too many inputs": (
        changed(chain, lambda m: m.graph.node[0].input.append("x")),
        "node 'mul' is not a valid Mul: Node(mul) with schema(::Mul:14) has input size 3 not in "
        "range [min=2, max=2]; correct it",
    ),
    "too few inputs": (
        changed(chain, lambda m: m.graph.node[0].input.pop()),
        "node 'mul' is not a valid Mul: Node(mul) with schema(::Mul:14) has input size 1",
    ),
    "an input left out that is needed": (
        changed(chain, lambda m: m.graph.node[0].input.__setitem__(1, "")),
        "node 'mul' is not a valid Mul: Node (mul)'s input 1 is marked single but has an empty",
    ),
    "no outputs of a node": (
        changed(chain, lambda m: m.graph.node.append(NodeProto(op_type="Neg", input=["x"]))),
        "node 'Neg' is not a valid Neg: Node with schema(::Neg:13) has output size 0",
    ),
    "an attribute that is needed": (
        lambda: one("Cast"),
        "node 'node' is not a valid Cast: Required attribute 'to' is missing",
    ),
    "an attribute of another type": (
        changed(convolution, attribute("group", 1.0)),
        "node 'conv' is not a valid Conv: Mismatched attribute type in 'conv : group'",
    ),
    "an attribute that the operator does not have": (
        changed(convolution, attribute("colour", 1)),
        "node 'conv' is not a valid Conv: Unrecognized attribute: colour",
    ),
    "an attribute twice": (
        changed(changed(convolution, attribute("group", 1)), attribute("group", 1)),
        "node 'conv' is not a valid Conv: Attribute 'group' appeared multiple times",
    ),
    "an attribute without type and value": (
        changed(convolution, untyped("group")),
        "node 'conv' is not a valid Conv: Field 'type' of 'attr' is required but missing",
    ),
    "a node without an operator": (
        changed(chain, lambda m: m.graph.node[0].ClearField("op_type")),
        "node 'mul' names no operator; give it its op_type",
    ),
    "more bytes": (
        lambda: with_weights(raw_data=bytes(12)),
        "initializer 'k' holds 12 bytes, but float32[2] takes 8; export the model again",
    ),
    "fewer bytes": (
        lambda: with_weights(raw_data=bytes(7)),
        "initializer 'k' holds 7 bytes, but float32[2] takes 8",
    ),
    "no numbers": (
        lambda: with_weights(),
        "initializer 'k' has 0 entries in float_data, but its dimensions [2] take 2",
    ),
    "more numbers": (
        lambda: with_weights(float_data=[1, 2, 3]),
        "initializer 'k' has 3 entries in float_data, but its dimensions [2] take 2",
    ),
    "numbers in the wrong field": (
        lambda: with_weights(int64_data=[1, 2]),
        "initializer 'k' has 0 entries in float_data",
    ),
    "packed numbers": (
        lambda: with_weights(data_type=TensorProto.INT4, dims=[3], raw_data=bytes(3)),
        "initializer 'k' holds 3 bytes, but int4[3] takes 2",
    ),
    "dimensions beyond all memory": (
        lambda: with_weights(dims=[1 << 40, 1 << 40], raw_data=bytes(8)),
        "initializer 'k' holds 8 bytes, but float32[1099511627776, 1099511627776] takes ",
    ),
    "a negative size": (
        lambda: with_weights(dims=[-2], raw_data=bytes(8)),
        "initializer 'k' has the dimensions [-2], and sizes cannot be negative",
    ),
    "an unknown element type": (
        lambda: with_weights(data_type=99, raw_data=bytes(8)),
        "initializer 'k' is of element type 99, which ONNX does not have",
    ),
    "an unused one of an unknown type": (
        lambda: with_unused(data_type=99, raw_data=bytes(8)),
        "initializer 'z' is of element type 99, which ONNX does not have",
    ),
    "more bytes in a Constant": (
        lambda: with_constant(raw_data=bytes(12)),
        "the tensor in 'value' of node 'constant' holds 12 bytes, but float32[2] takes 8",
    ),
    "an unknown type in a Constant": (
        lambda: with_constant(data_type=99, raw_data=bytes(8)),
        "the tensor in 'value' of node 'constant' is of element type 99",
    ),
    "a Constant without a value": (
        changed(lambda: with_constant(raw_data=bytes(8)), no_value),
        "node 'constant' is a Constant without a value; give it one",
    ),
    "a sparse index outside": (
        lambda: with_sparse([0, 2], [2]),
        "sparse initializer 'k' has an index outside its dimensions [2]",
    ),
    "a sparse value without an index": (
        lambda: with_sparse([0], [2]),
        "sparse initializer 'k' has 2 values, but not as many indices in int64",
    ),
    "a sparse tensor of no dimensions": (
        lambda: with_sparse([0, 1], []),
        "sparse initializer 'k' has the dimensions [] for values [2]",
    ),
    "a branch that returns less": (
        changed(branches, lambda m: body(m, 1).ClearField("output")),
        "the body 'yes' of node 'if' returns 0 values, and as that of this If it would have to be "
        "1",
    ),
    "a branch that returns more": (
        changed(branches, lambda m: body(m, 1, 1).output.append(body(m, 1, 1).output[0])),
        "the body 'no' of node 'if' returns 2 values, and as that of this If it would have to be 1",
    ),
    "a branch that takes something": (
        changed(branches, lambda m: body(m, 1).input.append(tensor_info("z", FLOAT, [2]))),
        "the body 'yes' of node 'if' takes 1 value, and as that of this If it would have to be 0",
    ),
    "a loop that takes more": (
        changed(loop, lambda m: body(m).input.append(tensor_info("z", FLOAT, [2]))),
        "the body 'each' of node 'loop' takes 4 values",
    ),
    "a loop that returns less": (
        changed(loop, lambda m: body(m).output.pop()),
        "the body 'each' of node 'loop' returns 2 values",
    ),
    "a loop of which less is taken": (
        changed(loop, lambda m: (m.graph.node[0].output.pop(), m.graph.output.pop())),
        "the body 'each' of node 'loop' returns 3 values",
    ),
    "a scan that returns more": (
        changed(scan, lambda m: body(m).output.append(body(m).output[0])),
        "the body 'each' of node 'scan' returns 3 values",
    ),
    "a scan of more than there is": (
        changed(
            scan,
            lambda m: [
                setattr(a, "i", 3) for a in m.graph.node[0].attribute if a.name != "body"
            ],
        ),
        "node 'scan' scans 3 inputs, and it has 2; correct its num_scan_inputs",
    ),
    "a call with more": (
        changed(called, lambda m: m.graph.node[0].input.append("x")),
        "node 'call' has 2 inputs, and the function 'f' that it calls has 1",
    ),
    "too few inputs in a function": (
        changed(called, lambda m: m.functions[0].node[0].ClearField("input")),
        "node 'node_of_t' (Exp) is not a valid Exp: Node with schema(::Exp:13) has input size 0",
    ),
    "two functions of a name": (
        changed(called, lambda m: m.functions.append(m.functions[0])),
        "the model has two functions 'f'; rename one",
    ),
    "a function that calls itself": (
        changed(
            called,
            lambda m: m.functions[0].node[0].MergeFrom(NodeProto(op_type="f", domain="local")),
        ),
        "function 'f' calls itself, directly or through other functions",
    ),
    "an input that is not UTF-8": (
        lambda: parsed("graph (float[2] input) => (float[2] y) { y = Neg(input) }")
        .SerializeToString()
        .replace(b"input", b"\xff" * 5),
        r"a value is called b'\xff\xff\xff\xff\xff', which is not UTF-8; rename it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_in_one_line(name: str) -> None:
    make, reason = REFUSED[name]
    model = make()
    with pytest.raises(ModelError) as error:
        rewrite(model)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    for read in (trtfuse.explain, trtfuse.to_networkx):
        with pytest.raises(ModelError):
            read(model)
    if name not in ("an input that is not UTF-8", "two functions of a name"):
        # What ONNX Runtime loads is taken; of two functions, some releases take the last.
        assert not loads(model)


def test_unknown_operators_are_known_to_no_rule() -> None:
    model = parsed(
        "g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] unused) "
        "<float[1, 2, 1, 1] s = {2, 3}> "
        "{ a = Gelu(x) b = Gelu(x) c = Add(a, b) y = Mul(c, s) unused = Plugin(x) d = Plugin(y) }"
    )
    result = rewrite(model)
    # Two of a kind are not one, and what nothing reads may do more than compute.
    assert [node.op_type for node in result.model.graph.node] == [
        *("Gelu", "Gelu", "Add", "Mul", "Plugin", "Plugin")
    ]
    assert {node.domain for node in result.model.graph.node} == {""}
    assert result.report.before.operators["ai.onnx::Gelu"] == 2
    assert {node.op for node in Model(model).graph.nodes()} == {
        *("ai.onnx::Gelu", "Add", "Mul", "ai.onnx::Plugin")
    }


def test_shapes_are_inferred_beside_what_the_checker_refuses() -> None:
    model = parsed(
        "g (float[2, 3] x) => (float[2, 3] y) "
        "{ e = Exp(b) y = Neg(e) a = my.own.Thing(x) b = Exp(x) c = Plugin(y) d = ai.onnx.Exp(y) }"
    )
    model.graph.ClearField("name")
    model.graph.node[-1].domain = "ai.onnx"
    read = read_model(model)
    known = {v.name: v.shape for node in read.graph.nodes() for v in node.outputs if v is not None}
    assert known == {"e": (2, 3), "y": (2, 3), "a": None, "b": (2, 3), "c": None, "d": (2, 3)}


def test_the_order_of_the_file_is_kept_as_far_as_it_can_be() -> None:
    model = parsed(
        "g (float[2] x) => (float[2] f) "
        "{ [e] e = Add(d, a) [a] a = Neg(x) [b] b = Abs(a) [d] d = Exp(x) [f] f = Add(e, b) }"
    )
    assert [node.proto.name for node in read_model(model).graph.nodes()] == [*"daebf"]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_nodes_are_fused_as_sorted_ones(seed: int) -> None:
    names = [f"v{index}" for index in range(200)]
    rng = random.Random(seed)
    nodes = [helper.make_node("Neg", ["x"], [names[0]])]
    for index in range(1, 200):
        reads = [names[rng.randrange(index)], names[rng.randrange(index)]]
        nodes.append(helper.make_node("Add", reads, [names[index]], name=f"n{index}"))
    rng.shuffle(nodes)
    info = tensor_info("x", FLOAT, [2]), tensor_info("v199", FLOAT, [2])
    graph = helper.make_graph(nodes, "g", [info[0]], [info[1]])
    model = helper.make_model(graph, opset_imports=[opset("", 17)], ir_version=8)
    result = rewrite(model, groups="off")
    onnx.checker.check_model(result.model, full_check=True)
    feeds = {"x": np.array([1, 2], np.float32)}
    expected, actual = (
        ort.InferenceSession(m.SerializeToString()).run(None, feeds)[0]
        for m in (model, result.model)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_long_note_names_the_first_nodes() -> None:
    model = parsed(
        "g (float[2] x) => (float[2] y) "
        "{ [a] a = P(x) [b] b = P(a) [c] c = P(b) [d] d = P(c) [e] y = P(d) }"
    )
    notes = read_model(model).notes
    assert notes[0].startswith("ONNX's checker refuses the model: No Op registered for P")
    assert notes[1] == (
        "not ONNX operators at the imported opset, so no rule knows them: P 'a', P 'b', "
        "P 'c' and 2 more"
    )


def test_a_model_that_the_checker_takes_has_no_notes() -> None:
    assert read_model(branches()).notes == []
    assert read_model(called()).notes == []
