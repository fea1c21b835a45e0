"""What a guard makes sure of, and what a user can change where it stops a rule."""

from __future__ import annotations

from trtfuse.rewrite.rule import CATALOGUE

#: What the driver makes sure of, whatever the rule.
IMPLIED = {
    "one-consumer": "Values between the matched nodes are read by nobody else and are no outputs "
    "of the graph.",
    "representable": "The folded constants fit the type they are stored in.",
    "bounded-growth": "Constants are larger than what the model stores of those that they are "
    "made from by at most `fold_limit` bytes each, and all together add at most 256 times as much, "
    "or as much as the model's own constants take.",
    "check": "Old and new spelling agree in float64 (unless `verify` is `none`).",
}

#: What stops a rule before its guards are asked.
BEFORE = {
    "opset": "The model imports the opset that the rule applies from.",
    "structure": "A BatchNormalization follows a layer that can take it in.",
    "conv": "The convolution is one whose weights and bias are constant.",
    "product": "The product is one by constant weights, with a constant bias or none.",
    "scale": "The operator is a Scale: it computes (x * scale + shift) ^ power from constants.",
    "malformed-node": "The nodes of the model are such that a runtime can run them.",
    "named-output": "An Identity does not lead from one name that is known outside to another.",
}

_FOLDED = (
    "export with constants folded, and without initializers that are graph inputs as well: "
    "a caller can override those"
)
_ALONE = "nothing, if the other reader needs the value; else remove the reader or the output"
_STATIC = "give the model static shapes where they are static"
_FLOAT = "nothing, if it has to be integers; else cast before the layer rather than inside it"
_FIX_AXES = "normalize over the last axes, with a Transpose in front if need be"

