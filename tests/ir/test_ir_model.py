"""Reading and writing: an untouched model comes out as it went in, field by field."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from fusing import rewrite
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.helper import make_tensor_value_info as tensor_info

from trtfuse.errors import ModelError, TrtfuseError, UsageError
from trtfuse.ir.model import Model, collector_paused, read_model


def fields(message: object) -> dict[str, object]:
    return {field.name: content for field, content in message.ListFields()}  # type: ignore[attr-defined]


def assert_same(written: ModelProto, read: ModelProto) -> None:
    assert fields(written.graph) == fields(read.graph)
    assert fields(written) == fields(read)
    assert written.SerializeToString() == read.SerializeToString()


def parsed(text: str, header: str = '<ir_version: 8, opset_import: ["": 17]>') -> ModelProto:
    return parser.parse_model(f"{header} {text}")


# What a model may hold


def nested_captures() -> ModelProto:
    return parsed(
        """
        g (float[2] x, bool c, int64 n) => (float[2] y, float[2] y1, float[k, 2] all) {
          a = Mul(x, x)
          y = If(c) <
            then_branch = outer () => (float[2] o) <float[2] w = {1, 2}> {
              p = Add(a, w)
              o = If(c) <
                then_branch = inner () => (float[2] q) { q = Add(a, p) },
                else_branch = other () => (float[2] q) { q = Sub(w, x) }
              >
            },
            else_branch = plain () => (float[2] o) { o = Neg(x) }
          >
          y1, all = Loop(n, , x) <
            body = each (int64 i, bool go, float[2] x) => (bool going, float[2] d, float[2] e) {
              going = Identity(go)
              d = Add(x, a)
              e = Scan <
                num_scan_inputs = 1,
                body = step (float[2] s, float t) => (float[2] u) { u = Mul(s, a) }
              > (d, a)
            }
          >
        }
        """
    )


def local_functions() -> ModelProto:
    return parsed(
        """
        g (float[2] x) => (float[2] y) {
          t = local.Twice<factor = 3.0>(x)
          y = Relu(t)
        }
        <domain: "local", opset_import: ["": 17, "local": 1], doc_string: "doubles">
        Twice <factor: float = 2.0> (p) => (q) {
          k = Constant<value_float: float = @factor>()
          q = Mul(p, k)
        }
        """,
        '<ir_version: 9, opset_import: ["": 17, "local": 1]>',
    )


def custom_domains() -> ModelProto:
    return parsed(
        """
        g (float[2] x) => (float[2] y) {
          t = com.microsoft.Gelu(x)
          y = my.own.Thing<anything = 3, of = ["a", "b"], t = float[1] {1}>(t)
        }
        """,
        """<ir_version: 8, opset_import: ["ai.onnx": 17, "com.microsoft": 1, "my.own": 7],
            producer_name: "somebody", producer_version: "1.2", domain: "org.example",
            model_version: 12, doc_string: "a model", metadata_props: ["a": "b", "c": ""]>""",
    )


def documented() -> ModelProto:
    proto = parsed("g (float[N, 2] x) => (float[N, 2] y) <float[N, 2] t> { t = Neg(x) y = Abs(t) }")
    proto.graph.doc_string = "a graph"
    proto.graph.metadata_props.add(key="graph", value="data")
    for node in proto.graph.node:
        node.doc_string = "a node\nof two lines"
        node.metadata_props.add(key="node", value="data")
    for info in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        info.doc_string = "a value"
        info.metadata_props.add(key="value", value="data")
        info.type.denotation = "IMAGE"
        info.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    note = proto.graph.quantization_annotation.add(tensor_name="t")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="x")
    return proto


def tensors() -> ModelProto:
    """Sparse, string, empty, scalar, packed, bit-patterned and documented tensors."""
    nodes = [
        helper.make_node("Add", ["x", "sparse"], ["y"]),
        helper.make_node("Constant", [], ["c"], value_strings=["a", "b"]),
        helper.make_node("Constant", [], ["s"], sparse_value=sparse("anything")),
    ]
    half = TensorProto(name="half", data_type=TensorProto.FLOAT16, dims=[2], int32_data=[15360, 1])
    four = TensorProto(name="four", data_type=TensorProto.INT4, dims=[3], raw_data=b"\x21\x03")
    four.doc_string = "a tensor"
    four.metadata_props.add(key="tensor", value="data")
    initializers = [
        helper.make_tensor("words", TensorProto.STRING, [2], [b"one", b"\xff\xfe"]),  # type: ignore[list-item]
        helper.make_tensor("none", TensorProto.FLOAT, [0, 3], []),
        helper.make_tensor("scalar", TensorProto.DOUBLE, [], [1.5]),
        half,
        four,
    ]
    names = ("words", "none", "scalar", "half", "four", "c", "s")
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor_info("x", TensorProto.FLOAT, [4])],
        [helper.make_empty_tensor_value_info(name) for name in ("y", *names)],
        initializers,
        sparse_initializer=[sparse("sparse")],
    )
    opset = helper.make_opsetid("", 21)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def sparse(name: str) -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("", TensorProto.INT64, [2], [0, 3])
    return helper.make_sparse_tensor(values, indices, [4])


def external() -> ModelProto:
    proto = parsed(
        "g (float[2] x) => (float[2] y) { c = Constant<value = float[1] {0}>() y = Add(x, w) }"
    )
    proto.graph.initializer.append(external_tensor("w", [2], "weights.bin"))
    proto.graph.node[0].attribute[0].t.CopyFrom(external_tensor("", [2], "sub/other.bin"))
    return proto


def external_tensor(name: str, dims: list[int], location: str, **places: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **places}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def names_left_out() -> ModelProto:
    """Empty and repeated node names, optional inputs and outputs left out in front and behind."""
    proto = parsed(
        """
        g (float[1, 1, 2, 2] x, float[1, 1, 2, 2] z)
        => (float[?, ?, ?, ?] y, int64[?] n, float[1, 1, 2, 2] m)
        <float[4] s = {1, 1, 2, 2}> {
          y = Resize(x, , s)
          , n = Unique<axis = 3>(x)
          [same] a = Neg(x)
          [same] b = Clip(a, , )
          m = Mul(b, z)
        }
        """
    )
    proto.graph.node[3].input[:] = ["a", "", ""]
    return proto


def outputs() -> ModelProto:
    """A graph output that is an input, one that is an initializer, and one value listed twice."""
    return parsed(
        """
        g (float[2] x) => (float[2] x, float[2] k, float[2] y, float[2] y)
        <float[2] k = {1, 2}> { y = Neg(x) }
        """
    )


def unusual_names() -> ModelProto:
    proto = parsed("g (float[2] x) => (float[2] y) { t = Neg(x) y = Abs(t) }")
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = 'a/b: ü`|<\n"{}'
    proto.graph.node[0].name = " "
    return proto


def sequences() -> ModelProto:
    return parsed(
        """
        g (seq(float[N]) x, optional(float[N]) o) => (seq(float[N]) y, float[?] z) {
          z = OptionalGetElement(o)
          y = SequenceInsert(x, z)
        }
        """
    )


MADE: list[Callable[[], ModelProto]] = [
    nested_captures,
    local_functions,
    custom_domains,
    documented,
    tensors,
    external,
    names_left_out,
    outputs,
    unusual_names,
    sequences,
]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_an_untouched_model_is_written_as_it_was_read(make: Callable[[], ModelProto]) -> None:
    proto = make()
    before = proto.SerializeToString()
    assert_same(Model(proto).to_proto(), proto)
    assert proto.SerializeToString() == before
    assert_same(Model(ModelProto.FromString(before)).to_proto(), proto)


@pytest.mark.parametrize("ir_version", range(3, onnx.IR_VERSION + 1))
def test_every_ir_version_is_kept(ir_version: int) -> None:
    inputs = "float[2] x, float[2] k" if ir_version < 4 else "float[2] x"
    proto = parsed(
        f"g ({inputs}) => (float[2] y) <float[2] k = {{1, 2}}> {{ y = Add(x, k) }}",
        f'<ir_version: {ir_version}, opset_import: ["": 8]>',
    )
    onnx.checker.check_model(proto)
    model = read_model(proto)
    assert (model.ir_version, model.graph.opset) == (ir_version, 8)
    assert_same(model.to_proto(), proto)


def test_the_onnx_operator_tests_are_written_as_they_were_read(
    backend_models: dict[str, ModelProto],
) -> None:
    assert len(backend_models) > 1900
    differing = [
        name
        for name, proto in backend_models.items()
        if Model(proto).to_proto().SerializeToString() != proto.SerializeToString()
    ]
    assert differing == []


def test_fields_of_the_model_that_the_graph_has_no_use_for_are_kept() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    proto.configuration.add(name="two", num_devices=2)
    proto.training_info.add()
    written = Model(proto).to_proto()
    assert_same(written, proto)


def test_the_model_knows_its_opset_by_either_name_of_the_default_domain() -> None:
    body = "g (float[2] x) => (float[2] y) { y = Neg(x) }"
    for domain, opset in (("", 13), ("ai.onnx", 14)):
        header = f'<ir_version: 8, opset_import: ["other": 2, "{domain}": {opset}]>'
        assert Model(parsed(body, header)).graph.opset == opset
    assert Model(parsed(body, '<ir_version: 8, opset_import: ["other": 2]>')).graph.opset == 0


def test_fresh_names_are_new_to_every_graph_of_the_model() -> None:
    model = Model(nested_captures())
    assert {"a", "q", "s", "u", "w"} <= model.names
    assert [model.fresh_name(stem) for stem in ("q", "q", "other", "other")] == [
        "q_1",
        "q_2",
        "other",
        "other_3",
    ]


def test_external_tensors_are_noted_wherever_they_stand() -> None:
    noted = Model(external(), Path("somewhere")).external
    assert [tensor.proto.external_data[0].value for tensor in noted] == [
        "weights.bin",
        "sub/other.bin",
    ]
    assert all(tensor.folder == Path("somewhere") for tensor in noted)


# Reading files


SMALL = "g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Add(x, k) }"


def message(source: str | Path | bytes | ModelProto) -> str:
    with pytest.raises(ModelError) as error:
        read_model(source)
    return str(error.value)


def test_a_model_is_read_from_a_path_a_string_bytes_or_a_proto(tmp_path: Path) -> None:
    proto = parsed(SMALL)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    sources = (path, str(path), path.read_bytes(), proto)
    for source in sources:
        assert_same(read_model(source).to_proto(), proto)
    assert [read_model(source).folder for source in sources] == [tmp_path, tmp_path, None, None]


def test_a_file_that_is_no_model_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    whole = parsed(SMALL).SerializeToString()
    missing, empty, garbage, part = (tmp_path / name for name in ("m", "e", "g", "p"))
    empty.write_bytes(b"")
    garbage.write_bytes(bytes(range(255, 0, -1)))
    part.write_bytes(whole[: len(whole) // 2])
    assert message(missing) == f"cannot read '{missing}': No such file or directory"
    assert message(tmp_path) == f"cannot read '{tmp_path}': Is a directory"
    assert message(empty) == f"'{empty}' is empty, not an ONNX model"
    assert message(garbage) == f"'{garbage}' is not an ONNX model, or only the beginning of one"
    assert message(part) == f"'{part}' is not an ONNX model, or only the beginning of one"
    assert message(b"") == "the model is empty, not an ONNX model"
    assert message(whole[:-3]) == "the model is not an ONNX model, or only the beginning of one"


def test_every_beginning_of_a_model_is_refused() -> None:
    whole = parsed(SMALL).SerializeToString()
    for length in range(len(whole)):
        with pytest.raises(ModelError):
            read_model(whole[:length])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "g (float[2] x) => (float[2] y) { y = Add(x, nothing) }",
            "node 'node_of_y' (Add) reads 'nothing', which nothing computes",
        ),
        (
            "g (float[2] x) => (float[2] z) { y = Neg(x) }",
            "graph output 'z' is computed by no node",
        ),
    ],
)
def test_a_graph_that_hangs_in_the_air_is_refused(text: str, reason: str) -> None:
    assert message(parsed(text)) == reason


def test_a_graph_that_computes_gradients_is_refused() -> None:
    model = parsed(
        """
        g (float[2] x) => (float[2] y, float[2] z) {
          y = Relu(x)
          [slope] z = ai.onnx.preview.training.Gradient <xs = ["x"], y = "y"> (x)
        }
        """,
        '<ir_version: 8, opset_import: ["": 17, "ai.onnx.preview.training": 1]>',
    )
    assert message(model) == (
        "node 'slope' computes gradients, which TensorRT does not; export the model for inference"
    )


@pytest.mark.parametrize("text", [b"input", b"output", b"producer", b"graph", b"node"])
def test_text_that_is_not_utf_8_is_kept_or_refused(text: bytes) -> None:
    proto = parsed(
        "graph (float[2] input) => (float[2] output) { [node] output = Neg(input) }",
        '<ir_version: 8, opset_import: ["": 17], producer_name: "producer">',
    )
    broken = proto.SerializeToString().replace(text, b"\xff" * len(text))
    try:
        written = rewrite(broken).model.SerializeToString()
    except ModelError:
        return
    escaped = onnx.ModelProto.FromString(broken)
    if text == b"producer":
        escaped.producer_name = "\\xff" * len(text)
    if text == b"graph":
        escaped.graph.name = "\\xff" * len(text)
    assert written == escaped.SerializeToString()


def test_reading_leaves_the_proto_and_the_collector_alone() -> None:
    proto = nested_captures()
    before = proto.SerializeToString()
    read_model(proto)
    assert proto.SerializeToString() == before
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


# External data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a model, with weights in it and a secret beside it."""
    made = tmp_path / "models"
    made.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (made / "weights.bin").write_bytes(np.arange(1024, dtype=np.float32).tobytes())
    return made


