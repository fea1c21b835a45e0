"""What TensorRT takes at most, where a rewrite could ask for more than the model did."""

#: Dimensions of a tensor: `Dims::MAX_DIMS` in TensorRT's API.
HIGHEST_RANK = 8
