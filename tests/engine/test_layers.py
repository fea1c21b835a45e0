"""Layers read from recorded logs (`record_logs.py` makes them), from JSON, and from older logs."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtfuse.engine.layers import kernels, read_json, read_layers, read_log, traffic
from trtfuse.errors import EngineError
from trtfuse.result.layer import Layer, LayerTensor

LOGS = Path(__file__).parent / "logs"


def recorded(name: str) -> tuple[Layer, ...]:
    return read_layers(LOGS / f"{name}.log")


def test_names_with_everything_that_could_end_them() -> None:
    move, conv, softmax = recorded("awkward")
    assert move.nodes == ()
    assert conv.nodes == ("conv] [ONNX Layer: fake]", "réseau/層 ✓")
    assert softmax.nodes == (", LayerType: kgen",)
    assert move.inputs[0] == LayerTensor(
        "x, {a]", (1, 3, 8, 8), "Float", "(Linear) Row major linear format"
    )
    assert move.outputs[0].name.startswith("u }, { Name: z")
    assert softmax.outputs[0].name == "y } ], Outputs: [ {"
    assert [layer.type for layer in (move, conv, softmax)] == ["kgen", "correlation", "kgen"]
    assert conv.tactic == "__myelin_CASK_STUB"


def test_nodes_without_names_are_called_by_their_first_output() -> None:
    assert [layer.nodes for layer in recorded("unnamed")] == [
        (),
        ("node_of_t", "node_of_u"),
        ("node_of_y",),
    ]


def test_a_name_with_a_line_break_and_the_separator() -> None:
    (layer,) = recorded("line_break")
    assert layer.nodes == ("a\nName: b, LayerType: ", "tab\t\x1f")


def test_nodes_of_a_function_name_their_call() -> None:
    (layer,) = recorded("function")
    assert layer.nodes == ("fc | fc + relu (FcRelu)", "relu | fc + relu (FcRelu)")


def test_a_dynamic_engine_has_kernels_but_no_traffic() -> None:
    layers = recorded("dynamic")
    assert kernels(layers) == 4
    assert layers[1].inputs[0].shape == (-1, 3, -1, -1)
    assert layers[1].inputs[0].bytes is None
    with pytest.raises(EngineError, match=r"^'x' has the shape \[-1, 3, -1, -1\] in layer .*fixed"):
        traffic(layers)


def test_an_engine_of_two_profiles_counts_one_at_a_time() -> None:
    layers = recorded("profiles")
    assert [layer.profile for layer in layers] == [0, 0, 0, 0, 1, 1, 1]
    assert (kernels(layers), kernels(layers, 1), kernels(layers, 2)) == (4, 3, 0)
    # The second profile is of fixed shapes, those of the same model built without dimensions open.
    assert traffic(layers, 1) == traffic(recorded("unnamed"))


def test_half() -> None:
    layers = recorded("float16")
    assert {t.type for layer in layers for t in layer.inputs} == {"Half"}
    # x and a channel of padding, then both and the weights with two scalars, then a transpose.
    image, padded, result = 3 * 64 * 2, 4 * 64 * 2, 4 * 36 * 2
    assert traffic(layers) == (
        image + 64 * 2 + padded + padded + 4 * 4 * 9 * 2 + 2 * 4 + result + 2 * result
    )


def test_bfloat() -> None:
    (layer,) = recorded("bfloat16")
    assert [t.type for t in (*layer.inputs, *layer.constants, *layer.outputs)] == ["BFloat16"] * 3
    assert traffic([layer]) == 2 * 8 * 2 + 8 * 4 * 2 + 2 * 4 * 2


def test_int8() -> None:
    quantize, conv, rest = recorded("int8")
    assert [layer.nodes for layer in (quantize, conv, rest)] == [
        ("q",),
        ("conv", "dq", "dqw"),
        ("relu", "q2", "dq2"),
    ]
    assert conv.constants[0].type == "Int8"
    assert conv.constants[0].bytes == 32 * 16 * 9


def test_integers_and_truth_values() -> None:
    types = {t.type: t for layer in recorded("integers") for t in (*layer.inputs, *layer.outputs)}
    assert {name: types[name].bytes for name in ("Int32", "Int64", "Bool")} == {
        "Int32": 4 * 4,
        "Int64": 16 * 8,
        "Bool": 16,
    }


def test_signals_and_waits_are_no_kernels() -> None:
    layers = recorded("two_streams")
    assert [layer.type for layer in layers if not layer.runs] == ["signal", "wait"] * 2
    assert (len(layers), kernels(layers)) == (9, 5)


def test_a_tensor_that_a_layer_reads_five_times_counts_once() -> None:
    *_, softmax = recorded("unnamed")
    assert len(softmax.inputs) == 5
    assert traffic([softmax]) == 2 * 4 * 64 * 4


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_log_from_windows(tmp_path: Path, encoding: str) -> None:
    text = (LOGS / "awkward.log").read_text(encoding="utf-8").replace("\n", "\r\n")
    path = tmp_path / "build.log"
    path.write_bytes(text.encode(encoding))
    assert read_layers(path) == recorded("awkward")


def test_a_log_whose_every_line_has_a_prefix() -> None:
    block = (LOGS / "two_streams.log").read_text(encoding="utf-8").partition("] Layers:\n")[2]
    lines = ["Layers:", *block.split("\n")]
    prefixed = "\n".join(f"[11/25/2026-10:00:00] [V] [TRT] {line}" for line in lines)
    assert read_log(prefixed) == recorded("two_streams")


def test_of_several_builds_the_last() -> None:
    texts = [(LOGS / f"{name}.log").read_text(encoding="utf-8") for name in ("int8", "bfloat16")]
    assert read_log("".join(texts)) == recorded("bfloat16")


def test_a_log_that_ends_within_a_layer() -> None:
    text = (LOGS / "int8.log").read_text(encoding="utf-8")
    with pytest.raises(EngineError, match=r"^layer 1 is not complete: line \d+ has '\{ Name: "):
        read_log(text[: text.index("Int8", text.index("dconst"))])


def test_a_log_that_ends_before_the_tensors_of_a_layer() -> None:
    text = (LOGS / "int8.log").read_text(encoding="utf-8")
    with pytest.raises(EngineError, match=r"^layer 1 is not complete: line \d+ has 'Name: conv"):
        read_log(text[: text.index(", Inputs", text.index("Name: conv_myl0_1"))])


def test_a_log_that_has_lost_its_control_characters() -> None:
    text = (LOGS / "int8.log").read_text(encoding="utf-8")
    assert read_log(text.replace("\x1f", "")) == recorded("int8")


@pytest.mark.parametrize("text", ["", "Layers:\n", "[V] [TRT] Layers:\nconv1 + relu1\n"])
def test_a_log_without_layers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.log"
    path.write_text(text)
    with pytest.raises(EngineError, match=r"empty.log': the log lists no layers: build verbosely"):
        read_layers(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^cannot read '.*gone.log': No such file"):
        read_layers(tmp_path / "gone.log")


NAMES = st.text(alphabet="ab ,]}{[:é層'\"\\", max_size=12)
TENSORS = st.lists(
    st.builds(
        LayerTensor,
        NAMES,
        st.lists(st.integers(-1, 300), max_size=4).map(tuple),
        st.sampled_from(["Float", "Half", "BFloat16", "Int8", "Int64", "Bool", "FP8", "Int4"]),
        st.just("(Linear) Row major linear format"),
    ),
    max_size=3,
).map(tuple)
LAYERS = st.lists(
    st.builds(
        Layer,
        NAMES,
        st.sampled_from(["kgen", "gemm", "signal", "runtime_fusion"]),
        TENSORS,
        TENSORS,
        TENSORS,
        st.lists(NAMES, max_size=3, unique=True).map(tuple),
        st.sampled_from(["", "__myelin_CASK_STUB"]),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


def _listed(tensors: tuple[LayerTensor, ...]) -> str:
    entries = ", ".join(
        f"{{ Name: {t.name}, Dimensions: [{','.join(map(str, t.shape))}], Strides: "
        f"[{','.join('1' for _ in t.shape)}], StrideOrder: "
        f"[{','.join(str(i) for i, _ in enumerate(t.shape))}], Datatype: {t.type}, "
        f"Format: {t.format} }}"
        for t in tensors
    )
    return f"[ {entries}]" if entries else "[]"


@given(LAYERS)
def test_what_the_builder_would_print_is_read_back(layers: tuple[Layer, ...]) -> None:
    lines = [
        f"Name: {layer.name}, LayerType: {layer.type}, Inputs: {_listed(layer.inputs)}, "
        f"Constants: {_listed(layer.constants)}, Outputs: {_listed(layer.outputs)}, TacticName: "
        f"{layer.tactic}, StreamId: 0, Metadata: "
        + "\x1f".join(f"[ONNX Layer: {node}]" for node in layer.nodes)
        for layer in layers
    ]
    text = "\n".join(["[V] [TRT] Layers:", *lines, "", "I/O Tensors:", " Name: x, IOMode: Input"])
    assert read_log(text) == layers


@given(
    st.sampled_from(["awkward", "profiles", "two_streams", "line_break"]),
    st.floats(0, 1),
    st.integers(1, 400),
    st.sampled_from(["", "\n", "Name: ", "]", "[ { Name: x", ", LayerType: ", "\x1f"]),
)
def test_a_damaged_log_is_read_or_refused(
    name: str, where: float, length: int, instead: str
) -> None:
    text = (LOGS / f"{name}.log").read_text(encoding="utf-8")
    start = text.index("Layers:\n")
    at = start + int(where * (len(text) - start))
    found: tuple[Layer, ...] = ()
    with suppress(EngineError):
        found = read_log(text[:at] + instead + text[at + length :])
        assert found
    assert len(found) <= len(recorded(name)) + 1


def test_json_of_the_engine_inspector(tmp_path: Path) -> None:
    """What full TensorRT writes, by its documentation: it takes a GPU to make one."""
    layers = [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv1 + relu1",
            "LayerType": "Reformat",
            "Inputs": [
                {
                    "Name": "x",
                    "Dimensions": [1, 3, 8, 8],
                    "Format/Datatype": "Row major Int8 format",
                }
            ],
            "Outputs": [
                {
                    "Name": "x8",
                    "Dimensions": [1, 3, 8, 8],
                    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0",
                }
            ],
            "TacticName": "",
        },
        {
            "Name": "conv1 + PWN(relu1)",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x8", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Half"}],
            "Outputs": [
                {"Name": "y", "Dimensions": [-1], "Format/Datatype": "N/A due to dynamic shapes"}
            ],
            "Weights": {"Type": "Half", "Count": 108},
            "Bias": {"Type": "Float", "Count": 4},
            "TacticName": "sm80_xmma_fprop",
        },
        {
            "Name": "{ForeignNode[a...z]}",
            "LayerType": "Myelin",
            "Metadata": "[ONNX Layer: a]\x1e[ONNX Layer: b]",
        },
        {"Name": "shape_of", "LayerType": "NoOp"},
    ]
    path = tmp_path / "layers.json"
    path.write_text("\n" + json.dumps({"Layers": layers, "Bindings": ["x", "y"]}))
    reformat, conv, foreign, noop = read_layers(path)
    assert (reformat.nodes, conv.nodes, foreign.nodes) == ((), ("conv1", "relu1"), ("a", "b"))
    assert [(t.type, t.bytes) for t in (*reformat.inputs, *reformat.outputs)] == [
        ("Int8", 192),
        ("Half", 384),
    ]
    assert [(t.type, t.bytes) for t in conv.constants] == [("Half", 216), ("Float", 16)]
    assert conv.outputs == (LayerTensor("y", (-1,), "", "N/A due to dynamic shapes"),)
    assert conv.tactic == "sm80_xmma_fprop"
    assert kernels((reformat, conv, foreign, noop)) == 3


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ('{"Layers": ["conv1 + relu1"]}', "names of layers only"),
        ('{"Bindings": []}', 'has no "Layers"'),
        ('"conv1"', 'has no "Layers"'),
        ("{", "this is not JSON"),
    ],
)
def test_json_that_is_of_no_use(text: str, because: str) -> None:
    with pytest.raises(EngineError, match=because):
        read_json(text)


FULL = """\
[11/01/2024-10:32:57] [I] [TRT] Engine generation completed in 8.6 seconds.
[11/01/2024-10:32:57] [V] [TRT] Layers:
Name: Reformatting CopyNode for Input Tensor 0 to /a/Conv + /b/Relu, LayerType: Reformat, Inputs: \
[ { Name: in, Location: Device, Dimensions: [1,3,4,4], Format/Datatype: Float }], Outputs: \
[ { Name: in half, Location: Device, Dimensions: [1,3,4,4], Format/Datatype: Half }], \
ParameterType: Reformat, Origin: REFORMAT, TacticValue: 0x3e8, StreamId: 0, Metadata:\x20
Name: /a/Conv + /b/Relu, LayerType: CaskConvolution, Inputs: [ { Name: in half, Location: Device, \
Dimensions: [1,3,4,4], Format/Datatype: Half }], Outputs: [ { Name: out, Location: Device, \
Dimensions: [1,8,4,4], Format/Datatype: Thirty-two wide channel vectorized row major Int8 format \
}], ParameterType: Convolution, Kernel: [1,1], Weights: {"Type": "Half", "Count": 24}, Bias: \
{"Type": "Float", "Count": 8}, HasBias: 1, TacticName: sm80_xmma, TacticValue: 0x28, StreamId: 0, \
Metadata: [ONNX Layer: /a/Conv]\x1e[ONNX Layer: /b/Relu]
Name: __myl_MulSum_myl1_0, LayerType: kgen, Inputs: [ { Name: out, Dimensions: [-1,8], \
Format/Datatype: Float }], Outputs: [], TacticName: __myl_MulSum_0xfa6c, StreamId: 0, Metadata:\x20
Name: w + q + c, LayerType: CaskConvolution, Inputs: [], Outputs: [ { Name: y, Location: Device, \
Dimensions: [2], Format/Datatype: N/A due to dynamic shapes }]
Bindings:
in
"""


def test_logs_of_full_tensorrt_with_detailed_profiling() -> None:
    """Written after public logs of version 10; none could be recorded without a GPU."""
    reformat, conv, kgen, last = read_log(FULL)
    assert [layer.type for layer in (reformat, conv, kgen, last)] == [
        *("Reformat", "CaskConvolution", "kgen", "CaskConvolution")
    ]
    assert [t.bytes for t in (*reformat.inputs, *reformat.outputs)] == [192, 96]
    assert reformat.nodes == ()
    assert conv.nodes == ("/a/Conv", "/b/Relu")
    assert [(t.type, t.bytes) for t in (*conv.inputs, *conv.constants, *conv.outputs)] == [
        *(("Half", 96), ("Half", 48), ("Float", 32), ("Int8", 128))
    ]
    assert (conv.tactic, kgen.tactic, last.tactic) == ("sm80_xmma", "__myl_MulSum_0xfa6c", "")
    assert kgen.inputs[0].shape == (-1, 8)
    # Before version 8.6 there is no metadata, but the name joins the nodes.
    assert (kgen.nodes, last.nodes) == ((), ("w", "q", "c"))
    assert last.outputs[0].type == ""
    assert kernels((reformat, conv, kgen, last)) == 4
    assert traffic((reformat, conv)) == 192 + 96 + 96 + 48 + 32 + 128


def test_blank_lines_between_layers() -> None:
    assert read_log(FULL.replace("\nName: ", "\n\nName: ")) == read_log(FULL)


OLD = """\
[12/04/2021-06:44:31] [V] [TRT] Engine generation completed in 2.3 seconds.
[12/04/2021-06:44:31] [V] [TRT] Engine Layer Information:
Layer(Reformat): Reformatting CopyNode for Input Tensor 0 to c, Tactic: 1002, x, y[Float(-8,256)] \
-> x 8[Half(-8,256)]
Layer(Constant): w, Tactic: 0x0000000000000000,  -> w_output (Float[1,4:8,2])
Layer(CaskConvolution): conv1 + PWN(relu1), Tactic: 0x13 (sm80_xmma), a (Half[1,2]), b (Int8[4]) \
-> c (Float[1])
Layer(Myelin): {ForeignNode[a...b + (Unnamed Layer* 5) [Shuffle]]}, Tactic: -9, c[Float()] \
-> d[Bool(3)]
[12/04/2021-06:44:31] [V] [TRT] Total Activation Memory: 24064
Layer(NoOp): after, Tactic: 0, d[Bool(3)] -> e[Bool(3)]
"""


def test_older_logs_of_full_tensorrt() -> None:
    """Written after public logs of versions 7 to 10; none could be recorded without a GPU."""
    reformat, constant, conv, foreign = read_log(OLD)
    assert reformat.inputs == (LayerTensor("x, y", (-1, 256), "Float"),)
    assert reformat.outputs == (LayerTensor("x 8", (-1, 256), "Half"),)
    assert (reformat.tactic, reformat.nodes) == ("1002", ())
    assert (constant.inputs, constant.outputs) == (
        (),
        (LayerTensor("w_output", (1, 4, 2), "Float", "1,4:8,2"),),
    )
    assert [t.bytes for t in (*conv.inputs, *conv.outputs)] == [4, 4, 4]
    assert (conv.nodes, conv.tactic) == (("conv1", "relu1"), "sm80_xmma")
    assert foreign.nodes == ("a", "b")
    assert foreign.inputs == (LayerTensor("c", (), "Float"),)
    assert kernels((reformat, constant, conv, foreign)) == 3


@pytest.mark.parametrize("line", ["Layer(Shuffle): a, Tactic: 0, x", "Layer(Shuffle): a -> b"])
def test_an_older_log_with_a_layer_that_is_not_complete(line: str) -> None:
    head = "[V] Engine Layer Information:\nLayer(NoOp): a, Tactic: 0, x[Half(1)] -> y[Half(1)]\n"
    with pytest.raises(EngineError, match=r"^layer 1 is not complete: line 3 has 'Layer\(Shuffle"):
        read_log(f"{head}{line}\n")


def test_an_older_layer_without_tensors() -> None:
    (layer,) = read_log("Engine Layer Information:\nLayer(Wait): a, Tactic: 0,  -> \n")
    assert (layer.inputs, layer.outputs, layer.runs) == ((), (), False)


def test_a_type_without_a_size() -> None:
    layer = Layer("a", "kgen", (LayerTensor("x", (2,), "Complex"),))
    with pytest.raises(EngineError, match="the type of 'x', 'Complex', has no known size"):
        traffic([layer])


def test_types_of_less_than_a_byte() -> None:
    assert LayerTensor("w", (3, 3), "Int4").bytes == 5
