"""Which kernels one engine has and another has not."""

from __future__ import annotations

from trtfuse.engine.difference import difference
from trtfuse.result.layer import Layer, LayerTensor


def kernel(name: str, *nodes: str, kind: str = "kgen", shape: tuple[int, ...] = (4,)) -> Layer:
    return Layer(name, kind, outputs=(LayerTensor("t", shape, "Float"),), nodes=nodes)


def names(a: list[Layer], b: list[Layer]) -> tuple[list[str], list[str]]:
    left, right = difference(a, b)
    return [layer.name for layer in left], [layer.name for layer in right]


def test_an_engine_and_itself() -> None:
    layers = [kernel("a_myl0_0", "a"), kernel("__myl_Move_myl0_1"), kernel("__myl_Move_myl0_2")]
    assert names(layers, layers) == ([], [])


def test_numbers_in_names_do_not_count() -> None:
    assert names([kernel("a_myl0_0", "a")], [kernel("a_myl0_7", "a")]) == ([], [])


def test_a_kernel_that_took_a_node_in_which_is_gone_is_still_the_same() -> None:
    a = [kernel("__myl_CorrMulAddRelu_myl0_0", "conv", "bn", "relu")]
    assert names(a, [kernel("conv_myl0_0", "conv", "relu")]) == ([], [])


def test_kernels_of_nodes_that_are_gone_or_new() -> None:
    a = [kernel("k", "conv"), kernel("l", "bn")]
    assert names(a, [kernel("k", "conv"), kernel("m", "pool")]) == (["l"], ["m"])


def test_nodes_that_come_together_or_part() -> None:
    apart, together = [kernel("k", "conv"), kernel("l", "relu")], [kernel("m", "conv", "relu")]
    assert names(apart, together) == (["k", "l"], ["m"])


def test_copies_are_the_same_by_what_they_do_and_make() -> None:
    a = [kernel("__myl_Tran_myl0_0"), kernel("__myl_Tran_myl0_1", shape=(5,))]
    assert names(a, [kernel("__myl_Tran_myl0_0", "conv")]) == (["__myl_Tran_myl0_1"], [])


def test_as_many_as_there_are() -> None:
    twice = [kernel("__myl_Move_myl0_0"), kernel("__myl_Move_myl0_1")]
    assert names(twice, twice[:1]) == (["__myl_Move_myl0_1"], [])
    assert names(twice[:1], twice) == ([], ["__myl_Move_myl0_1"])


def test_the_call_around_a_node_does_not_count() -> None:
    assert names([kernel("k", "fc")], [kernel("k", "fc | fc + relu (FcRelu)")]) == ([], [])


def test_signals_and_other_profiles_are_no_kernels() -> None:
    signal, other = kernel("s", kind="signal"), Layer("o", "kgen", profile=1)
    assert names([signal, other], []) == ([], [])
