"""What TensorRT takes at most, where a rewrite could ask for more than the model did."""

#: Dimensions of a tensor: `Dims::MAX_DIMS` in TensorRT's API.
HIGHEST_RANK = 8

#: TensorRT for RTX 1.7 crashes the process from this rank on, where 9 and 10 are refused. Found by
#: building Reshapes.
CRASHING_RANK = 11

#: Elements in the window of a pooling, by its spatial axes. Found by building with TensorRT for RTX
#: 1.7: 316x316 builds and 317x317 does not, nor does 160,000 in one dimension.
LARGEST_WINDOW = {1: 100_000, 2: 100_000, 3: 1_000_000}