def with_weights(folder: Path, location: str, **places: int | str) -> Path:
    proto = parsed("g (float[256] x) => (float[256] y) { y = Add(x, w) }")
    proto.graph.initializer.append(external_tensor("w", [256], location, **places))  # type: ignore[arg-type]
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("location", "places", "reason"),
    [
        ("none.bin", {}, ", which is missing from '{folder}'"),
        ("../secret.bin", {}, ", which is outside the folder of the model"),
        ("sub/../../secret.bin", {}, ", which is outside the folder of the model"),
        ("{secret}", {}, ", which is outside the folder of the model"),
        ("", {}, ", which is outside the folder of the model"),
        ("link.bin", {}, ", which is outside the folder of the model"),
        ("folder/secret.bin", {}, ", which is outside the folder of the model"),
        ("weights.bin", {"offset": 3076}, " up to byte 4100, but the file ends at 4096"),
        ("weights.bin", {"length": 8}, " with a length of 8 bytes, but take 1024"),
    ],
)
def test_external_data_that_is_not_there_or_not_ours_is_refused(
    folder: Path, location: str, places: dict[str, int], reason: str
) -> None:
    secret = folder.parent / "secret.bin"
    (folder / "link.bin").symlink_to(secret)
    (folder / "folder").symlink_to(folder.parent, target_is_directory=True)
    location = location.replace("{secret}", str(secret))
    said = message(with_weights(folder, location, **places))
    where = f"weights 'w' are in the external file '{location}'"
    assert said == where + reason.replace("{folder}", str(folder))


