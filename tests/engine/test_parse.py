"""Every node that TensorRT cannot take, and what its parser would take for something else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import model
from onnx import ModelProto, parser

import trtfuse
from trtfuse.engine.unsupported import listed
from trtfuse.errors import EngineError, ModelError, Unsupported


def refused(made: ModelProto) -> EngineError:
    """What a build of a model raises, and that it is one line."""
    with pytest.raises(EngineError) as raised:
        trtfuse.build(made)
    assert "\n" not in str(raised.value)
    return raised.value


def parsed(text: str, *domains: str, opset: int = 17, ir_version: int = 10) -> ModelProto:
    """A model with other domains or functions, from text."""
    imports = ", ".join([f'"": {opset}', *(f'"{domain}": 1' for domain in domains)])
    return parser.parse_model(f"<ir_version: {ir_version}, opset_import: [{imports}]> g {text}")


def facts(nodes: tuple[Unsupported, ...]) -> list[tuple[str, str, str]]:
    return [(node.operator, node.name, node.origin) for node in nodes]


def test_every_unsupported_node_is_named_at_once() -> None:
    error = refused(
        model(
            """
            (int8[2, 4] x) => (int8[?] y, int32[2, 2] z) {
              [a] h = Identity(x)
              [first] y = Unique(h)
              [second] u = Unique(x)
              v = Unique(x)
              [product] z = MatMulInteger(x, w)
            }
            """,
            w=np.ones((4, 2), np.int8),
        )
    )
    assert facts(error.unsupported) == [
        ("Unique", "first", ""),
        ("Unique", "second", ""),
        ("Unique", "v", ""),
        ("MatMulInteger", "product", ""),
    ]
    assert str(error) == (
        "TensorRT for RTX cannot take 4 nodes of the model: Unique 'first', 'second', 'v': it has "
        "no such operator; spell it with operators that TensorRT has, or run it outside the "
        "engine | MatMulInteger 'product': it has no such operator; quantize it with "
        "QuantizeLinear and DequantizeLinear instead"
    )
    assert str(error.unsupported[3]).startswith("MatMulInteger 'product': it has no such operator;")


def test_nodes_in_functions_and_bodies_say_where_they_are() -> None:
    function = refused(
        parsed(
            """(float[2] x) => (float[2] y) { [call] y = own.Twice(x) }
            <domain: "own", opset_import: ["": 17]> Twice (a) => (b)
            { [inner] u = Unique(a) [relu] b = Relu(a) }""",
            "own",
        )
    )
    assert facts(function.unsupported) == [("Unique", "inner", "in call (Twice)")]
    body = refused(
        model(
            """
            (float[2] x, bool c) => (float[?] y) {
              [choice] y = If (c) <
                then_branch = one () => (float[?] p) { [inner] p = Unique(x) },
                else_branch = two () => (float[2] q) { [relu] q = Relu(x) }>
            }
            """
        )
    )
    assert facts(body.unsupported) == [("Unique", "inner", "in one (then_branch), in choice (If)")]


def test_a_fused_node_says_what_it_was_fused_from() -> None:
    made = parsed(
        """(float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
          [conv] a = Conv(x, w) [mul] b = Mul(a, s) [relu] y = Relu(b)
        }"""
    )
    result = trtfuse.fuse(made, groups="flat")
    # A node of the fused model that the builder does not have, under the name that fusing gave it.
    (conv,) = [node for node in result.model.graph.node if node.op_type == "Conv"]
    result.model.opset_import.add(domain="own", version=1)
    conv.op_type, conv.domain = "Convolve", "own"
    with pytest.raises(EngineError) as raised:
        trtfuse.build(result)
    assert [node.origin for node in raised.value.unsupported] == [
        "fused from conv + mul by conv-scale"
    ]


def test_an_exported_node_says_which_line_it_is_from() -> None:
    made = model("(float[2] x) => (float[?] y) { [u] y = Unique(x) }")
    made.graph.node[0].metadata_props.add(key="namespace", value="net/head: torch.unique")
    assert facts(refused(made).unsupported) == [("Unique", "u", "from net/head: torch.unique")]
    trace = 'File "lib.py", line 8, in call\nFile "net.py", line 30, in forward\n unique(x)'
    made.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    assert facts(refused(made).unsupported) == [("Unique", "u", "from net.py:30")]


def test_an_attribute_that_tensorrt_does_not_take_is_said_in_its_words() -> None:
    error = refused(
        model(
            "(float[1, 1, 8, 8] x) => (float[1, 1, ?, ?] y) "
            "{ [pool] y = MaxPool <kernel_shape = [2, 2], dilations = [3, 3]> (x) }"
        )
    )
    # The parser reports this node twice.
    assert str(error) == (
        "TensorRT for RTX cannot take a node of the model: MaxPool 'pool': This version of "
        "TensorRT does not support dilations other than 1; change the node, or run it outside "
        "the engine"
    )


@pytest.mark.parametrize("opset", [0, onnx.defs.onnx_opset_version() + 1, 99])
def test_an_opset_that_there_is_not(opset: int) -> None:
    made = parsed("(float[2] x) => (float[2] y) { y = Relu(x) }")
    made.opset_import[0].version = opset
    with pytest.raises((EngineError, ModelError)) as raised:
        trtfuse.build(made)
    assert str(opset) in str(raised.value)


def test_an_ir_version_of_the_future_is_no_matter() -> None:
    newer = parsed("(float[2] x) => (float[2] y) { y = Relu(x) }", ir_version=99)
    assert trtfuse.build(newer).kernels == 1


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"hello", "is not an ONNX")])
def test_what_is_no_model(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=f"^the model {reason}"):
        trtfuse.build(content)


def test_a_model_with_nothing_in_it() -> None:
    with pytest.raises((EngineError, ModelError)) as raised:
        trtfuse.build(parsed("() => () { }"))
    assert str(raised.value) == (
        "TensorRT for RTX cannot read the model: the parser made nothing of it"
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("string[2]", "has the type string, which TensorRT for RTX does not have; cast"),
        ("uint16[2]", "has the type uint16, which TensorRT for RTX does not have; cast"),
        (
            "seq(float[2])",
            "is not a tensor but a sequence, which TensorRT for RTX does not h",
        ),
    ],
)
def test_inputs_of_types_that_tensorrt_does_not_have(kind: str, reason: str) -> None:
    made = parsed(f"({kind} x) => ({kind} y) {{ y = Identity(x) }}")
    assert str(refused(made)).startswith(f"input 'x' of the model {reason}")


def test_an_initializer_of_such_a_type_says_so_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = parsed(
        "(float[2] x) => (float[2] y) <uint16[2] w = {1, 2}> { [cast] c = Cast <to = 1> (w) "
        "[add] y = Add(x, c) }"
    )
    assert str(refused(made)) == (
        "weights 'w' of the model have the type uint16, which TensorRT for RTX does not have; "
        "store them in another one"
    )
    assert capfd.readouterr() == ("", "")


def test_nodes_with_the_same_trouble_are_listed_together_and_more_than_five_are_counted() -> None:
    nodes = [
        Unsupported("Unique" if n < 3 else "Det", f"n{n}", "why", "what to do") for n in range(8)
    ]
    nodes.append(Unsupported("Relu", "r", "else", "more"))
    assert listed(nodes) == (
        "Unique 'n0', 'n1', 'n2', Det 'n3', 'n4' and 3 more: why; what to do | Relu 'r': else; more"
    )
