"""What is said of ranks and types that are not known, and whether what it advises helps."""

from __future__ import annotations

import numpy as np
import pytest
from fusing import rewrite
from models import declined, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from trtfuse.ir.model import Model
from trtfuse.ir.wording import rank_not_known, shape_not_known, shown, type_not_known

FOO = (
    ": it comes from the custom operator `my.domain::Foo` (node `foo`); a Reshape of `t` to its "
    "sizes would tell"
)


def model(text: str, opset: int = 18, **constants: np.ndarray) -> ModelProto:
    """A model that the checker has not seen."""
    imports = f'"": {opset}, "my.domain": 1, "local": 1, "com.microsoft": 1'
    made = parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {text}")
    for name, array in constants.items():
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


def rank_of(made: ModelProto, name: str) -> str:
    read = Model(made)
    values = [*read.graph.inputs, *(v for n in read.graph.nodes() for v in n.outputs if v)]
    return rank_not_known(next(value for value in values if value.name == name))


@pytest.mark.parametrize(
    ("nodes", "because"),
    [
        ("[foo] t = my.domain.Foo(x)", FOO),
        ("[foo] t = my.domain.Foo(x) a = Relu(t) b = Add(x, a) y = Sigmoid(b)", FOO),
        ("[foo] t = my.domain.Foo(x) a = com.microsoft.BiasGelu(t, x) y = Sigmoid(a)", FOO),
        ("[foo] t = my.domain.Foo(x) a = If(c) <then_branch = g () => (float p) { p = Neg(t) }, "
         "else_branch = h () => (float q) { q = Abs(t) }> y = Relu(a)", ""),
        ("[n] t = EfficientNMS_TRT(x)",
         ": it comes from the custom operator `EfficientNMS_TRT` (node `n`); a Reshape of `t` to "
         "its sizes would tell"),
        ("t = Reshape(x, given)", ""),
        ("t = local.f(x)", ""),
    ],
)  # fmt: skip
def test_a_rank_that_is_not_known_behind_a_custom_operator(nodes: str, because: str) -> None:
    name = "y" if " y = " in nodes else "t"
    made = model(
        f"g (float[2] x, int64[n] given, bool c) => (float {name}) {{ {nodes} }} "
        '<domain: "local", opset_import: ["": 18, "my.domain": 1]> '
        "f (x) => (y) { y = my.domain.Foo(x) }"
    )
    assert rank_of(made, name) == f"the rank of `{name}` is not known{because}"


def test_an_input_without_a_shape_is_named() -> None:
    made = model("g (float[2] x) => (float y) { a = Relu(x) y = Sigmoid(a) }")
    made.graph.input[0].type.tensor_type.ClearField("shape")
    help_ = ": declare the shape of the input `x`"
    assert rank_of(made, "y") == f"the rank of `y` is not known{help_}"
    assert rank_of(made, "x") == f"the rank of `x` is not known{help_}"
    read = Model(made)
    assert shape_not_known(read.graph.outputs[0]) == f"the shape of `y` is not known{help_}"


def test_far_behind_a_custom_operator_it_is_still_named() -> None:
    calls = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(5000))
    made = model(f"g (float[2] x) => (float v5000) {{ [foo] v0 = my.domain.Foo(x) {calls} }}")
    assert rank_of(made, "v5000").endswith("a Reshape of `v0` to its sizes would tell")


SCALED = "[foo] t = my.domain.Foo(x) {} [one] a = Mul({}, s) [act] y = Relu(a)"


def test_a_reshape_behind_the_custom_operator_helps() -> None:
    ones = np.ones(4, np.float32)
    before = model(
        f"g (float[n,3,4] x) => (float[n,3,4] y) <float[n,3,4] t> {{ {SCALED.format('', 't')} }}",
        s=ones,
    )
    assert declined(rewrite(before, groups="off")) == [
        ("identity-scale", "one", "keeps-shape", f"`s` has shape [4] and the rank of `t` is not "
         f"known{FOO}")
    ]  # fmt: skip
    after = model(
        "g (float[n,3,4] x) => (float[n,3,4] y) "
        f"{{ {SCALED.format('[r] r = Reshape(t, sizes)', 'r')} }}",
        s=ones,
        sizes=np.array([-1, 3, 4]),
    )
    assert nodes(rewrite(after, groups="off").model) == [
        "foo: Foo(x) -> t",
        "r: Reshape(t, sizes) -> r",
        "act: Relu(r) -> y",
    ]


def test_declaring_the_type_of_what_a_custom_operator_computes_helps() -> None:
    made = model(
        "g (float[n] x) => (int64[n] y) { [foo] z = my.domain.Foo(x) a = Relu(z) "
        "[b] b = Cast<to=11>(a) [c] y = Cast<to=7>(b) }"
    )
    read = Model(made)
    (z,) = (v for n in read.graph.nodes() for v in n.outputs if v and v.name == "a")
    assert type_not_known(z) == (
        "the type of `a` is not known: it comes from the custom operator `my.domain::Foo` (node "
        "`foo`); declare the type of `z` in the value_info of the model"
    )
    (miss,) = declined(rewrite(made, groups="off"))
    assert miss[:3] == ("cast-cast", "c", "nothing-lost")
    made.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    result = rewrite(made, groups="off")
    assert declined(result) == []
    assert nodes(result.model) == [
        "foo: Foo(x) -> z",
        "-: Relu(z) -> a",
        "c: Cast(a) -> y",
    ]


def test_of_what_no_operator_makes_the_type_is_just_not_known() -> None:
    read = Model(model("g (float[2] x) => (float[2] y) { y = Relu(x) }"))
    (x,) = read.graph.inputs
    assert type_not_known(x) == "the type of `x` is not known"


def test_shapes_in_sentences() -> None:
    assert shown(("n", 3, None, "unk__12", "unk__7*n")) == "[n, 3, ?, ?, 7*n]"
    assert shown(()) == "[]"
