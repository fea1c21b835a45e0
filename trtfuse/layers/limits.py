"""What TensorRT takes at most, where a rewrite could ask for more than the model did.

Each limit was found by building up to it and one beyond it; docs/ways.md lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest number of something that TensorRT takes.

    Attributes:
        name: kebab-case.
        most: the largest number that it takes.
        of: what is counted.
        shown: the experiment: what was built, and what was refused.
        backend: what it was seen in. Others may take more, or less.
        version: of the backend.
    """

    name: str
    most: int
    of: str
    shown: str
    backend: str = "TensorRT for RTX"
    version: str = "1.7"


RANK = Limit(
    "rank",
    8,
    "dimensions of a tensor",
    "`Dims::MAX_DIMS` in the API. Reshapes to 9 and 10 dimensions are refused; 11 crash the "
    "process.",
)
SIZE = Limit(
    "size",
    2**31 - 1,
    "elements along one axis; a tensor may have more",
    "Relu of 2,147,483,647 elements in one dimension and of 65,536x65,536 builds; of 2,147,483,648 "
    "in one dimension it is refused, as input and behind a Reshape.",
)
WINDOW = Limit(
    "window",
    99_999,
    "elements of the kernel of a convolution or pooling, in one or two dimensions",
    "Kernels of 1x99,999, 316x316 and 99,999 build; 1x100,000, 1,000x100, 317x317 and 100,000 are "
    "refused. A mean of any size builds.",
)
VOLUME = Limit(
    "volume",
    31_622_775,
    "elements of the kernel of a convolution or pooling, in three dimensions",
    "Kernels of 316x316x316 and 31,622,775x1x1 build; 316x316x317 and 31,622,776x1x1 are refused.",
)
PADDING = Limit(
    "padding",
    100_000,
    "elements that a convolution or pooling pads on one side",
    "Convolutions in two and three dimensions build with 100,000 and are refused with 100,001. A "
    "Pad of 16,777,216 builds.",
)
STRIDE = Limit(
    "stride",
    100_000,
    "elements of a stride or dilation",
    "Convolutions, deconvolutions and poolings build with 100,000 and are refused with 100,001.",
)
PARTS = Limit(
    "parts",
    9_999,
    "inputs of a Concat",
    "A Concat of 9,999 builds, and one of 10,000 is refused.",
)

#: All of them, in the order of the docs.
LIMITS = (RANK, SIZE, WINDOW, VOLUME, PADDING, STRIDE, PARTS)

#: By the spatial axes of a kernel.
WINDOWS = {1: WINDOW, 2: WINDOW, 3: VOLUME}
