"""The nine architectures that onnx carries.

All their initializers are inputs as well, at IR 3, and their weights are computed by
ConstantOfShape nodes. So the rules of the Scale alone leave them as they are; folding makes
constants of the small weights first; with weights of their own all normalizations fold, into 100
and more convolutions.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from fusing import rewrite
from models import SCALES
from onnx import ModelProto, helper, numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

#: How many nodes each has, and how many of them are BatchNormalizations.
MODELS = {
    "bvlc_alexnet": (40, 0),
    "densenet121": (1746, 121),
    "inception_v1": (237, 0),
    "inception_v2": (916, 69),
    "resnet50": (415, 53),
    "shufflenet": (446, 49),
    "squeezenet": (105, 0),
    "vgg19": (82, 0),
    "zfnet512": (38, 0),
}
#: Those that run in a second or two; of the others their protos are compared.
QUICK = ("inception_v1", "shufflenet", "squeezenet")


def light(name: str) -> Path:
    return FOLDER / f"light_{name}.onnx"


def with_weights(name: str) -> ModelProto:
    """The model with random initializers in the place of its ConstantOfShape nodes."""
    model = onnx.load(light(name))
    graph = model.graph
    rng = np.random.default_rng(0)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {info.name: info for info in graph.input}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        (source,), (target,) = node.input, node.output
        shape = tuple(int(size) for size in numpy_helper.to_array(stored[source]))
        if len(shape) > 1:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
            numbers = rng.standard_normal(shape, np.float32) * np.float32(deviation)
        else:
            # Among them are variances, which are positive.
            numbers = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        graph.node.remove(node)
        graph.initializer.remove(stored[source])
        graph.initializer.append(numpy_helper.from_array(numbers, target))
        # At IR 3 every initializer is listed as an input.
        graph.input.remove(inputs[source])
        graph.input.append(helper.make_tensor_value_info(target, onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return model


def operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_the_nine_models_are_all_there_are() -> None:
    assert {path.name for path in FOLDER.glob("*.onnx")} == {light(name).name for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_computed_at_run_time_is_left_alone(name: str) -> None:
    original = onnx.load(light(name))
    result = rewrite(light(name), rules=SCALES, verify="model" if name in QUICK else "rewrite")
    nodes, normalizations = MODELS[name]
    report = result.report
    assert result.ok
    assert report.fused == []
    assert report.before == report.after
    assert report.after.nodes == nodes
    assert report.after.operators.get("BatchNormalization", 0) == normalizations
    # Two of them carry an initializer that nothing reads, which goes, and its listing with it.
    read = {each for node in original.graph.node for each in node.input}
    for tensor in [each for each in original.graph.initializer if each.name not in read]:
        original.graph.initializer.remove(tensor)
    for info in [each for each in original.graph.input if each.name not in read]:
        original.graph.input.remove(info)
    assert result.model.SerializeToString(deterministic=True) == original.SerializeToString(
        deterministic=True
    )
    onnx.checker.check_model(result.model, full_check=True)
    if name in QUICK:
        assert report.verification.max_error == 0
        assert report.verification.checked == 4


def filled(model: ModelProto) -> dict[str, int]:
    """How many bytes the output of each ConstantOfShape has, by its name."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    # All of them are float32.
    return {
        node.output[0]: 4 * int(np.prod(stored[node.input[0]]))
        for node in model.graph.node
        if node.op_type == "ConstantOfShape"
    }


