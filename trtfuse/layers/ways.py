"""What TensorRT's builder is known to make of a spelling, where that decides on a rewrite.

Each way was found by building both spellings with `benchmarks/contexts.py` and counting kernels and
bytes. Rules ask with the guard `serves_the_engine`, and docs/engine.md lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """Something that the builder does.

    Attributes:
        name: kebab-case.
        does: what, as the rest of a sentence that begins with the backend and its version.
        shown: the experiment: what was built, and the kernels or bytes of both spellings.
        backend: what it was seen in. Others may do differently.
        version: of the backend.
    """

    name: str
    does: str
    shown: str
    backend: str = "TensorRT for RTX"
    version: str = "1.7"

    def __str__(self) -> str:
        """The way in one sentence, without a full stop."""
        return f"{self.backend} {self.version} {self.does}"


#: A reduction of so many elements to one is split into stages.
LONG_REDUCTION = 1 << 14
#: The mean of a tensor of up to this many elements is taken in the kernel that copies it to its
#: layout.
SMALL_MEAN = 1 << 14

MEAN_WITHOUT_CONVOLUTION = Way(
    "mean-without-convolution",
    "copies the tensor to another layout and back for a pooling that no convolution feeds, 3 "
    "kernels for 1",
    "The mean of the plane of 1x32x56x56: 1 kernel and 0.4 MB; as AveragePool: 3 and 1.2 MB.",
)
MEAN_IN_ITS_COPY = Way(
    "mean-in-its-copy",
    "takes the mean of a small tensor in the kernel that copies it to its layout, and needs one "
    "more for a pooling",
    "Convolution, Relu and mean of 1x32x20x20 (12,800 elements): 3 kernels; as AveragePool: 4. Of "
    "1x32x24x24 (18,432 elements): 4 kernels for both, and 0.55 MB against 0.41.",
)
MEAN_IN_A_POINTWISE_KERNEL = Way(
    "mean-in-a-pointwise-kernel",
    "takes the mean along in the pointwise kernel before it, and needs one more for a pooling",
    "Convolution, x * sigmoid(x) and mean of 1x32x28x28: 3 kernels; as AveragePool: 4. The same "
    "with the mean as its gate: 3 and 4; where a convolution reads what is gated, 6 kernels and "
    "1.09 MB, and 6 and 0.99; where the network's input is added to it, 6 and 7.",
)
MEAN_BESIDE_REDUCTION = Way(
    "mean-beside-reduction",
    "takes the mean in the kernel of the other reduction beside it, and needs two more for a "
    "pooling",
    "Convolution, Relu, then mean and maximum of 1x32x28x28: 4 kernels; with an AveragePool: 6.",
)
GUARDED_LOG_SUM_EXP = Way(
    "guarded-log-sum-exp",
    "computes ReduceLogSumExp in its guarded form, up to 4 kernels for 2",
    "Exp, ReduceSum and Log over axis 1 of 1x32x14x14: 2 kernels; as ReduceLogSumExp: 4.",
)
TRANSPOSED_REDUCTION = Way(
    "transposed-reduction",
    "reads the channels of a convolution where they are, last, and copies the tensor for a "
    "reduction of its plane, unless it is small",
    "Convolution, Relu, Transpose to 1x24x24x32 and mean or maximum over the axes 1 and 2: 3 "
    "kernels and 0.41 MB; over the axes 2 and 3, without the Transpose: 4 and 0.55. Of "
    "1x32x20x20: 3 kernels and 0.29 MB for both. Maximum over the axis 2, then 3, of 1x32x56x56: "
    "4 kernels and 2.06 MB; over both at once: 4 and 2.85.",
)
TRANSPOSED_VOLUME = Way(
    "transposed-volume",
    "transposes what is left of five dimensions in a kernel of its own",
    "Transpose of 1x16x8x14x14 to channels last and maximum over the axes 1, 2 and 3, which stay: "
    "1 kernel; maximum and Transpose: 2.",
)
QUANTIZED_REDUCTION = Way(
    "quantized-reduction",
    "takes the dequantization in the kernel that transposes, and needs one more without",
    "DequantizeLinear of 1x32x14x14, Transpose, maximum over the axis 1 and convolution: 3 "
    "kernels; maximum over the axis 3 and Transpose: 4.",
)
DEQUANTIZED_GEMM = Way(
    "dequantized-gemm",
    "runs a Gemm with a bias in one more kernel where it reads a dequantization directly",
    "DequantizeLinear of 128x64, Mul by a vector and Gemm to 48: 2 kernels and 0.1356 MB; without "
    "the Mul: 3 and 0.1354. As a MatMul, without a bias: 2 kernels for both.",
)
FLOAT16_NORM = Way(
    "float16-norm",
    "computes ReduceL2 and ReduceLogSum of float16 in float32, and writes what is between its "
    "kernels in float32, too",
    "Convolution, and the square, ReduceSum and Sqrt over the plane of 1x32x56x56 in float16: 4 "
    "kernels and 1.42 MB; as ReduceL2: 4 and 1.83. Over axis 1 behind a Sigmoid: 2 and 0.220 MB, "
    "and 2 and 0.232, as with ReduceLogSum. Over the last axis of 128x64 and 2x96x64 both are "
    "alike, and so are all in bfloat16.",
)
FLATTENED_SOFTMAX = Way(
    "flattened-softmax",
    "computes LogSoftmax over several axes in 2 kernels, and Softmax and Log in 1",
    "Softmax from axis 1 on and Log of 1x32x14x14 at opset 11: 1 kernel and 0.05 MB; as "
    "LogSoftmax: 2 and 0.1 MB.",
)
LOG_SOFTMAX_AT_THE_END = Way(
    "log-softmax-at-the-end",
    "copies a LogSoftmax that is an output of the model, behind a matrix product and before opset "
    "13, and not Softmax and Log",
    "MatMul, Add, Softmax and Log of 128x48, as an output: 2 kernels and 0.119 MB; with "
    "LogSoftmax: 3 and 0.168. MatMul and 2x98x48: 2 and 3. With a Sigmoid behind it, or without a "
    "product before it from opset 13 on, both are alike.",
)
SHARED_WEIGHTS = Way(
    "shared-weights",
    "reads weights once where layers share them, and each layer's own where scales are folded in",
    "A siamese network of two branches with the same weights and different scales: 68 % more "
    "traffic with weights of their own.",
)
MEAN_IN_THE_SCALE = Way(
    "mean-in-the-scale",
    "takes a mean that no product reads in the kernel of the scale before it, and copies the "
    "tensor where there is no such kernel",
    "Convolution, BatchNormalization, Relu, and a gate of the mean, of 1x32x14x14: 3 kernels; "
    "with the BatchNormalization in the weights: 4. Two blocks of three branches with such a "
    "gate, of 1x64x28x28: 8 kernels and 10. With a convolution between the mean and the gate: 7 "
    "kernels and 0.35 MB; with the BatchNormalization in the weights: 7 and 0.32.",
)
REDUCTION_LOSES_ITS_LAYOUT = Way(
    "reduction-loses-its-layout",
    "reduces several axes at once only where they are the last ones, and copies the tensor "
    "otherwise",
    "Means over axis 1, then axis 2, of 1x32x14x14: 0.04 MB; as one ReduceMean: 0.14 MB. "
    "Transpose of 1x32x14x14 to channels last and their mean: 1 kernel and 0.026 MB; the mean "
    "over axis 1 and Transpose: 3 and 0.037.",
)
PARTS_AT_THE_END = Way(
    "parts-at-the-end",
    "writes the parts of a convolution where they are joined, and copies a convolution that is an "
    "output of the model as a whole",
    "Convolution of 1x32x56x56, Split and Concat, as an output: 2 kernels and 1.64 MB; the "
    "convolution alone: 3 and 2.44.",
)
REDUCTION_IN_STAGES = Way(
    "reduction-in-stages",
    "splits a reduction of 16,384 elements or more to one into two kernels, with up to 0.8 MB "
    "between them",
    "Maximum over axis 3, then axis 2, of 1x3x128x128: 2 kernels and 0.20 MB; over both at once: 2 "
    "and 0.45. Over the axes 2 and 3, then 1, of 1x32x24x24: 2 and 0.07; 2 and 0.84. Of "
    "1x3x112x112 and 1x32x20x20: 2 kernels, and 1.",
)
GAIN_OF_ONES = Way(
    "gain-of-ones",
    "reads the gain of ones that the operator takes, and the spelled-out form has none",
    "Layer normalization of 128x64 without a gain, spelled out: 66.0 kB; as LayerNormalization: "
    "66.3 kB. Over the last two axes of 2x96x64: 98 kB and 123 kB.",
)
NORMALIZATION_OF_SEVERAL_AXES = Way(
    "normalization-of-several-axes",
    "normalizes several axes in more kernels by the operator than spelled out",
    "RMS normalization over two inner axes, spelled out: 1 kernel; as RMSNormalization: 3.",
)

#: All of them, in the order of the docs.
WAYS = (
    MEAN_WITHOUT_CONVOLUTION,
    MEAN_IN_ITS_COPY,
    MEAN_IN_A_POINTWISE_KERNEL,
    MEAN_BESIDE_REDUCTION,
    TRANSPOSED_REDUCTION,
    TRANSPOSED_VOLUME,
    QUANTIZED_REDUCTION,
    DEQUANTIZED_GEMM,
    GUARDED_LOG_SUM_EXP,
    FLOAT16_NORM,
    FLATTENED_SOFTMAX,
    LOG_SOFTMAX_AT_THE_END,
    SHARED_WEIGHTS,
    MEAN_IN_THE_SCALE,
    REDUCTION_LOSES_ITS_LAYOUT,
    REDUCTION_IN_STAGES,
    PARTS_AT_THE_END,
    GAIN_OF_ONES,
    NORMALIZATION_OF_SEVERAL_AXES,
)
