"""What the parser of TensorRT takes for something else is refused, and it really does so."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import ModelProto, parser

import trtfuse
from trtfuse.engine.backend import find_backend
from trtfuse.errors import EngineError, Unsupported


def parsed(text: str, *domains: str, opset: int = 17) -> ModelProto:
    """A model with other domains or functions, from text."""
    imports = ", ".join([f'"": {opset}', *(f'"{domain}": 1' for domain in domains)])
    return parser.parse_model(f"<ir_version: 10, opset_import: [{imports}]> g {text}")


def refused(made: ModelProto) -> tuple[Unsupported, ...]:
    """The nodes for which a build is refused."""
    with pytest.raises(EngineError) as raised:
        trtfuse.build(made)
    assert "\n" not in str(raised.value)
    return raised.value.unsupported


def facts(nodes: tuple[Unsupported, ...]) -> list[tuple[str, str, str]]:
    return [(node.operator, node.name, node.origin) for node in nodes]


def network(made: ModelProto) -> list[Any]:
    """The layers that TensorRT's own parser makes of a model, with what keeps them alive."""
    trt = find_backend("tensorrt_rtx").trt
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    made_of = builder.create_network(0)
    read = trt.OnnxParser(made_of, logger)
    assert read.parse(made.SerializeToString())
    layers = [made_of.get_layer(index) for index in range(made_of.num_layers)]
    return [*layers, read, made_of, builder, logger]


@pytest.mark.parametrize(
    ("node", "because"),
    [
        ("com.microsoft.FusedGemm(x, x, x)", "it has no such operator and no plugins; ONNX Run"),
        ("com.microsoft.Gelu(x)", "it ignores the domain and takes this for the ONNX operator Ge"),
        ("own.Relu(x)", "it ignores the domain and takes this for the ONNX operator Relu; use th"),
        ("own.Unique(x)", "it has no such operator and no plugins; spell it with operators that"),
    ],
)
def test_operators_of_other_domains(node: str, because: str) -> None:
    made = parsed(
        f"(float[2, 2] x) => (float[2, 2] y) {{ [n] y = {node} }}", "com.microsoft", "own"
    )
    (found,) = refused(made)
    assert (found.operator, found.name) == (node.partition("(")[0], "n")
    assert f"{found.because}; {found.advice}".startswith(because)


def test_such_operators_are_found_in_bodies_too() -> None:
    made = parsed(
        """(float[2] x, bool c) => (float[2] y) {
          [choice] y = If (c) <
            then_branch = one () => (float[2] p) { [inner] p = own.Relu(x) },
            else_branch = two () => (float[2] q) { [relu] q = Relu(x) }>
        }""",
        "own",
    )
    assert facts(refused(made)) == [("own.Relu", "inner", "in then_branch of If 'choice'")]


def test_functions_that_the_parser_would_mix_up() -> None:
    made = parsed(
        """(float[2] x) => (float[2] y) {
          [one] a = own.Relu(x) [two] b = own.Twice(a) [three] y = other.Twice(b)
        }
        <domain: "own", opset_import: ["": 17]> Relu (a) => (b) { b = Neg(a) }
        <domain: "own", opset_import: ["": 17]> Twice (a) => (b) { b = Add(a, a) }
        <domain: "other", opset_import: ["": 17]> Twice (a) => (b) { b = Mul(a, a) }""",
        "own",
        "other",
    )
    found = [(node.operator, node.name, node.because) for node in refused(made)]
    mixed = "it goes by the name alone and mixes up 2 functions of this name"
    assert found == [
        (
            "own.Relu",
            "one",
            "it goes by the name alone and takes this function for the operator Relu",
        ),
        ("own.Twice", "two", mixed),
        ("other.Twice", "three", mixed),
    ]


def test_an_attribute_of_a_function_that_is_left_out() -> None:
    text = """(float[2] x) => (float[2] y) {{ [call] y = own.Leaky{given} (x) }}
        <domain: "own", opset_import: ["": 17]> Leaky <alpha> (a) => (b)
        {{ b = LeakyRelu <alpha: float = @alpha> (a) }}"""
    (found,) = refused(parsed(text.format(given=""), "own"))
    assert found.because == "it takes the attribute alpha, which is omitted, for 0"
    assert trtfuse.build(parsed(text.format(given="<alpha = 0.5>"), "own")).kernels == 1


HANDED = """(float[2] x) => (float[2] y) {{ [call] y = own.Outer <{name} = 0.5> (x) }}
    <domain: "own", opset_import: ["": 17, "own": 1]> Outer <{name}> (a) => (b)
    {{ [inner] b = own.Inner <alpha: float = @{name}> (a) }}
    <domain: "own", opset_import: ["": 17]> Inner <alpha> (c) => (d)
    {{ [leaky] d = LeakyRelu <alpha: float = @alpha> (c) }}"""


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_an_attribute_that_one_function_hands_to_another(name: str) -> None:
    made = parsed(HANDED.format(name=name), "own")
    (found,) = refused(made)
    assert (found.name, found.origin) == ("inner", "in function own.Outer")
    assert found.because == "it loses the attribute alpha, which one function hands to another"
    leaky, *_kept = network(made)
    leaky.__class__ = find_backend("tensorrt_rtx").trt.IActivationLayer
    assert leaky.alpha == 0


SWAPPED = """(float[2] b, float[2] a) => (float[2] y) {{ [call] y = own.Minus({given}) }}
    <domain: "own", opset_import: ["": 17]> Minus (a, b) => (c) {{ [less] c = Sub(a, b) }}"""


def test_a_tensor_that_is_called_like_an_earlier_parameter() -> None:
    made = parsed(SWAPPED.format(given="b, a"), "own")
    (found,) = refused(made)
    assert found.because == (
        "it takes 'b' for 'a', since a parameter of the function has that name"
    )
    less, *_kept = network(made)
    assert [less.get_input(index).name for index in range(2)] == ["b", "b"]
    for given in ("a, b", "b, b", "a, a"):
        assert trtfuse.build(parsed(SWAPPED.format(given=given), "own")).kernels == 1


@pytest.mark.parametrize("copied", [False, True])
def test_a_node_that_would_end_the_process(copied: bool) -> None:
    text = """(float16[1, 2, 5, 64] q, float16[1, 2, 5, 64] v) => (float16[1, 2, 5, 64] y)
        {{ [copy] k = {made}(q) [attention] y = Attention(q, {key}, v) }}"""
    key = "k" if copied else "q"
    (found,) = refused(parsed(text.format(made="Identity", key=key), opset=23))
    assert (found.name, found.because) == (
        "attention",
        "it crashes where query and key are one tensor",
    )
    assert trtfuse.build(parsed(text.format(made="Relu", key="k"), opset=23)).kernels > 0


@pytest.mark.parametrize("rank", [8, 9, 11])
def test_more_dimensions_than_tensorrt_takes(rank: int) -> None:
    sizes = ", ".join(["2"] * rank)
    target = ", ".join(["2"] * rank)
    made = parsed(
        f"(float[{2**rank}] x) => (float[{sizes}] y) <int64[{rank}] t = {{{target}}}> "
        "{ [wide] r = Reshape(x, t) [act] y = Relu(r) }"
    )
    if rank == 8:
        assert trtfuse.build(made).kernels == 1
        return
    wide, act = refused(made)
    assert (wide.name, act.name) == ("wide", "act")
    assert wide.because == f"`r` has {rank} dimensions, and TensorRT takes 8"
