"""What TensorRT takes at most, where a rewrite could ask for more than the model did."""

#: Dimensions of a tensor: `Dims::MAX_DIMS` in TensorRT's API. TensorRT for RTX 1.7 refuses Reshapes
#: to 9 and 10 dimensions, and crashes the process at 11.
HIGHEST_RANK = 8

#: Elements in the window of a pooling, by its spatial axes. Found by building with TensorRT for RTX
#: 1.7: 316x316 builds and 317x317 does not, nor does 160,000 in one dimension.
LARGEST_WINDOW = {1: 100_000, 2: 100_000, 3: 1_000_000}