@pytest.mark.parametrize("places", [{"offset": "x"}, {"offset": "0x10"}, {"length": "1e3"}])
def test_an_external_offset_or_length_that_is_no_number_is_refused(
    folder: Path, places: dict[str, str]
) -> None:
    said = message(with_weights(folder, "weights.bin", **places))
    assert said == "weights 'w' have an external offset or length that is no number"


def test_a_negative_external_offset_is_refused(folder: Path) -> None:
    said = message(with_weights(folder, "weights.bin", offset=-4))
    assert said.startswith("weights 'w' are in the external file 'weights.bin'")


def test_a_model_in_a_folder_that_is_a_symlink_finds_its_data(folder: Path) -> None:
    with_weights(folder, "weights.bin", offset=1024)
    link = folder.parent / "link"
    link.symlink_to(folder, target_is_directory=True)
    (weights,) = read_model(link / "m.onnx").external
    np.testing.assert_array_equal(weights.array(), np.arange(256, 512, dtype=np.float32))


def test_a_model_in_the_working_folder_finds_its_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_weights(folder, "weights.bin")
    monkeypatch.chdir(folder)
    (weights,) = read_model("m.onnx").external
    np.testing.assert_array_equal(weights.array(), np.arange(256, dtype=np.float32))


def test_external_data_of_a_proto_is_asked_for_only_where_a_rule_needs_it(folder: Path) -> None:
    path = with_weights(folder, "weights.bin")
    proto = onnx.load(path, load_external_data=False)
    for source in (proto, path.read_bytes()):
        (weights,) = read_model(source).external
        with pytest.raises(ModelError) as error:
            weights.array()
        assert str(error.value) == (
            "weights 'w' are in the external file 'weights.bin', "
            "and the model came without a folder; pass its path instead"
        )


