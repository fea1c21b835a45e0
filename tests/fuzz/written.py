"""Small models of kinds that are not drawn: bodies, functions, quantization, strings, sequences."""

from __future__ import annotations

import functools

from onnx import ModelProto, helper, parser

#: The text of a graph by name; a number in front of a name is its opset, 17 if there is none.
WRITTEN: dict[str, str] = {
    "if": """(bool c, float[2,3] x) => (float[2,3] y) {
        y = If (c) <then_branch = a () => (float[2,3] t) { t = Relu (x) },
                    else_branch = b () => (float[2,3] e) { n = Neg (x) e = Relu (n) }> }""",
    "if-of-constant": """(float[2,3] x) => (float[2,3] y) {
        c = Constant <value = bool {1}> ()
        y = If (c) <then_branch = a () => (float[2,3] t) { t = Relu (x) },
                    else_branch = b () => (float[2,3] e) { e = Identity (x) }> }""",
    "if-of-shape": """(float[N,3] x) => (float[?,?] y) {
        s = Shape (x) i = Constant <value = int64 {0}> () n = Gather (s, i)
        one = Constant <value = int64 {1}> () c = Equal (n, one)
        y = If (c) <then_branch = a () => (float[?,?] t) { t = Relu (x) },
                    else_branch = b () => (float[?,?] e) { e = Tanh (x) }> }""",
    "loop": """(float[2] x) => (float[2] y, float[?,2] z) {
        m = Constant <value = int64 {3}> () c = Constant <value = bool {1}> ()
        y, z = Loop (m, c, x) <body = b (int64 i, bool ci, float[2] v)
            => (bool co, float[2] w, float[2] s) {
            co = Identity (ci) one = Constant <value_float = 1.0> ()
            w = Add (v, one) s = Mul (w, x) }> }""",
    "loop-once": """(float[2] x) => (float[2] y) {
        m = Constant <value = int64 {1}> ()
        y = Loop (m, , x) <body = b (int64 i, bool ci, float[2] v) => (bool co, float[2] w) {
            co = Identity (ci) a = Relu (v) w = Relu (a) }> }""",
    "scan": """(float[2] a, float[3,2] x) => (float[2] b, float[3,2] y) {
        b, y = Scan <num_scan_inputs = 1, body = g (float[2] p, float[2] q)
            => (float[2] r, float[2] s) { r = Add (p, q) s = Mul (r, q) }> (a, x) }""",
    "shared-weights": """(float[1,3,5,5] x) => (float[?,?,?,?] y, float[?,?,?,?] z)
        <float[3,3,1,1] w = {1,0,0,0,2,0,0,0,3}, float[3,1,1] s = {1,2,3}> {
        a = Conv (x, w) y = Mul (a, s) b = Conv (x, w) z = Add (b, s) }""",
    "conv-bn-relu": """(float[N,2,5,5] x) => (float[?,?,?,?] y)
        <float[2,2,3,3] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,
                             1,0,3,0,5,0,7,0,9,0,2,0,4,0,6,0,8,0},
         float[2] g = {1,2}, float[2] b = {0.5,-1}, float[2] m = {0,1}, float[2] v = {1,2}> {
        a = Conv <pads = [1,1,1,1]> (x, w) n = BatchNormalization (a, g, b, m, v) y = Relu (n) }""",
    "gemm-scale": """(float[2,3] x) => (float[2,2] y)
        <float[3,2] w = {1,2,3,4,5,6}, float[2] b = {1,-1}, float[2] s = {2,0.5}> {
        a = Gemm (x, w, b) y = Mul (a, s) }""",
    "matmul-add": """(float[B,2,3] x) => (float[B,2,2] y)
        <float[3,2] w = {1,2,3,4,5,6}, float[2] b = {1,-1}> {
        a = MatMul (x, w) c = Add (b, a) y = Relu (c) }""",
    "transposes": """(float[2,3,4,5] x) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,2,3,1]> (x) b = Relu (a) y = Transpose <perm = [0,3,1,2]> (b) }""",
    "reshapes": """(float[2,3,4] x) => (float[?,?,?] y)
        <int64[2] s = {0, -1}, int64[3] t = {2, -1, 4}> {
        a = Reshape (x, s) b = Relu (a) c = Reshape (b, t) y = Reshape (c, t) }""",
    "reshape-computed": """(float[N,3,4] x) => (float[?,?] y) {
        s = Shape (x) zero = Constant <value = int64[1] {0}> () n = Gather (s, zero)
        m = Constant <value = int64[1] {-1}> () t = Concat <axis = 0> (n, m) y = Reshape (x, t)
        }""",
    "slices": """(float[4,6] x) => (float[?,?] y)
        <int64[1] a = {0}, int64[1] b = {9223372036854775807}, int64[1] c = {1},
         int64[1] d = {2}, int64[1] e = {5}> {
        p = Slice (x, a, b, c) y = Slice (p, a, e, c, d) }""",
    "split-concat": """(float[2,6] x) => (float[2,6] y) {
        a, b = Split <axis = 1> (x) c = Relu (a) y = Concat <axis = 1> (c, b) }""",
    "squeezes": """(float[2,1,3] x) => (float[2,1,3] y) <int64[1] a = {1}> {
        b = Squeeze (x, a) c = Relu (b) y = Unsqueeze (c, a) }""",
    "casts": """(float[3] x) => (float[3] y) {
        a = Cast <to = 11> (x) b = Cast <to = 1> (a) y = Relu (b) }""",
    "cast-narrow": """(float[3] x) => (float[3] y) {
        a = Cast <to = 7> (x) b = Cast <to = 1> (a) c = Cast <to = 10> (b) y = Cast <to = 1> (c)
        }""",
    "reductions": """(float[2,3,4] x) => (float[?,?,?] y) {
        a = ReduceMean <axes = [2]> (x) b = ReduceMax <axes = [1], keepdims = 1> (a)
        y = Mul (a, b) }""",
    "18 mean-of-plane": """(float[N,2,4,4] x) => (float[?,?,?,?] y)
        <int64[2] axes = {2,3}, float[2,2,1,1] w = {1,2,3,4}> {
        a = Conv (x, w) y = ReduceMean (a, axes) }""",
    "mean-of-plane-12": """(float[N,2,4,4] x) => (float[?,?,?,?] y) <float[2,2,1,1] w = {1,2,3,4}> {
        a = Conv (x, w) y = ReduceMean <axes = [-1,-2]> (a) }""",
    "layer-norm": """(float[2,3,4] x) => (float[2,3,4] y)
        <float[4] g = {1,2,3,4}, float[4] b = {0,1,0,1}, float e = {0.00001}, float two = {2}> {
        m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Pow (d, two)
        v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w) n = Div (d, s)
        q = Mul (n, g) y = Add (q, b) }""",
    "gelu": """(float[2,4] x) => (float[2,4] y)
        <float r = {1.41421356}, float one = {1}, float half = {0.5}> {
        a = Div (x, r) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half) }""",
    "20 gelu-tanh": """(float[2,4] x) => (float[2,4] y)
        <float k = {0.044715}, float r = {0.79788456}, float one = {1}, float half = {0.5},
         float three = {3}> {
        a = Pow (x, three) b = Mul (a, k) c = Add (x, b) d = Mul (c, r) e = Tanh (d)
        f = Add (e, one) g = Mul (x, f) y = Mul (g, half) }""",
    "softmax-attention": """(float[2,3,4] q, float[2,3,4] k, float[2,3,4] v) => (float[2,3,4] y)
        <float s = {0.5}> {
        t = Transpose <perm = [0,2,1]> (k) a = MatMul (q, t) b = Mul (a, s)
        p = Softmax <axis = -1> (b) y = MatMul (p, v) }""",
    "clips": """(float[3] x) => (float[3] y) <float zero = {0}, float six = {6}, float one = {1}> {
        a = Clip (x, zero, six) b = Clip (a, , one) c = Relu (b) y = Max (c, zero) }""",
    "hard-swish": """(float[4] x) => (float[4] y)
        <float three = {3}, float six = {6}, float zero = {0}> {
        a = Add (x, three) b = Clip (a, zero, six) c = Div (b, six) y = Mul (x, c) }""",
    "swish": """(float[4] x) => (float[4] y) { a = Sigmoid (x) y = Mul (x, a) }""",
    "pad-conv": """(float[1,1,4,4] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}, float z = {0}, float[1,1,2,2] w = {1,2,3,4}> {
        a = Pad (x, p, z) y = Conv (a, w) }""",
    "pad-pool": """(float[1,1,4,4] x) => (float[?,?,?,?] y) <int64[8] p = {0,0,1,1,0,0,1,1}> {
        a = Pad (x, p) b = MaxPool <kernel_shape = [2,2]> (a)
        y = AveragePool <kernel_shape = [2,2], pads = [1,1,0,0], count_include_pad = 1> (b) }""",
    "transposed-conv": """(float[1,2,3,3] x) => (float[?,?,?,?] y)
        <float[2,2,2,2] w = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}, float[2,1,1] s = {2,3}> {
        a = ConvTranspose <strides = [2,2]> (x, w) y = Mul (a, s) }""",
    "quantized": """(float[1,2,3,3] x) => (float[?,?,?,?] y)
        <float s = {0.1}, int8 z = {0}, int8[2,2,1,1] w = {1,-2,3,-4}, float[2] ws = {0.1,0.2},
         int8[2] wz = {0,0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
        e = DequantizeLinear <axis = 0> (w, ws, wz) c = Conv (d, e) r = Relu (c)
        p = QuantizeLinear (r, s, z) y = DequantizeLinear (p, s, z) }""",
    "quantized-matmul": """(float[2,3] x) => (float[?,?] y)
        <float s = {0.1}, uint8 z = {128}, int8[3,2] w = {1,-2,3,-4,5,6}, float ws = {0.1}, int8 wz
        = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
        t = Transpose (w) u = Transpose (t) e = DequantizeLinear (u, ws, wz) y = MatMul (d, e) }""",
    "dynamic-quantized": """(float[2,3] x) => (float[2,3] y) {
        q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z) }""",
    "quantized-integers": """(uint8[2,3] x) => (int32[2,2] y) <uint8[3,2] w = {1,2,3,4,5,6}, uint8
        z = {1}> {
        y = MatMulInteger (x, w, z, z) }""",
    "strings": """(string[2,2] x) => (string[4] y) <int64[1] s = {-1}> {
        a = Identity (x) b = Reshape (a, s) y = Identity (b) }""",
    "strings-where": """(string[2] x, bool[2] c) => (string[?] y) <string[2] k = {"a","b"}> {
        a = Where (c, x, k) y = Concat <axis = 0> (a, k) }""",
    "sequence": """(float[2] x, float[2] z) => (float[4] y) {
        s = SequenceConstruct (x, z) y = ConcatFromSequence <axis = 0> (s) }""",
    "18 optional": """(float[2] x) => (float[2] y) {
        a = Optional (x) b = OptionalGetElement (a) y = Relu (b) }""",
    "integers": """(int64[3] x) => (int64[3] y) <int64 two = {2}, int64 one = {1}, int64 zero =
        {0}> {
        a = Mul (x, one) b = Add (a, zero) c = Div (b, two) d = Mod (c, two) e = Mul (d, two)
        y = Sub (e, c) }""",
    "integers-32": """(int32[2,3] x) => (int32[?,?] y) <int32[3] s = {1,2,3}> {
        a = Add (x, s) b = Add (a, s) c = ReduceSum <keepdims = 1> (b) y = Mul (c, s) }""",
    "booleans": """(bool[3] x, bool[3] z) => (bool[3] y) {
        a = Not (x) b = Not (a) c = And (b, z) d = Or (c, b) e = Not (d) y = Xor (e, z) }""",
    "wheres": """(float[2,3] x, bool[2,3] c) => (float[2,3] y) <float k = {1}> {
        n = Not (c) a = Where (n, x, k) y = Where (c, a, x) }""",
    "expands": """(float[1,3] x, float[2,3] z) => (float[?,?] y) <int64[2] s = {2,3}> {
        a = Expand (x, s) b = Add (a, z) c = Expand (b, s) y = Tile (c, s) }""",
    "gathers": """(float[3,4] x, int64[2] i) => (float[?,?] y) <int64 k = {-1}, int64[2] j = {0,2}>
        {
        a = Gather <axis = 0> (x, j) b = Gather <axis = 0> (x, i) c = Add (a, b)
        d = Gather <axis = 1> (c, k) e = Constant <value = int64[1] {1}> () y = Unsqueeze (d, e)
        }""",
    "topk": """(float[2,4] x) => (float[?,?] y, int64[?,?] i) <int64[1] k = {2}> {
        y, i = TopK <axis = -1> (x, k) }""",
    "nonzero": """(float[2,3] x) => (int64[?,?] y) <float[2] k = {1,0}> {
        a = NonZero (x) b = NonZero (k) y = Concat <axis = 1> (a, a) }""",
    "resize": """(float[1,1,2,2] x) => (float[?,?,?,?] y) <float[4] s = {1,1,2,2}> {
        y = Resize <mode = "nearest"> (x, , s) }""",
    "resize-sizes": """(float[N,1,2,2] x) => (float[?,?,?,?] y) {
        s = Shape <start = 0, end = 2> (x) t = Constant <value = int64[2] {4,4}> ()
        z = Concat <axis = 0> (s, t) y = Resize <mode = "linear"> (x, , , z) }""",
    "einsum": """(float[2,3] x) => (float[2,2] y) <float[3,2] w = {1,2,3,4,5,6}> {
        y = Einsum <equation = "ij,jk->ik"> (x, w) }""",
    "lstm": """(float[2,1,2] x) => (float[?,?,?,?] y)
        <float[1,4,2] w = {1,2,3,4,5,6,7,8}, float[1,4,1] r = {1,2,3,4}, float[1,8] b =
        {1,2,3,4,5,6,7,8},
         float[1,1,1] h = {0}> {
        y = LSTM <hidden_size = 1> (x, w, r, b, , h, h) }""",
    "random": """(float[2,3] x) => (float[2,3] y) { r = RandomNormalLike (x) z = Mul (r, x) y = Sub
        (z, z) }""",
    "dropout": """(float[2,3] x) => (float[2,3] y, bool[2,3] m) {
        a = Dropout (x) y, m = Dropout (a) }""",
    "dropout-training": """(float[2,3] x) => (float[2,3] y) <float r = {0.5}, bool t = {1}> {
        a = Dropout <seed = 1> (x, r, t) y = Relu (a) }""",
    "constants": """() => (float[2] y, int64[1] z) <float[2] k = {1,2}> {
        a = Relu (k) y = Add (a, a) z = Shape (a) w = Size (a) }""",
    "constant-of-shape": """(float[2] x) => (float[2] y) <int64[1] s = {2}> {
        a = ConstantOfShape <value = float[1] {2}> (s) y = Mul (a, x) }""",
    "range": """(float[N] x) => (int64[?] y) {
        s = Shape (x) z = Constant <value = int64 {0}> () n = Squeeze (s)
        one = Constant <value = int64 {1}> () y = Range (z, n, one) }""",
    "onehot": """(int64[2] x) => (float[?,?] y) <int64 d = {3}, float[2] v = {0,1}> { y = OneHot
        (x, d, v) }""",
    "scatter": """(float[3,2] x) => (float[3,2] y) <int64[1,1] i = {1}, float[1,2] u = {5,6}> {
        y = ScatterND (x, i, u) }""",
    "logs": """(float[2,4] x) => (float[?,?] y, float[2,4] z) {
        e = Exp (x) s = ReduceSum <keepdims = 1> (e) y = Log (s)
        p = Softmax <axis = 1> (x) z = Log (p) }""",
    "norms": """(float[2,4] x) => (float[?,?] y, float[?,?] z) <float two = {2}> {
        p = Pow (x, two) s = ReduceSum (p) y = Sqrt (s) a = Abs (x)
        z = ReduceMax <axes = [1]> (a) }""",
    "polynomial": """(float[4] x) => (float[4] y) <float two = {2}, float half = {0.5}, float three
        = {3}> {
        a = Mul (x, x) b = Mul (a, x) c = Pow (x, half) d = Add (b, a) e = Pow (x, three)
        y = Add (d, e) }""",
    "rsqrt": """(float[4] x) => (float[4] y) <float one = {1}> {
        a = Abs (x) b = Add (a, one) c = Sqrt (b) d = Div (one, c) y = Reciprocal (d) }""",
    "twice-the-same": """(float[2,3] x) => (float[2,3] y, float[2,3] z) <float[3] a = {1,2,3},
        float[3] b = {1,2,3}> {
        y = Add (x, a) z = Add (x, b) }""",
    "outputs-alias": """(float[2] x) => (float[2] y, float[2] z, float[2] w) {
        y = Relu (x) z = Identity (y) w = Identity (x) }""",
    "depth-to-space": """(float[1,4,2,2] x) => (float[?,?,?,?] y)
        <int64[6] s = {1,1,2,2,2,2}, int64[4] t = {1,1,4,4}> {
        a = Reshape (x, s) b = Transpose <perm = [0,1,4,2,5,3]> (a) y = Reshape (b, t) }""",
    "channel-shuffle": """(float[N,4,2,2] x) => (float[?,?,?,?] y)
        <int64[5] s = {-1,2,2,2,2}, int64[4] t = {0,4,2,2}> {
        a = Reshape (x, s) b = Transpose <perm = [0,2,1,3,4]> (a) y = Reshape (b, t) }""",
    "mlp": """(float[2,3] x) => (float[2,2] y)
        <float[3,4] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[4] b = {1,2,3,4},
         float[4,2] v = {1,2,3,4,5,6,7,8}> {
        a = MatMul (x, w) c = Add (a, b) d = Relu (c) y = MatMul (d, v) }""",
    "float16": """(float16[2,3] x) => (float16[?,?] y) <float16[3,2] w = {1,2,3,4,5,6}, float16[2]
        s = {1,2}> {
        a = MatMul (x, w) y = Mul (a, s) }""",
    "double": """(double[2,3] x) => (double[?,?] y) <double[3,2] w = {1,2,3,4,5,6}, double[2] s =
        {1,2}> {
        a = MatMul (x, w) b = Mul (a, s) y = Neg (b) }""",
    "9 old": """(float[1,2,3,3] x) => (float[?,?] y)
        <float[2,2,1,1] w = {1,2,3,4}, float[2] g = {1,2}, int64[2] s = {1,-1}> {
        a = Conv (x, w) b = BatchNormalization (a, g, g, g, g) c = Clip <min = 0.0, max = 6.0> (b)
        d = Reshape (c, s) y = Softmax (d) }""",
    "7 oldest": """(float[2,3] x) => (float[?,?] y) <float[3,2] w = {1,2,3,4,5,6}, float[2] b =
        {1,2}> {
        a = Gemm (x, w, b) t = Transpose (a) d = Dropout <ratio = 0.5> (t)
        e = Unsqueeze <axes = [0]> (d) f = Squeeze <axes = [0]> (e) y = LogSoftmax (f) }""",
    "10 slices": """(float[4,4] x) => (float[?,?] y)
        <int64[1] a = {0}, int64[1] b = {2}, int64[1] c = {1}> {
        p = Slice (x, a, b, c) q = Flatten (p) y = Identity (q) }""",
    "12 argmax": """(float[2,4] x) => (int64[?,?] y) { s = Softmax <axis = 1> (x) y = ArgMax <axis
        = 1> (s) }""",
    "23 attention": """(float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v) => (float[1,2,3,4] y)
        {
        y = Attention (q, k, v) }""",
    "22 group-norm": """(float[1,4,2,2] x) => (float[?,?,?,?] y) <float[4] s = {1,2,3,4}, float[4]
        b = {0,0,1,1}> {
        n = GroupNormalization <num_groups = 2> (x, s, b) y = Relu (n) }""",
    "castlike": """(float[2] x) => (float[2] y) <double k = {2}> { a = CastLike (k, x) y = Mul (x,
        a) }""",
    "trilu": """(float[3,3] x) => (float[3,3] y) { a = Trilu (x) b = Trilu <upper = 0> (a) y =
        Identity (b) }""",
    "function": """(float[2,3] x) => (float[2,3] y) { a = own.Scaled (x) b = own.Act <slope = 0.5>
        (a)
        y = own.Scaled (b) }
        <domain: "own", opset_import: ["": 17]> Scaled (v) => (w) {
            k = Constant <value_float = 2.0> () one = Constant <value_float = 1.0> ()
            a = Mul (v, k) w = Mul (a, one) }
        <domain: "own", opset_import: ["": 17]> Act <slope> (v) => (w) {
            a = LeakyRelu <alpha: float = @slope> (v) b = Identity (a) w = Neg (b) }""",
    "function-in-function": """(float[N,3] x) => (float[N,3] y) { y = own.Outer (x) }
        <domain: "own", opset_import: ["": 17, "own": 1]> Outer (v) => (w) {
            a = own.Inner (v) b = Transpose (a) w = Transpose (b) }
        <domain: "own", opset_import: ["": 17]> Inner (v) => (w) { a = Relu (v) w = Relu (a) }""",
    "cumsum": """(float[2,3] x) => (float[2,3] y) <int64 a = {1}> { y = CumSum (x, a) }""",
}


@functools.cache
def parsed(name: str) -> ModelProto:
    """The model of a name."""
    first, _, rest = name.partition(" ")
    opset = int(first) if rest else 12 if name.endswith("-12") else 17
    ir_version = 3 if opset < 9 else 8 if opset < 21 else 10
    own = ', "own": 1' if "own." in WRITTEN[name] else ""
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}{own}]>'
    made = parser.parse_model(f"{header} g {WRITTEN[name]}")
    if ir_version < 4:
        for tensor in made.graph.initializer:
            made.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return made
