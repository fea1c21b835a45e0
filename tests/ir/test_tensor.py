"""Constants: rounding once, what rounding would lose, and external data.

The oracle for rounding is exact: fractions, and the definition of a binary floating-point type.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from trtfuse.errors import ModelError
from trtfuse.ir.tensor import (
    ExternalData,
    FoldedTensor,
    ScaledTensor,
    StoredTensor,
    Tensor,
    numpy_type,
    rounded,
    type_name,
)

#: Bits of the significand, the leading one included, and the exponents of the smallest and the
#: largest normal numbers.
FORMATS: dict[int, tuple[int, int, int]] = {
    TensorProto.FLOAT16: (11, -14, 15),
    TensorProto.BFLOAT16: (8, -126, 127),
    TensorProto.FLOAT: (24, -126, 127),
    TensorProto.DOUBLE: (53, -1022, 1023),
}
TYPES = sorted(FORMATS)


def nearest(number: float, element_type: int) -> float:
    """The number of a type that is nearest, ties to the one with an even last bit."""
    if not math.isfinite(number) or number == 0:
        return number
    bits, smallest, largest = FORMATS[element_type]
    exact = Fraction(number)
    exponent = max(math.frexp(number)[1] - 1, smallest)
    unit = Fraction(2) ** (exponent - bits + 1)
    # Rounding a Fraction to an integer goes to nearest, ties to even.
    result = round(exact / unit) * unit
    if abs(result) >= Fraction(2) ** (largest + 1):
        return math.copysign(math.inf, number)
    return math.copysign(float(abs(result)), number)


def assert_rounded(numbers: list[float], element_type: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rounded(np.array(numbers, np.float64), element_type)
    assert found.dtype == numpy_type(element_type)
    for number, each in zip(numbers, found.astype(np.float64).tolist(), strict=True):
        expected = nearest(number, element_type)
        if math.isnan(expected):
            assert math.isnan(each)
        else:
            assert each == expected, number.hex()
            assert math.copysign(1, each) == math.copysign(1, expected), number.hex()


EDGES = [
    *(0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan),
    # Ties of bfloat16 to even, and a hair beside them: float32 would make ties of those as well.
    *(1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-40, 1 + 2**-8 - 2**-40, -(1 + 2**-8 + 2**-52)),
    *(1 + 3 * 2**-8 - 2**-40, 1 + 3 * 2**-8 + 2**-40),
    # The same of float16 and of float32.
    *(1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40),
    *(1 + 2**-24, 1 + 3 * 2**-24, 1 + 2**-24 + 2**-50, 1 + 2**-24 - 2**-50),
    # Around the largest finite numbers.
    *(65504.0, 65519.99, 65520.0, 65520.01, -65520.0),
    *((2 - 2**-7) * 2.0**127, (2 - 2**-8) * 2.0**127, (2 - 2**-8 - 2**-40) * 2.0**127),
    *((2 - 2**-23) * 2.0**127, (2 - 2**-24) * 2.0**127, 2.0**128, 1e300, -1e308),
    # Subnormal numbers, the smallest ones, and what is half of them.
    *(2.0**-14, 2.0**-14 - 2.0**-26, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, 3 * 2.0**-25, 6e-8),
    *(2.0**-126, 2.0**-133, 2.0**-134, 1.01 * 2.0**-134, 3 * 2.0**-134, -(2.0**-133) * 1.5),
    *(2.0**-149, 2.0**-150, 1.01 * 2.0**-150, 3 * 2.0**-150, 5e-324, -5e-324),
]


@pytest.mark.parametrize("element_type", TYPES, ids=type_name)
def test_rounding_goes_to_the_nearest_number_once(element_type: int) -> None:
    assert_rounded(EDGES, element_type)


def test_a_number_a_hair_above_a_tie_is_rounded_up_and_not_to_even() -> None:
    above = np.array([1 + 2**-8 + 2**-40])
    assert above.astype(np.float32).astype(ml_dtypes.bfloat16) == 1
    assert rounded(above, TensorProto.BFLOAT16) == 1 + 2**-7


@given(
    st.lists(st.floats(width=64), min_size=1, max_size=30)
    | st.lists(
        # Near the ties of the short types, where rounding twice goes wrong.
        st.builds(
            lambda k, bits, hair, exponent: math.ldexp(1 + (2 * k + 1) / 2**bits + hair, exponent),
            st.integers(0, 500),
            st.integers(8, 12),
            st.sampled_from((0.0, 2**-30, -(2**-30), 2**-45, -(2**-45), 2**-52, -(2**-52))),
            st.integers(-160, 127),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(TYPES),
)
@example([math.nan, -math.nan, 1e300], TensorProto.BFLOAT16)
def test_any_number_is_rounded_to_the_nearest(numbers: list[float], element_type: int) -> None:
    assert_rounded(numbers, element_type)


@pytest.mark.parametrize("element_type", TYPES, ids=type_name)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 3)])
def test_rounding_keeps_the_shape(element_type: int, shape: tuple[int, ...]) -> None:
    found = rounded(np.ones(shape), element_type)
    assert (np.asarray(found).shape, found.dtype) == (shape, numpy_type(element_type))


# Folded and scaled tensors


def test_any_number_of_factors_is_rounded_once() -> None:
    weights = np.linspace(-1, 1, 60, dtype=np.float32).reshape(5, 3, 4)
    factors = [
        np.linspace(0.1, 3, 5).reshape(5, 1, 1),
        np.array([[[1 / 3]]]),
        np.full((1, 3, 1), 0.7),
    ]
    tensor: Tensor = stored(weights)
    for factor in factors:
        tensor = tensor.scaled(factor)
    product = weights.astype(np.float64) * (factors[0] * factors[1] * factors[2])
    assert isinstance(tensor, ScaledTensor)
    assert (tensor.shape, tensor.type, tensor.size, tensor.nbytes) == (
        (5, 3, 4),
        TensorProto.FLOAT,
        60,
        240,
    )
    np.testing.assert_array_equal(tensor.exact(), product)
    np.testing.assert_array_equal(tensor.array(), product.astype(np.float32))
    written = numpy_helper.to_array(tensor.to_proto("name"))
    np.testing.assert_array_equal(written, product.astype(np.float32))


def stored(array: npt.NDArray[Any], name: str = "w") -> StoredTensor:
    return StoredTensor(numpy_helper.from_array(array, name))


def test_a_folded_tensor_keeps_float64_until_it_is_written() -> None:
    numbers = np.array([1 + 2**-40, 2.0])
    tensor = FoldedTensor(numbers, TensorProto.FLOAT)
    np.testing.assert_array_equal(tensor.exact(), numbers)
    assert tensor.array().dtype == np.float32
    assert tensor.array().tolist() == [1.0, 2.0]
    proto = tensor.to_proto("name")
    assert (proto.name, proto.data_type, list(proto.dims)) == ("name", TensorProto.FLOAT, [2])


@pytest.mark.parametrize("element_type", TYPES, ids=type_name)
def test_every_floating_type_survives_being_written(element_type: int) -> None:
    numbers = np.array([0.5, -3.0, 0.0])
    proto = FoldedTensor(numbers, element_type).to_proto("t")
    assert proto.data_type == element_type
    np.testing.assert_array_equal(numpy_helper.to_array(proto).astype(np.float64), numbers)


def test_a_tensor_says_what_it_is() -> None:
    assert repr(stored(np.array([[1], [2]], np.float16))) == "StoredTensor(float16[2, 1])"
    assert repr(FoldedTensor(np.ones(3), TensorProto.BFLOAT16)) == "FoldedTensor(bfloat16[3])"


def test_a_stored_tensor_is_written_under_any_name_and_left_as_it_is() -> None:
    tensor = stored(np.array([1, 2], np.float32), "old")
    assert tensor.to_proto("old") is tensor.proto
    renamed = tensor.to_proto("new")
    assert (renamed.name, tensor.proto.name) == ("new", "old")
    assert renamed.raw_data == tensor.proto.raw_data


def test_small_tensors_are_read_once_and_large_ones_each_time() -> None:
    small, large = stored(np.ones(4096, np.float32)), stored(np.ones(4097, np.float32))
    assert small.array() is small.array()
    assert large.array() is not large.array()


# What rounding would lose


@pytest.mark.parametrize(
    ("numbers", "element_type", "said"),
    [
        ([1.0, -65504.0], TensorProto.FLOAT16, None),
        (
            [1.0, -70000.0],
            TensorProto.FLOAT16,
            "a folded value would be 7e+04, beyond the largest float16 (6.55e+04)",
        ),
        (
            [1e39],
            TensorProto.FLOAT,
            "a folded value would be 1e+39, beyond the largest float32 (3.4e+38)",
        ),
        (
            [3.4e38],
            TensorProto.BFLOAT16,
            "a folded value would be 3.4e+38, beyond the largest bfloat16 (3.39e+38)",
        ),
        (
            [1.0, math.inf],
            TensorProto.DOUBLE,
            "a folded value would be inf, beyond the largest float64 (1.8e+308)",
        ),
        ([1.0, math.nan, math.inf], TensorProto.FLOAT, "a folded value would not be a number"),
        ([1e-300], TensorProto.FLOAT16, None),
        ([], TensorProto.FLOAT, None),
    ],
)
def test_a_folded_value_has_to_be_finite_in_its_type(
    numbers: list[float], element_type: int, said: str | None
) -> None:
    assert FoldedTensor(np.array(numbers, np.float64), element_type).misrounding() == said


def test_folded_integers_and_stored_tensors_lose_nothing() -> None:
    assert FoldedTensor(np.array([2**62]), TensorProto.INT64).misrounding() is None
    assert stored(np.array([math.inf], np.float32)).misrounding() is None


@pytest.mark.parametrize(
    ("weights", "factor", "said"),
    [
        ([[1, 2], [3, 4]], [[2.0], [0.5]], None),
        (
            [[1, 2], [3, -4]],
            [[2.0], [20000.0]],
            "a folded value would be 8e+04, beyond the largest float16 (6.55e+04)",
        ),
        (
            [[1, 2], [3, 4]],
            [[math.inf], [1.0]],
            "a folded value would be inf, beyond the largest float16 (6.55e+04)",
        ),
        ([[0, 0], [3, 4]], [[math.inf], [1.0]], "a folded value would not be a number"),
        ([[1, math.nan], [3, 4]], [[1.0], [1.0]], "a folded value would not be a number"),
        (
            [[1, -2], [3, 4]],
            [[1e-6], [1.0]],
            "all weights of one channel would be at most 2e-06, below the normal numbers of "
            "float16 (6.1e-05)",
        ),
        # An eighth of the smallest normal number is where too many bits go; zeros lose none.
        ([[1, 0], [3, 4]], [[2.0**-17], [1.0]], None),
        ([[0, 0], [3, 4]], [[1e-30], [1.0]], None),
        ([[1, 2], [3, 4]], [[0.0], [1.0]], None),
    ],
)
def test_scaled_weights_have_to_stay_finite_and_precise(
    weights: list[list[float]], factor: list[list[float]], said: str | None
) -> None:
    tensor = stored(np.array(weights, np.float16)).scaled(np.array(factor))
    assert tensor.misrounding() == said


@pytest.mark.parametrize("element_type", TYPES, ids=type_name)
def test_scaling_by_one_number_and_by_channel_are_judged_alike(element_type: int) -> None:
    weights = rounded(np.array([[1.0, -2.0], [0.5, 0.25]]), element_type)
    tiny = 2.0 ** (FORMATS[element_type][1] - 5)
    for factor in (np.array([[tiny]]), np.array([[1.0], [tiny]]), np.array([[1.0, tiny]])):
        said = stored(weights).scaled(factor).misrounding()
        assert said is not None
        assert said.startswith("all weights of one channel would be at most ")
        assert f"below the normal numbers of {type_name(element_type)}" in said


def test_nothing_scaled_loses_nothing() -> None:
    tensor = stored(np.empty((0, 3), np.float32)).scaled(np.ones((1, 1)))
    assert tensor.misrounding() is None
    assert tensor.array().shape == (0, 3)


# External data


def external(
    folder: Path | None,
    element_type: int,
    dims: list[int],
    location: str = "w.bin",
    **places: object,
) -> StoredTensor:
    proto = TensorProto(name="w", data_type=element_type, dims=dims)
    proto.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **places}.items():
        proto.external_data.add(key=key, value=str(value))
    return StoredTensor(proto, folder)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float64),
        np.array([1.5, -2], np.float16),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1.5, -2], ml_dtypes.float8_e4m3fn),
        np.array([-8, 7, -1], ml_dtypes.int4),
        np.array([15, 0, 9, 1, 8], ml_dtypes.uint4),
        np.array([-8], ml_dtypes.int4),
        np.array([0.5, -6, 4], ml_dtypes.float4_e2m1fn),
        np.array([True, False]),
        np.array([2**40, -1]),
        np.array([1 + 2j], np.complex64),
        np.array(7.5, np.float32),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
@pytest.mark.parametrize("offset", [0, 3, 4096, 5000])
def test_external_data_is_what_was_stored(
    tmp_path: Path, array: npt.NDArray[Any], offset: int
) -> None:
    proto = numpy_helper.from_array(array, "w")
    (tmp_path / "w.bin").write_bytes(b"\xff" * offset + proto.raw_data + b"\xff" * 7)
    for places in ({"offset": offset}, {"offset": offset, "length": len(proto.raw_data)}):
        tensor = external(tmp_path, proto.data_type, list(array.shape), "w.bin", **places)
        assert tensor.external
        assert tensor.stored_bytes == len(proto.raw_data)
        found = tensor.array()
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found.astype(np.complex128), array.astype(np.complex128))


def test_int4_and_int2_are_packed_into_bytes(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\x21\xf3")
    assert external(tmp_path, TensorProto.INT4, [3]).array().astype(int).tolist() == [1, 2, 3]
    assert external(tmp_path, TensorProto.UINT4, [2, 2]).array().astype(int).tolist() == [
        [1, 2],
        [3, 15],
    ]
    sizes = [external(None, TensorProto.INT4, [size]).stored_bytes for size in range(5)]
    assert sizes == [0, 1, 1, 2, 2]
    sizes = [external(None, TensorProto.INT2, [size]).stored_bytes for size in (0, 1, 4, 5, 9)]
    assert sizes == [0, 1, 1, 2, 3]


def test_external_data_is_mapped_into_memory_and_not_writable(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(10_000, dtype=np.float32).tobytes())
    found = external(tmp_path, TensorProto.FLOAT, [100, 100]).array()
    base: object = found
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not found.flags.writeable


def test_an_empty_external_tensor_needs_no_byte(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    found = external(tmp_path, TensorProto.FLOAT, [0, 3]).array()
    assert (found.shape, found.dtype) == ((0, 3), np.dtype(np.float32))


def test_the_place_of_external_data_is_read_from_its_entries() -> None:
    location = ExternalData.of(external(None, TensorProto.FLOAT, [2], offset=8, length=8).proto)
    assert (location.file, location.offset, location.length) == ("w.bin", 8, 8)
    location = ExternalData.of(external(None, TensorProto.FLOAT, [2]).proto)
    assert (location.file, location.offset, location.length) == ("w.bin", 0, None)


def test_pieces_of_external_data_add_up(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(range(100)))
    pieces = list(ExternalData("w.bin", 10, None).pieces(path, 35, most=16))
    assert [len(piece) for piece in pieces] == [16, 16, 3]
    assert b"".join(pieces) == bytes(range(10, 45))


def test_a_model_without_a_folder_says_so() -> None:
    with pytest.raises(ModelError, match="the model came without a folder; pass its path instead"):
        external(None, TensorProto.FLOAT, [2]).array()


def test_names_of_types_are_those_that_users_know() -> None:
    assert [type_name(each) for each in TYPES] == ["float32", "float16", "float64", "bfloat16"]
    assert numpy_type(TensorProto.INT64) == helper.tensor_dtype_to_np_dtype(TensorProto.INT64)