def test_external_data_in_a_function_is_refused_outside_the_folder(folder: Path) -> None:
    proto = local_functions()
    attribute = proto.functions[0].node[0].attribute[0]
    attribute.Clear()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(external_tensor("", [2], "../secret.bin"))
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert message(path) == (
        "weights '' are in the external file '../secret.bin', "
        "which is outside the folder of the model"
    )


def test_weights_are_read_through_the_file_that_is_mapped(folder: Path) -> None:
    (weights,) = read_model(with_weights(folder, "weights.bin", offset=512)).external
    assert isinstance(weights.array().base, np.memmap)
    assert numpy_helper.from_array(np.array(weights.array())).dims == [256]


# Damage


def damaged(whole: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(whole))
    match rng.randrange(3):
        case 0:
            return whole[:at] + rng.randbytes(1) + whole[at + 1 :]
        case 1:
            return whole[:at] + whole[at + rng.randint(1, 8) :]
    return whole[:at] + rng.randbytes(rng.randint(1, 4)) + whole[at:]


def test_a_damaged_model_is_fused_or_refused_and_nothing_else() -> None:
    proto = parsed(
        """
        g (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {2, 1, 1, 1}, float[2, 1, 1] s = {3, 4}, int64[2] sh = {1, 2}> {
          k = Constant<value = float[1] {1}>()
          i = Identity(k)
          f = Flatten(i)
          q = Reshape(s, sh)
          t = Conv(x, w)
          u = Mul(t, s)
          z = If(c) <
            then_branch = yes () => (float[1, 2, 4, 4] o) { a = Conv(x, w) o = Mul(a, s) },
            else_branch = no () => (float[1, 2, 4, 4] p) { p = Mul(u, k) }
          >
          v = mine.f(z)
          y = Mul(v, i)
        }
        <domain: "mine", opset_import: ["": 17]>
        f (a) => (b) { k = Constant<value = float[1] {0}>() b = Mul(a, k) }
        """,
        '<ir_version: 8, opset_import: ["": 17, "mine": 1]>',
    )
    whole, rng = proto.SerializeToString(), random.Random(0)
    outcomes: Counter[str] = Counter()
    for _ in range(1500):
        try:
            result = rewrite(damaged(whole, rng), verify="none")
        except TrtfuseError as error:
            outcomes["refused"] += bool(str(error))
        else:
            outcomes["fused"] += len(result.report.to_json()) > 0
    assert outcomes.total() == 1500
    assert min(outcomes["refused"], outcomes["fused"]) > 20


def test_a_model_too_large_for_one_message_is_checked_without_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trtfuse.ir.model._ONE_MESSAGE", 4)
    made = parsed("g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Mul(x, k) }")
    checked = []
    check = onnx.checker.check_model
    monkeypatch.setattr(onnx.checker, "check_model", lambda m: (checked.append(m), check(m)))
    assert_same(read_model(made).to_proto(), made)
    assert checked[0] is not made
    made.graph.node[0].op_type = "Mull"
    assert "No Op registered for Mull" in read_model(made).notes[0]


def test_what_is_no_model_is_said_in_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"a model is a path, .* onnx_ir\.Model, not builtins\.int"
    ):
        read_model(3)  # type: ignore[arg-type]