@pytest.mark.parametrize("name", MODELS)
def test_weights_that_are_computed_fold_where_the_model_does_not_grow_by_much(name: str) -> None:
    result = rewrite(light(name), verify="model" if name in QUICK else "rewrite")
    assert result.ok
    onnx.checker.check_model(result.model, full_check=True)
    before, after = filled(onnx.load(light(name))), filled(result.model)
    # The 64 KiB that a constant may grow by, and the 8 bytes of each size that it is made from.
    large = {output: size for output, size in before.items() if size > (1 << 16) + 4 * 8}
    assert len(after) > 1
    assert after.items() <= large.items()
    # Those that are gone were computed twice.
    assert set(after.values()) == set(large.values())
    stopped = [each for each in result.report.declined if each.guard == "bounded-growth"]
    assert {each.at for each in stopped} == {f"node_of_{output}" for output in after}
    left = operators(result.model)
    assert not {"Dropout", "Identity", "Unsqueeze"} & set(left)
    assert left["BatchNormalization"] < MODELS[name][1] or MODELS[name][1] == 0
    again = rewrite(result.model, verify="none")
    assert again.report.fused == []
    assert again.model.SerializeToString(deterministic=True) == result.model.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("rules", [SCALES, None], ids=["scales", "catalogue"])
@pytest.mark.parametrize("name", [name for name, (_, count) in MODELS.items() if count])
def test_every_normalization_that_stays_has_a_reason(
    name: str, rules: tuple[str, ...] | None
) -> None:
    result = rewrite(light(name), rules=rules, verify="none")
    report, left = result.report, result.model.graph.node
    computed = {node.output[0] for node in left if node.op_type == "ConstantOfShape"}
    labels = {
        node.name or f"node_of_{node.output[0]}"
        for node in left
        if node.op_type == "BatchNormalization"
    }
    assert labels
    if rules is not None:
        assert len(labels) == MODELS[name][1]
    reasons = {
        declined.at: declined.because
        for declined in report.declined
        if declined.rule == "conv-scale" and declined.at in labels
    }
    assert set(reasons) == labels
    nowhere = re.compile(
        r"`\S+` is computed by (Concat|AveragePool|MaxPool) \S+, not by a Conv or ConvTranspose "
        "with constant weights, or by a Gemm or MatMul by constant weights"
    )
    for because in reasons.values():
        # Densenet normalizes behind others than convolutions too, where nothing takes a scale in.
        if name == "densenet121" and nowhere.fullmatch(because):
            continue
        source = because.split("`")[1]
        assert source in computed
        end = f"computed at run time by ConstantOfShape node_of_{source}, not a constant"
        assert because.endswith((f"`{source}` are {end}", f"`{source}` is {end}"))


@pytest.mark.parametrize(
    ("name", "kept", "folded"),
    [("inception_v2", 0, 69), ("resnet50", 0, 53), ("shufflenet", 0, 49), ("densenet121", 62, 59)],
)
def test_with_weights_of_their_own_the_normalizations_fold(
    name: str, kept: int, folded: int
) -> None:
    model = with_weights(name)
    result = rewrite(model, verify="none")
    before, after = operators(model), operators(result.model)
    assert before["BatchNormalization"] == kept + folded
    assert after["BatchNormalization"] == kept
    assert after["Conv"] == before["Conv"]
    onnx.checker.check_model(result.model, full_check=True)
    # The listing of initializers stays complete, and nothing else becomes an input.
    inputs = {info.name for info in result.model.graph.input}
    constants = {tensor.name for tensor in result.model.graph.initializer}
    assert inputs - constants == {info.name for info in model.graph.input} - {
        tensor.name for tensor in model.graph.initializer
    }
    assert constants <= inputs


def test_a_folded_shufflenet_computes_what_it_did() -> None:
    model = with_weights("shufflenet")
    # Random weights make the Softmax at the end 0 and 1, which says nothing of what goes into it.
    last = model.graph.node[-1]
    assert last.op_type == "Softmax"
    last.op_type = "Identity"
    del last.attribute[:]
    result = rewrite(model, verify="model")
    assert result.ok
    assert Counter(each.rule for each in result.report.fused) == {
        "conv-scale": 49,
        # The targets of its Reshapes are equal, and the Softmax has become an Identity.
        "duplicate-constant": 24,
        "identity": 1,
    }
    found = result.report.verification
    assert 0 < found.max_error < found.tolerance / 2