#: What helps, by guard, as an answer to "what would have to change?".
HELPS = {
    "one-consumer": _ALONE,
    "representable": "keep the layer in float32",
    "check": "please report it: a guard is missing",
    "opset": "convert the model with `onnx.version_converter`",
    "structure": "put the layer directly in front of it, if the order is yours to choose",
    "conv": _FOLDED,
    "product": _FOLDED,
    "scale": _FOLDED,
    "malformed-node": "correct the node that the sentence names; `onnx.shape_inference` with "
    "`strict_mode` says the same",
    "named-output": "name only one of the two as an output",
    "bounded-growth": "raise `fold_limit`, or `--fold-limit`, to the bytes that the report names",
    "choice-has-the-shape": _STATIC,
    "buildable-window": "nothing: TensorRT takes the mean as it is, and no pooling that large",
    "buildable-padding": "nothing: TensorRT takes the Pad as it is, and no layer that pads as much",
    "computable": "correct the node: it fails at run time too",
    "constants-keep-shape": _STATIC,
    "counted-padding": "export the AveragePool with count_include_pad, without ceil_mode",
    "crops-enough": "crop more in the deconvolution, or leave the Pad out",
    "exact-cast": "keep the numbers within the range of the integer type",
    "explicit-padding": "export explicit pads instead of auto_pad",
    "feeds-convolutions": "nothing: TensorRT runs the spelled-out form at least as well there",
    "fewer-operations": "nothing: one product would take more multiplications",
    "fixed-sizes": _STATIC,
    "floating": _FLOAT,
    "floating-products": _FLOAT,
    "floating-weights": _FLOAT,
    "inference": "export the model for inference",
    "integers": "nothing, if the numbers may be NaN",
    "keeps-dimensions": "take the mean with keepdims=1 and reshape behind it",
    "keeps-shape": _STATIC,
    "known-type": "give the model types where it has none, or call the function with one type only",
    "never-overflows": "nothing: the result may be negative",
    "no-more-numbers": "nothing: one constant would be larger than both",
    "no-shift-into-padding": "pad explicitly in front of the shift, or move the normalization "
    "behind the convolution",
    "normal-product": "rescale the factors: together they are too small for the type",
    "nothing-lost": "nothing, if it is there to round; else leave out the Casts",
    "numbers-keep-the-rank": "make epsilon and the exponents scalars",
    "numbers-of-gelu": "nothing, if another function is meant; else use GELU's own coefficients",
    "numbers-of-hard-sigmoid": "round alpha and beta to float32 where the model is made",
    "one-per-element": "give it one value for each normalized element",
    "one-row-of-bias": "add the bias after the second product",
    "one-size-at-most-is-open": _STATIC,
    "one-value-per-channel": "`[C]` added to NCHW aligns with W: export it as `[1, C, 1, 1]`",
    "one-value-per-input-channel": f"`[C]` aligns with W: export it as `[1, C, 1, 1]`; {_STATIC}",
    "one-value-per-normalized-channel": "export the constant as `[1, C, 1, 1]`",
    "only-first-output": "leave the mask of the Dropout unread",
    "open-size-follows": _STATIC,
    "operands-are-as-large": _STATIC,
    "operator-takes": "convert the model to an opset whose operator takes the type",
    "over-the-last-axes": _FIX_AXES,
    "pads-with-zeros": "pad with zeros, if that is what is meant",
    "pooled-type": "keep the mean in float32 or float16",
    "positive": "nothing, unless the scale can be one positive number",
    "power-of-one": "nothing: a power is no part of a layer's weights",
    "ranges-overlap": "look at the bounds: nothing lies within both",
    "regroups": "nothing: the order of the reductions matters here",
    "same-dimensions-kept": "give both reductions the same keepdims",
    "scales-keep-shape": _STATIC,
    "smaller-than-the-kernel": "nothing: runtimes refuse a pooling that pads as much as its kernel",
    "spatial-padding": "pad spatial axes only, and crop with a Slice",
    "static-plane": _STATIC,
    "statistics-in-float32": "normalize in float32, if that is precise enough",
    "wraps-alike": "cast to an integer type in between, or directly",
    "zeros-are-its-padding": "nothing: a MaxPool pads with the smallest number, not with 0",
    "axes-of-the-same-tensor": _STATIC,
    "constant-weights": _FOLDED,
    "first-choice": "nothing: one of the two layers takes the sum in",
    "fits-on-chip": "name a `target` with more shared memory, or make the layer narrower",
    "is-not-of-gelu": "nothing: the builder needs the factor where it is",
    "most-layers": "nothing: the next MLP begins there",
    "no-broadcast": _STATIC,
    "only-read-inside": _ALONE,
    "other-operand": "nothing, if the sum is of a value with itself or a constant",
    "same-axes": _FIX_AXES,
    "serves-the-engine": 'nothing, for this engine; `objective="graph"`, or `--objective graph`, '
    "makes the rewrite all the same",
    "same-everywhere": "nothing: it is computed where the model runs",
    "same-shape": _STATIC,
    "kernel-for-each": "nothing: two layers with what reads them take fewer kernels than one",
    "named-constant": "export without initializers that are inputs as well, if nobody overrides "
    "them",
    "no-subgraph": "nothing, but to merge the nodes where the model is made",
    "one-output": "name only one of them as an output",
    "quantizer-for-each": "nothing: TensorRT takes each into the layer that reads it",
    "same-each-time": "nothing, if they are to differ; else read one of them twice",
    "shared-by-layers": "nothing: the layers are quantized, or trained, each by itself",
    "state-is-zero": "leave the initial state out where it is zero",
    "softmax-of-the-last-axis": "take the Softmax over the last axis",
    "sum-keeps-shape": _STATIC,
    "two-dimensions": "give the product one constant matrix",
}


def holds(guard: str) -> str:
    """What a guard makes sure of; empty for a name that is none."""
    known = IMPLIED | BEFORE
    if guard in known:
        return known[guard]
    docs = (each.doc for rule in CATALOGUE.values() for each in rule.guards if each.name == guard)
    return " ".join(next(docs, "").split())


def helps(guard: str) -> str:
    """What would have to change for a guard to let a rule go on."""
    return HELPS.get(guard) or f"it takes this: {holds(guard)}"
