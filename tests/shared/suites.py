"""Small models of the kinds that the suites of other optimizers try, written anew.

A graph is a text. Its inputs whose names are capital letters become constants with numbers that are
always the same ones: X is around 0, and those that begin with V are positive, as variances are.
After `@` in a name stands the opset, 17 if there is none.
"""

from __future__ import annotations

import functools

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

#: Products and what stands around them.
PRODUCTS = {
    "conv-bn": """(float[N,3,8,8] x, float[4,3,3,3] W, float[4] G, float[4] B, float[4] M,
        float[4] V) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = BatchNormalization (a, G, B, M, V) }""",
    "conv-bias-bn": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4] C, float[4] G, float[4] B,
        float[4] M, float[4] V) => (float[?,?,?,?] y) {
        a = Conv <pads = [1,1,1,1]> (x, W, C) y = BatchNormalization (a, G, B, M, V) }""",
    "conv-bn-relu": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4] G, float[4] B, float[4] M,
        float[4] V) => (float[?,?,?,?] y) {
        a = Conv <strides = [2,2]> (x, W) b = BatchNormalization (a, G, B, M, V) y = Relu (b) }""",
    "conv-bn-of-two-readers": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4] G, float[4] B,
        float[4] M, float[4] V) => (float[?,?,?,?] y, float[?,?,?,?] z) {
        a = Conv (x, W) y = BatchNormalization (a, G, B, M, V) z = Relu (a) }""",
    "conv-bn-trained@9": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4] G, float[4] B, float[4] M,
        float[4] V) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = BatchNormalization <momentum = 0.5> (a, G, B, M, V) }""",
    "conv-mul": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4,1,1] S) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = Mul (a, S) }""",
    "conv-mul-left": """(float[1,3,8,8] x, float[4,3,3,3] W, float[1,4,1,1] S)
        => (float[?,?,?,?] y) { a = Conv (x, W) y = Mul (S, a) }""",
    "conv-mul-of-widths": """(float[1,3,8,8] x, float[6,3,3,3] W, float[6] S)
        => (float[?,?,?,?] y) { a = Conv (x, W) y = Mul (a, S) }""",
    "conv-mul-of-everything": """(float[1,3,4,4] x, float[2,3,3,3] W, float[1,2,2,2] S)
        => (float[?,?,?,?] y) { a = Conv (x, W) y = Mul (a, S) }""",
    "conv-add": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4,1,1] S) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = Add (a, S) }""",
    "conv-add-mul-relu": """(float[1,3,8,8] x, float[4,3,3,3] W, float[4,1,1] S, float[4,1,1] T)
        => (float[?,?,?,?] y) { a = Conv (x, W) b = Add (a, S) c = Mul (b, T) y = Relu (c) }""",
    "conv-add-of-batch": """(float[1,3,4,4] x, float[4,3,3,3] W, float[2,4,1,1] S)
        => (float[?,?,?,?] y) { a = Conv (x, W) y = Add (a, S) }""",
    "conv-sub-div": """(float[1,3,8,8] x, float[4,3,1,1] W, float[4,1,1] S, float[1] V)
        => (float[?,?,?,?] y) { a = Conv (x, W) b = Sub (a, S) y = Div (b, V) }""",
    "conv-grouped": """(float[1,4,5,5] x, float[4,2,3,3] W, float[4,1,1] S)
        => (float[?,?,?,?] y) { a = Conv <group = 2> (x, W) y = Mul (a, S) }""",
    "conv-depthwise": """(float[1,4,5,5] x, float[4,1,3,3] W, float[4] G, float[4] B, float[4] M,
        float[4] V) => (float[?,?,?,?] y) {
        a = Conv <group = 4> (x, W) y = BatchNormalization (a, G, B, M, V) }""",
    "conv-1d": """(float[1,3,8] x, float[4,3,3] W, float[4,1] S) => (float[?,?,?] y) {
        a = Conv (x, W) b = Mul (a, S) y = Add (b, S) }""",
    "conv-3d": """(float[1,2,4,4,4] x, float[3,2,2,2,2] W, float[3,1,1,1] S)
        => (float[?,?,?,?,?] y) { a = Conv (x, W) y = Mul (a, S) }""",
    "conv-clip@11": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y) <float l = {0},
        float h = {6}> { a = Conv (x, W) y = Clip (a, l, h) }""",
    "conv-leaky": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = LeakyRelu <alpha = 0.2> (a) }""",
    "conv-sigmoid-mul": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y) {
        a = Conv (x, W) b = Sigmoid (a) y = Mul (a, b) }""",
    "conv-hard-swish@13": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y)
        <float three = {3}, float zero = {0}, float six = {6}> {
        a = Conv (x, W) b = Add (a, three) c = Clip (b, zero, six) d = Mul (a, c)
        y = Div (d, six) }""",
    "conv-residual": """(float[1,3,5,5] x, float[3,3,3,3] W) => (float[?,?,?,?] y) {
        a = Conv <pads = [1,1,1,1]> (x, W) b = Add (a, x) y = Relu (b) }""",
    "conv-weights-computed": """(float[1,3,5,5] x, float[3,3,3,4] W) => (float[?,?,?,?] y) {
        t = Transpose <perm = [3,0,1,2]> (W) a = Conv (x, t) y = Relu (a) }""",
    "conv-weights-of-an-input": """(float[1,3,5,5] x, float[4,3,3,3] w, float[4,1,1] S)
        => (float[?,?,?,?] y) { a = Conv (x, w) y = Mul (a, S) }""",
    "conv-twice": """(float[1,3,7,7] x, float[4,3,3,3] W, float[2,4,3,3] WW, float[4] G, float[4] B,
        float[4] M, float[4] V) => (float[?,?,?,?] y) {
        a = Conv (x, W) b = BatchNormalization (a, G, B, M, V) c = Relu (b) y = Conv (c, WW) }""",
    "conv-transposed-bn": """(float[1,3,4,4] x, float[3,4,3,3] W, float[4] G, float[4] B, float[4]
        M,
        float[4] V) => (float[?,?,?,?] y) {
        a = ConvTranspose <strides = [2,2]> (x, W) y = BatchNormalization (a, G, B, M, V) }""",
    "conv-transposed-grouped": """(float[1,4,4,4] x, float[4,2,3,3] W, float[4,1,1] S)
        => (float[?,?,?,?] y) { a = ConvTranspose <group = 2> (x, W) y = Mul (a, S) }""",
    "bn-conv": """(float[1,3,5,5] x, float[4,3,3,3] W, float[3] G, float[3] B, float[3] M,
        float[3] V) => (float[?,?,?,?] y) {
        a = BatchNormalization (x, G, B, M, V) y = Conv (a, W) }""",
    "bn-conv-padded": """(float[1,3,5,5] x, float[4,3,3,3] W, float[3] G, float[3] B, float[3] M,
        float[3] V) => (float[?,?,?,?] y) {
        a = BatchNormalization (x, G, B, M, V) y = Conv <pads = [1,1,1,1]> (a, W) }""",
    "pad-conv@13": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}, float z = {0}> { a = Pad (x, p, z) y = Conv (a, W) }""",
    "pad-conv@9": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y) {
        a = Pad <pads = [0,0,1,1,0,0,1,1]> (x) y = Conv (a, W) }""",
    "pad-conv-of-ones@13": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}, float z = {1}> { a = Pad (x, p, z) y = Conv (a, W) }""",
    "pad-conv-reflected@13": """(float[1,3,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}> {
        a = Pad <mode = "reflect"> (x, p) y = Conv (a, W) }""",
    "pad-conv-of-channels@13": """(float[1,2,5,5] x, float[4,3,3,3] W) => (float[?,?,?,?] y)
        <int64[8] p = {0,1,1,1,0,0,1,1}> { a = Pad (x, p) y = Conv (a, W) }""",
    "pad-max-pool@13": """(float[1,2,5,5] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}> {
        n = Neg (x) a = Pad (n, p) y = MaxPool <kernel_shape = [3,3]> (a) }""",
    "pad-average-pool@13": """(float[1,2,5,5] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}> {
        a = Pad (x, p) y = AveragePool <kernel_shape = [3,3]> (a) }""",
    "pad-of-nothing@13": """(float[1,2,5,5] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,0,0,0,0,0,0}> { a = Pad (x, p) y = Relu (a) }""",
    "pad-pad@13": """(float[1,2,5,5] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}, int64[8] q = {0,0,0,1,0,0,2,0}> {
        a = Pad (x, p) y = Pad (a, q) }""",
    "matmul-add": """(float[N,3] x, float[3,4] W, float[4] B) => (float[?,?] y) {
        a = MatMul (x, W) y = Add (a, B) }""",
    "matmul-add-left": """(float[N,3] x, float[3,4] W, float[4] B) => (float[?,?] y) {
        a = MatMul (x, W) y = Add (B, a) }""",
    "matmul-add-of-rank-3": """(float[2,5,3] x, float[3,4] W, float[4] B) => (float[?,?,?] y) {
        a = MatMul (x, W) b = Add (a, B) y = Relu (b) }""",
    "matmul-add-of-rows": """(float[5,3] x, float[3,4] W, float[5,1] B) => (float[?,?] y) {
        a = MatMul (x, W) y = Add (a, B) }""",
    "matmul-add-that-widens": """(float[1,3] x, float[3,4] W, float[5,4] B) => (float[?,?] y) {
        a = MatMul (x, W) y = Add (a, B) }""",
    "matmul-mul": """(float[2,5,3] x, float[3,4] W, float[4] S) => (float[?,?,?] y) {
        a = MatMul (x, W) y = Mul (a, S) }""",
    "matmul-bn": """(float[N,3] x, float[3,4] W, float[4] G, float[4] B, float[4] M, float[4] V)
        => (float[?,?] y) { a = MatMul (x, W) y = BatchNormalization (a, G, B, M, V) }""",
    "matmul-transposed": """(float[3,2] x, float[4,3] W) => (float[?,?] y) {
        a = Transpose (x) b = Transpose (W) y = MatMul (a, b) }""",
    "matmul-of-two": """(float[2,3] x, float[3,4] z) => (float[?,?] y) {
        a = Transpose (x) b = Transpose (a) y = MatMul (b, z) }""",
    "matmul-scaled": """(float[2,3] x, float[3,4] z) => (float[?,?] y) <float s = {0.5}> {
        a = Mul (x, s) b = Mul (z, s) c = MatMul (a, b) y = Div (c, s) }""",
    "matmul-of-integers@10": """(int32[2,3] x, int32[3,4] W, int32[4] B) => (int32[?,?] y) {
        a = MatMul (x, W) y = Add (a, B) }""",
    "gemm-relu": """(float[2,3] x, float[3,4] W, float[4] B) => (float[?,?] y) {
        a = Gemm (x, W, B) y = Relu (a) }""",
    "gemm-add": """(float[2,3] x, float[3,4] W, float[4] B, float[4] C) => (float[?,?] y) {
        a = Gemm (x, W, B) y = Add (a, C) }""",
    "gemm-sum": """(float[2,3] x, float[3,4] W, float[2,4] z) => (float[?,?] y) {
        a = Gemm (x, W) y = Sum (a, z) }""",
    "gemm-of-transposes": """(float[3,2] x, float[4,3] W, float[4] B) => (float[?,?] y) {
        a = Transpose (x) b = Transpose (W) y = Gemm (a, b, B) }""",
    "gemm-transposes-again": """(float[3,2] x, float[4,3] W, float[1,4] B) => (float[?,?] y) {
        a = Transpose (x) b = Transpose (W)
        y = Gemm <transA = 0, transB = 0, alpha = 0.5, beta = 2.0> (a, b, B) }""",
    "gemm-beta-0": """(float[2,3] x, float[3,4] W, float[4] B, float[4] S) => (float[?,?] y) {
        a = Gemm <beta = 0.0> (x, W, B) y = Mul (a, S) }""",
    "gemm-bn": """(float[2,3] x, float[3,4] W, float[4] C, float[4] G, float[4] B, float[4] M,
        float[4] V) => (float[?,?] y) {
        a = Gemm (x, W, C) y = BatchNormalization (a, G, B, M, V) }""",
    "gemm-gemm": """(float[2,3] x, float[3,4] W, float[4] B, float[4,2] WW, float[2] C)
        => (float[?,?] y) { a = Gemm (x, W, B) y = Gemm (a, WW, C) }""",
    "reshape-gemm-reshape": """(float[2,3,4] x, float[4,5] W, float[5] B) => (float[?,?,?] y)
        <int64[2] s = {-1,4}, int64[3] t = {2,3,5}> {
        a = Reshape (x, s) b = Gemm (a, W, B) y = Reshape (b, t) }""",
    "scale-matmul": """(float[2,3] x, float[3] S, float[3,4] W) => (float[?,?] y) {
        a = Mul (x, S) y = MatMul (a, W) }""",
    "shift-matmul": """(float[2,3] x, float[3] S, float[3,4] W) => (float[?,?] y) {
        a = Add (x, S) y = MatMul (a, W) }""",
    "three-products-of-one": """(float[1,3,4] x, float[4,4] W, float[4,4] WW, float[4,4] WWW)
        => (float[?,?,?] y) {
        q = MatMul (x, W) k = MatMul (x, WW) v = MatMul (x, WWW) a = Add (q, k)
        y = Mul (a, v) }""",
    "mean-of-plane@13": """(float[1,3,8,8] x, float[4,3,3,3] W) => (float[?,?,?,?] y) {
        a = Conv (x, W) y = ReduceMean <axes = [2,3]> (a) }""",
    "mean-flattened@13": """(float[N,3,8,8] x, float[4,3,3,3] W, float[4,2] WW)
        => (float[?,?] y) {
        a = Conv (x, W) b = GlobalAveragePool (a) c = Flatten (b) y = MatMul (c, WW) }""",
}

#: Normalizations, activations and attention spelled out.
SPELLED = {
    "layer-norm@13": """(float[2,3,4] x, float[4] G, float[4] B) => (float[?,?,?] y)
        <float two = {2}, float e = {0.00001}> {
        m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Pow (d, two)
        v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w) n = Div (d, s)
        g = Mul (n, G) y = Add (g, B) }""",
    "layer-norm@18": """(float[2,3,4] x, float[4] G, float[4] B) => (float[?,?,?] y)
        <int64[1] k = {-1}, float e = {0.00001}> {
        m = ReduceMean (x, k) d = Sub (x, m) p = Mul (d, d)
        v = ReduceMean (p, k) w = Add (v, e) s = Sqrt (w) n = Div (d, s)
        g = Mul (n, G) y = Add (g, B) }""",
    "layer-norm-twice-subtracted@13": """(float[2,3,4] x, float[4] G, float[4] B)
        => (float[?,?,?] y) <float two = {2}, float e = {0.00001}> {
        m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) dd = Sub (x, m) p = Pow (d, two)
        v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w) n = Div (dd, s)
        g = Mul (G, n) y = Add (B, g) }""",
    "layer-norm-cast@13": """(float16[2,3,4] x, float[4] G, float[4] B) => (float16[?,?,?] y)
        <float two = {2}, float e = {0.00001}> {
        x32 = Cast <to = 1> (x) m = ReduceMean <axes = [-1]> (x32) d = Sub (x32, m)
        p = Pow (d, two) v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w)
        n = Div (d, s) g = Mul (n, G) b = Add (g, B) y = Cast <to = 10> (b) }""",
    "layer-norm-of-two-axes@13": """(float[2,3,4] x, float[3,4] G, float[3,4] B)
        => (float[?,?,?] y) <float two = {2}, float e = {0.00001}> {
        m = ReduceMean <axes = [1,2]> (x) d = Sub (x, m) p = Pow (d, two)
        v = ReduceMean <axes = [1,2]> (p) w = Add (v, e) s = Sqrt (w) n = Div (d, s)
        g = Mul (n, G) y = Add (g, B) }""",
    "layer-norm-of-an-inner-axis@13": """(float[2,3,4] x, float[4] G, float[4] B)
        => (float[?,?,?] y) <float two = {2}, float e = {0.00001}> {
        m = ReduceMean <axes = [1]> (x) d = Sub (x, m) p = Pow (d, two)
        v = ReduceMean <axes = [1]> (p) w = Add (v, e) s = Sqrt (w) n = Div (d, s)
        g = Mul (n, G) y = Add (g, B) }""",
    "skip-layer-norm": """(float[2,3,4] x, float[2,3,4] z, float[4] G, float[4] B)
        => (float[?,?,?] y) {
        a = Add (x, z) y = LayerNormalization <axis = -1> (a, G, B) }""",
    "rms-norm@13": """(float[2,3,4] x, float[4] G) => (float[?,?,?] y)
        <float two = {2}, float e = {0.00001}> {
        p = Pow (x, two) v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w)
        n = Div (x, s) y = Mul (n, G) }""",
    "rms-norm-by-reciprocal@13": """(float[2,3,4] x, float[4] G) => (float[?,?,?] y)
        <float two = {2}, float e = {0.00001}, float one = {1}> {
        p = Pow (x, two) v = ReduceMean <axes = [-1]> (p) w = Add (v, e) s = Sqrt (w)
        r = Div (one, s) n = Mul (x, r) y = Mul (G, n) }""",
    "instance-norm": """(float[2,3,4,4] x, float[3] G, float[3] B) => (float[?,?,?,?] y) {
        a = InstanceNormalization (x, G, B) y = Relu (a) }""",
    "group-norm-spelled": """(float[2,4,3,3] x, float[2] G, float[2] B, float[4,1,1] S)
        => (float[?,?,?,?] y) <int64[3] s = {0,2,-1}, int64[4] t = {2,4,3,3}> {
        a = Reshape (x, s) b = InstanceNormalization (a, G, B) c = Reshape (b, t)
        d = Mul (c, S) y = Add (d, S) }""",
    "gelu": """(float[2,4] x) => (float[?,?] y) <float r = {1.4142135}, float one = {1},
        float half = {0.5}> {
        a = Div (x, r) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half) }""",
    "gelu-half-first": """(float[2,4] x) => (float[?,?] y) <float r = {0.70710677}, float one = {1},
        float half = {0.5}> {
        h = Mul (x, half) a = Mul (x, r) b = Erf (a) c = Add (one, b) y = Mul (h, c) }""",
    "gelu-of-bias": """(float[2,4] x, float[4] B) => (float[?,?] y) <float r = {1.4142135},
        float one = {1}, float half = {0.5}> {
        z = Add (x, B) a = Div (z, r) b = Erf (a) c = Add (b, one) d = Mul (z, c)
        y = Mul (d, half) }""",
    "gelu-tanh": """(float[2,4] x) => (float[?,?] y) <float k = {0.044715}, float r = {0.7978845},
        float one = {1}, float half = {0.5}> {
        p = Mul (x, x) q = Mul (p, x) a = Mul (q, k) b = Add (x, a) c = Mul (b, r) d = Tanh (c)
        e = Add (d, one) f = Mul (x, half) y = Mul (f, e) }""",
    "gelu-fast": """(float[2,4] x) => (float[?,?] y) <float k = {1.702}> {
        a = Mul (x, k) b = Sigmoid (a) y = Mul (x, b) }""",
    "gelu-at-20@20": """(float[2,4] x, float[4] B) => (float[?,?] y) {
        a = Add (x, B) y = Gelu <approximate = "tanh"> (a) }""",
    "swish": """(float[2,4] x) => (float[?,?] y) { a = Sigmoid (x) y = Mul (a, x) }""",
    "mish": """(float[2,4] x) => (float[?,?] y) {
        a = Softplus (x) b = Tanh (a) y = Mul (x, b) }""",
    "hard-sigmoid": """(float[2,4] x) => (float[?,?] y) <float three = {3}, float zero = {0},
        float six = {6}> {
        a = Add (x, three) b = Clip (a, zero, six) y = Div (b, six) }""",
    "relu-clip@11": """(float[2,4] x) => (float[?,?] y) <float l = {-1}, float h = {6}> {
        a = Relu (x) y = Clip (a, l, h) }""",
    "relu-relu": """(float[2,4] x) => (float[?,?] y) { a = Relu (x) b = Relu (a) y = Relu (b) }""",
    "clip-clip@6": """(float[2,4] x) => (float[?,?] y) {
        a = Clip <min = 0.0, max = 6.0> (x) y = Clip <min = 1.0> (a) }""",
    "clip-of-disjoint-ranges@11": """(float[2,4] x) => (float[?,?] y) <float a = {0}, float b = {1},
        float c = {2}, float d = {3}> { p = Clip (x, a, b) y = Clip (p, c, d) }""",
    "min-max": """(float[2,4] x) => (float[?,?] y) <float a = {-1}, float b = {1}> {
        p = Max (x, a) y = Min (p, b) }""",
    "softmax-spelled@13": """(float[2,4] x) => (float[?,?] y) {
        m = ReduceMax <axes = [-1]> (x) d = Sub (x, m) e = Exp (d) k = Constant
        <value = int64[1] {-1}> () s = ReduceSum (e, k) y = Div (e, s) }""",
    "log-softmax": """(float[2,4] x) => (float[?,?] y) {
        s = Softmax <axis = -1> (x) y = Log (s) }""",
    "softmax-12@11": """(float[2,3,4] x) => (float[?,?,?] y) {
        a = Softmax (x) y = LogSoftmax <axis = 2> (a) }""",
    "attention@13": """(float[1,3,8] x, float[8,8] W, float[8,8] WW, float[8,8] WWW, float[8] B)
        => (float[?,?,?] y)
        <int64[4] s = {0,0,2,4}, int64[3] t = {0,0,8}, float r = {2}> {
        q0 = MatMul (x, W) q1 = Add (q0, B) q2 = Reshape (q1, s)
        q = Transpose <perm = [0,2,1,3]> (q2)
        k0 = MatMul (x, WW) k1 = Add (k0, B) k2 = Reshape (k1, s)
        k = Transpose <perm = [0,2,3,1]> (k2)
        v0 = MatMul (x, WWW) v1 = Add (v0, B) v2 = Reshape (v1, s)
        v = Transpose <perm = [0,2,1,3]> (v2)
        a = MatMul (q, k) b = Div (a, r) p = Softmax <axis = -1> (b) o = MatMul (p, v)
        o2 = Transpose <perm = [0,2,1,3]> (o) y = Reshape (o2, t) }""",
    "attention-masked@13": """(float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v,
        float[1,1,3,3] m) => (float[?,?,?,?] y) <float r = {0.5}> {
        t = Transpose <perm = [0,1,3,2]> (k) a = MatMul (q, t) b = Mul (a, r) c = Add (b, m)
        p = Softmax <axis = -1> (c) y = MatMul (p, v) }""",
    "attention-where@13": """(float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v,
        bool[1,1,3,3] m) => (float[?,?,?,?] y) <float low = {-10000}> {
        t = Transpose <perm = [0,1,3,2]> (k) a = MatMul (q, t) c = Where (m, a, low)
        p = Softmax <axis = -1> (c) y = MatMul (p, v) }""",
    "embed": """(int64[1,3] i, float[7,4] W, float[3,4] P, float[4] G, float[4] B)
        => (float[?,?,?] y) {
        a = Gather (W, i) b = Add (a, P) y = LayerNormalization <axis = -1> (b, G, B) }""",
    "l2-norm@13": """(float[2,4] x) => (float[?,?] y) <float e = {1e-12}> {
        n = ReduceL2 <axes = [1]> (x) m = Clip (n, e) y = Div (x, m) }""",
    "log-sum-exp@11": """(float[2,4] x) => (float[?,?] y) {
        e = Exp (x) s = ReduceSum <axes = [1]> (e) y = Log (s) }""",
    "variance@13": """(float[2,4] x) => (float[?,?] y) {
        m = ReduceMean <axes = [1]> (x) d = Sub (x, m) p = Mul (d, d)
        v = ReduceMean <axes = [1]> (p) y = Sqrt (v) }""",
    "not-where": """(bool[2,3] c, float[2,3] x) => (float[?,?] y) <float z = {0}> {
        n = Not (c) y = Where (n, x, z) }""",
    "not-not": """(bool[2,3] c) => (bool[?,?] y) { a = Not (c) b = Not (a) y = Not (b) }""",
    "div-mul": """(float[2,3] x, float[2,3] z) => (float[?,?] y) <float one = {1}> {
        a = Div (one, x) y = Mul (a, z) }""",
    "pow-of-two": """(float[2,3] x) => (float[?,?] y) <float two = {2}, float one = {1}> {
        a = Pow (x, two) b = Pow (a, one) y = Sqrt (b) }""",
    "pow-of-integers": """(int64[2,3] x) => (int64[?,?] y) <float two = {2}> { y = Pow (x, two)
        }""",
    "sum-of-three": """(float[2,3] x, float[2,3] z, float[3] B) => (float[?,?] y) {
        a = Add (x, z) b = Add (a, B) y = Sum (b, x, z) }""",
    "add-of-constants": """(float[2,3] x, float[3] A, float[3] B) => (float[?,?] y) {
        a = Add (x, A) y = Add (a, B) }""",
    "mul-of-constants": """(float[2,3] x, float[3] A, float[3] B) => (float[?,?] y) {
        a = Mul (A, x) y = Mul (B, a) }""",
}

#: Movements: transposes, reshapes, slices, and those that cancel.
MOVED = {
    "transpose-transpose": """(float[2,3,4] x) => (float[?,?,?] y) {
        a = Transpose <perm = [1,2,0]> (x) y = Transpose <perm = [2,0,1]> (a) }""",
    "transpose-merged": """(float[2,3,4] x) => (float[?,?,?] y) {
        a = Transpose <perm = [1,2,0]> (x) y = Transpose <perm = [1,2,0]> (a) }""",
    "transpose-of-nothing": """(float[2,3,4] x) => (float[?,?,?] y) {
        a = Transpose <perm = [0,1,2]> (x) y = Relu (a) }""",
    "transpose-of-ones": """(float[1,3,1,4] x) => (float[?,?,?,?] y) {
        y = Transpose <perm = [0,2,1,3]> (x) }""",
    "nhwc-relu": """(float[1,4,4,3] x) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Relu (a) y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-conv": """(float[1,5,5,3] x, float[4,3,3,3] W, float[4] B) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Conv (a, W, B)
        c = Transpose <perm = [0,2,3,1]> (b) d = Relu (c) e = Transpose <perm = [0,3,1,2]> (d)
        f = MaxPool <kernel_shape = [2,2]> (e) y = Transpose <perm = [0,2,3,1]> (f) }""",
    "nhwc-add": """(float[1,4,4,3] x, float[1,4,4,3] z) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Transpose <perm = [0,3,1,2]> (z) c = Add (a, b)
        y = Transpose <perm = [0,2,3,1]> (c) }""",
    "nhwc-add-constant": """(float[1,4,4,3] x, float[3,1,1] B) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Add (a, B)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-concat": """(float[1,4,4,3] x, float[1,4,4,2] z) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Transpose <perm = [0,3,1,2]> (z)
        c = Concat <axis = 1> (a, b) y = Transpose <perm = [0,2,3,1]> (c) }""",
    "nhwc-split": """(float[1,4,4,4] x) => (float[?,?,?,?] y, float[?,?,?,?] z) {
        a = Transpose <perm = [0,3,1,2]> (x) b, c = Split <axis = 1> (a)
        y = Transpose <perm = [0,2,3,1]> (b) z = Transpose <perm = [0,2,3,1]> (c) }""",
    "nhwc-mean@13": """(float[1,4,4,3] x) => (float[?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) y = ReduceMean <axes = [2,3], keepdims = 0> (a) }""",
    "nhwc-pad@13": """(float[1,4,4,3] x) => (float[?,?,?,?] y)
        <int64[8] p = {0,0,1,1,0,0,1,1}> {
        a = Transpose <perm = [0,3,1,2]> (x) b = Pad (a, p)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-squeeze": """(float[1,1,4,3] x) => (float[?,?,?] y) <int64[1] k = {2}> {
        a = Transpose <perm = [0,3,1,2]> (x) y = Squeeze (a, k) }""",
    "nhwc-unsqueeze": """(float[2,3,4] x) => (float[?,?,?,?] y) <int64[1] k = {1}> {
        a = Transpose <perm = [0,2,1]> (x) b = Unsqueeze (a, k)
        y = Transpose <perm = [0,1,3,2]> (b) }""",
    "nhwc-softmax@13": """(float[1,4,4,3] x) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Softmax <axis = 1> (a)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-shape@13": """(float[N,4,4,3] x) => (int64[?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) y = Shape (a) }""",
    "nhwc-gather": """(float[1,4,4,3] x, int64[2] i) => (float[?,?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Gather <axis = 1> (a, i)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-slice@13": """(float[1,4,4,3] x) => (float[?,?,?,?] y) <int64[1] s = {1},
        int64[1] e = {3}, int64[1] k = {2}> {
        a = Transpose <perm = [0,3,1,2]> (x) b = Slice (a, s, e, k)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-resize@13": """(float[1,4,4,3] x) => (float[?,?,?,?] y) <float[4] s = {1,1,2,2}> {
        a = Transpose <perm = [0,3,1,2]> (x) b = Resize <mode = "nearest"> (a, , s)
        y = Transpose <perm = [0,2,3,1]> (b) }""",
    "nhwc-argmax@13": """(float[1,4,4,3] x) => (int64[?,?,?] y) {
        a = Transpose <perm = [0,3,1,2]> (x) y = ArgMax <axis = 1, keepdims = 0> (a) }""",
    "nhwc-of-two-readers": """(float[1,4,4,3] x) => (float[?,?,?,?] y, float[?,?,?,?] z) {
        a = Transpose <perm = [0,3,1,2]> (x) b = Relu (a) y = Transpose <perm = [0,2,3,1]> (b)
        z = Neg (a) }""",
    "reshape-reshape": """(float[2,3,4] x) => (float[?,?] y)
        <int64[2] s = {6,4}, int64[2] t = {3,8}> { a = Reshape (x, s) y = Reshape (a, t) }""",
    "reshape-reshape-open": """(float[N,3,4] x) => (float[?,?,?] y)
        <int64[2] s = {0,-1}, int64[3] t = {0,3,4}> { a = Reshape (x, s) y = Reshape (a, t) }""",
    "reshape-to-itself": """(float[2,3] x) => (float[?,?] y) <int64[2] s = {2,3}> {
        a = Reshape (x, s) y = Relu (a) }""",
    "reshape-computed@13": """(float[N,L,4] x) => (float[?,?,?,?] y)
        <int64[1] two = {2}, int64 zero = {0}, int64 one = {1}, int64[1] k = {0}> {
        s = Shape (x) n0 = Gather (s, zero) n = Unsqueeze (n0, k)
        t = Shape (x) l0 = Gather (t, one) l = Unsqueeze (l0, k)
        r = Concat <axis = 0> (n, l, two, two) y = Reshape (x, r) }""",
    "reshape-computed-from-another@13": """(float[N,4] x, float[N,2] z) => (float[?,?,?] y)
        <int64[2] two = {2,2}, int64[1] zero = {0}> {
        s = Shape (z) n = Gather (s, zero) r = Concat <axis = 0> (n, two) y = Reshape (x, r) }""",
    "reshape-by-product@13": """(float[N,L,4] x) => (float[?,?] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] k = {0}, int64[1] four = {4}> {
        s = Shape (x) n = Gather (s, zero) l = Gather (s, one) m = Mul (n, l)
        u = Unsqueeze (m, k) r = Concat <axis = 0> (u, four) y = Reshape (x, r) }""",
    "flatten-gemm": """(float[N,2,2] x, float[4,3] W) => (float[?,?] y) {
        a = Flatten (x) y = Gemm (a, W) }""",
    "flatten-twice": """(float[2,3,4] x) => (float[?,?] y) {
        a = Flatten <axis = 2> (x) y = Flatten (a) }""",
    "squeeze-unsqueeze@13": """(float[2,1,3] x) => (float[?,?,?] y) <int64[1] k = {1}> {
        a = Squeeze (x, k) y = Unsqueeze (a, k) }""",
    "unsqueeze-squeeze@11": """(float[2,3] x) => (float[?,?] y) {
        a = Unsqueeze <axes = [0,2]> (x) b = Squeeze <axes = [0]> (a) y = Squeeze <axes = [1]> (b)
        }""",
    "unsqueeze-unsqueeze@13": """(float[2,3] x) => (float[?,?,?,?] y) <int64[1] k = {0},
        int64[1] l = {-1}> { a = Unsqueeze (x, k) y = Unsqueeze (a, l) }""",
    "squeeze-all@13": """(float[1,3,1] x) => (float[?] y) { a = Squeeze (x) y = Relu (a) }""",
    "slice-of-everything@13": """(float[N,4] x) => (float[?,?] y) <int64[1] s = {0},
        int64[1] e = {9223372036854775807}, int64[1] k = {0}> {
        a = Slice (x, s, e, k) y = Relu (a) }""",
    "slice-slice@13": """(float[8,8] x) => (float[?,?] y) <int64[1] s = {1}, int64[1] e = {7},
        int64[1] k = {0}, int64[1] l = {1}> { a = Slice (x, s, e, k) y = Slice (a, s, e, l) }""",
    "slice-slice-of-one-axis@13": """(float[8] x) => (float[?] y) <int64[1] s = {1},
        int64[1] e = {7}, int64[1] k = {0}, int64[1] t = {2}> {
        a = Slice (x, s, e, k) y = Slice (a, s, e, k, t) }""",
    "slice-backwards@13": """(float[4] x) => (float[?] y) <int64[1] s = {-1},
        int64[1] e = {-9223372036854775808}, int64[1] k = {0}, int64[1] t = {-1}> {
        a = Slice (x, s, e, k, t) y = Slice (a, s, e, k, t) }""",
    "slice-old@9": """(float[4,6] x) => (float[?,?] y) {
        a = Slice <starts = [0], ends = [9223372036854775807], axes = [1]> (x)
        y = Slice <starts = [1], ends = [3]> (a) }""",
    "slice-concat@13": """(float[4,6] x) => (float[?,?] y) <int64[1] z = {0}, int64[1] m = {2},
        int64[1] e = {4}> {
        a = Slice (x, z, m, z) b = Slice (x, m, e, z) y = Concat <axis = 0> (a, b) }""",
    "focus@13": """(float[1,3,4,4] x) => (float[?,?,?,?] y) <int64[1] z = {0}, int64[1] o = {1},
        int64[1] e = {9223372036854775807}, int64[1] h = {2}, int64[1] w = {3},
        int64[1] t = {2}> {
        a = Slice (x, z, e, h, t) aa = Slice (a, z, e, w, t) b = Slice (x, o, e, h, t)
        bb = Slice (b, z, e, w, t) c = Slice (x, z, e, h, t) cc = Slice (c, o, e, w, t)
        d = Slice (x, o, e, h, t) dd = Slice (d, o, e, w, t)
        y = Concat <axis = 1> (aa, bb, cc, dd) }""",
    "concat-of-one": """(float[2,3] x) => (float[?,?] y) { a = Concat <axis = 0> (x) y = Relu (a)
        }""",
    "concat-concat": """(float[2,3] x, float[2,3] z) => (float[?,?] y) {
        a = Concat <axis = 0> (x, z) y = Concat <axis = 0> (a, x) }""",
    "concat-split@13": """(float[2,3] x, float[2,3] z) => (float[?,?] y, float[?,?] w) {
        a = Concat <axis = 0> (x, z) y, w = Split <axis = 0> (a) }""",
    "split-concat@13": """(float[4,3] x) => (float[?,?] y) {
        a, b = Split <axis = 0> (x) y = Concat <axis = 0> (a, b) }""",
    "split-unused@13": """(float[4,3] x) => (float[?,?] y) <int64[2] s = {1,3}> {
        a, b = Split <axis = 0> (x, s) y = Relu (a) }""",
    "split-of-one@11": """(float[4,3] x) => (float[?,?] y) {
        a = Split <axis = 0, split = [4]> (x) y = Relu (a) }""",
    "gather-gather": """(float[4,5] x, int64[2] I, int64[2] II) => (float[?,?] y) {
        a = Gather <axis = 0> (x, I) y = Gather <axis = 1> (a, II) }""",
    "gather-of-one": """(float[4,5] x) => (float[?] y) <int64 i = {1}> {
        y = Gather <axis = 0> (x, i) }""",
    "gather-to-slice": """(float[4,5] x) => (float[?,?] y) <int64[2] i = {1,2}> {
        y = Gather <axis = 0> (x, i) }""",
    "gather-all": """(float[3,5] x) => (float[?,?] y) <int64[3] i = {0,1,2}> {
        y = Gather <axis = 0> (x, i) }""",
    "gather-concat": """(float[3,4] x) => (float[?,?] y) <int64[1] a = {0}, int64[1] b = {2}> {
        p = Gather <axis = 0> (x, a) q = Gather <axis = 0> (x, b) y = Concat <axis = 0> (p, q) }""",
    "gathers-to-split": """(float[2,3,4] x) => (float[?,?] y) <int64 a = {0}, int64 b = {1},
        int64 c = {2}> {
        p = Gather <axis = 1> (x, a) q = Gather <axis = 1> (x, b) r = Gather <axis = 1> (x, c)
        s = Add (p, q) y = Mul (s, r) }""",
    "expand-add@13": """(float[3] x, float[2,3] z) => (float[?,?] y) <int64[2] s = {2,3}> {
        a = Expand (x, s) y = Add (a, z) }""",
    "expand-of-nothing@13": """(float[2,3] x) => (float[?,?] y) <int64[2] s = {1,1}> {
        a = Expand (x, s) y = Relu (a) }""",
    "expand-to-itself@13": """(float[N,3] x) => (float[?,?] y) {
        s = Shape (x) a = Expand (x, s) y = Relu (a) }""",
    "tile-of-ones@13": """(float[2,3] x) => (float[?,?] y) <int64[2] s = {1,1}> {
        a = Tile (x, s) y = Relu (a) }""",
    "depth-to-space@13": """(float[1,8,2,3] x) => (float[?,?,?,?] y)
        <int64[6] s = {1,2,2,2,2,3}, int64[4] t = {1,2,4,6}> {
        a = Reshape (x, s) b = Transpose <perm = [0,1,4,2,5,3]> (a) y = Reshape (b, t) }""",
    "channel-shuffle@13": """(float[1,4,2,2] x) => (float[?,?,?,?] y)
        <int64[5] s = {1,2,2,2,2}, int64[4] t = {1,4,2,2}> {
        a = Reshape (x, s) b = Transpose <perm = [0,2,1,3,4]> (a) y = Reshape (b, t) }""",
    "reduce-reduce@13": """(float[2,3,4] x) => (float[?] y) {
        a = ReduceMax <axes = [2], keepdims = 0> (x) y = ReduceMax <axes = [1], keepdims = 0> (a)
        }""",
    "reduce-unsqueeze@13": """(float[2,3,4] x) => (float[?,?,?] y) <int64[1] k = {1}> {
        a = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze (a, k) }""",
    "reduce-squeeze@13": """(float[2,3,4] x) => (float[?,?] y) <int64[1] k = {1}> {
        a = ReduceMean <axes = [1]> (x) y = Squeeze (a, k) }""",
    "reduce-of-nothing@18": """(float[2,3] x) => (float[?,?] y) <int64[0] k = {}> {
        a = ReduceSum <noop_with_empty_axes = 1> (x, k) y = Relu (a) }""",
    "reduce-all@18": """(float[2,3] x) => (float[?,?] y) { y = ReduceSum (x) }""",
}

#: Casts, identities, dead ends, twins.
CLEANED = {
    "identity": """(float[2] x) => (float[?] y) { a = Identity (x) b = Relu (a) y = Identity (b)
        }""",
    "identity-of-output": """(float[2] x) => (float[?] y, float[?] z) {
        y = Relu (x) z = Identity (y) }""",
    "identity-of-input": """(float[2] x) => (float[?] y) { y = Identity (x) }""",
    "identity-of-constant": """(float[2] x, float[2] C) => (float[?] y, float[?] z) {
        y = Identity (C) z = Add (x, y) }""",
    "dropout@11": """(float[2] x) => (float[?] y) { a = Dropout <ratio = 0.3> (x) y = Relu (a) }""",
    "dropout-mask@13": """(float[2] x) => (float[?] y, bool[?] m) { y, m = Dropout (x) }""",
    "dropout-training@13": """(float[64] x) => (float[?] y) <float r = {0}, bool t = {1}> {
        a = Dropout (x, r, t) y = Relu (a) }""",
    "cast-cast@13": """(float16[2,3] x) => (float16[?,?] y) {
        a = Cast <to = 1> (x) b = Cast <to = 10> (a) y = Relu (b) }""",
    "cast-narrow-and-back@13": """(float[2,3] x) => (float[?,?] y) {
        a = Cast <to = 10> (x) b = Cast <to = 1> (a) y = Relu (b) }""",
    "cast-to-itself@13": """(float[2,3] x) => (float[?,?] y) { a = Cast <to = 1> (x) y = Relu (a)
        }""",
    "cast-to-integer-and-back@13": """(float[2,3] x) => (float[?,?] y) {
        a = Cast <to = 6> (x) b = Cast <to = 7> (a) y = Cast <to = 1> (b) }""",
    "cast-of-bool@13": """(bool[2,3] x) => (bool[?,?] y) {
        a = Cast <to = 6> (x) b = Cast <to = 9> (a) y = Not (b) }""",
    "cast-through-transpose@13": """(float16[2,3] x) => (float16[?,?] y) {
        a = Cast <to = 1> (x) b = Transpose (a) y = Cast <to = 10> (b) }""",
    "cast-of-constant@13": """(float[2,3] x, double[3] C) => (float[?,?] y) {
        c = Cast <to = 1> (C) y = Add (x, c) }""",
    "castlike@19": """(float[2,3] x, double[3] C) => (float[?,?] y) {
        c = CastLike (C, x) y = Add (x, c) }""",
    "add-zero": """(float[2,3] x) => (float[?,?] y) <float[1] z = {0}> {
        a = Add (x, z) b = Sub (a, z) y = Relu (b) }""",
    "mul-one": """(float[2,3] x) => (float[?,?] y) <float[1] o = {1}> {
        a = Mul (x, o) b = Div (a, o) y = Relu (b) }""",
    "mul-one-that-widens": """(float[3] x) => (float[?,?] y) <float[2,1] o = {1,1}> {
        y = Mul (x, o) }""",
    "mul-one-of-higher-rank": """(float[3] x) => (float[?,?] y) <float[1,1] o = {1}> {
        y = Mul (x, o) }""",
    "mul-zero": """(float[2,3] x) => (float[?,?] y) <float z = {0}> { y = Mul (x, z) }""",
    "neg-neg": """(float[2,3] x) => (float[?,?] y) { a = Neg (x) y = Neg (a) }""",
    "and-true": """(bool[2] x) => (bool[?] y) <bool t = {1}, bool f = {0}> {
        a = And (x, t) y = Or (a, f) }""",
    "where-of-constant": """(float[2] x, float[2] z) => (float[?] y) <bool c = {1}> {
        y = Where (c, x, z) }""",
    "twins": """(float[2,3] x) => (float[?,?] y) {
        a = Relu (x) b = Relu (x) c = Tanh (a) d = Tanh (b) y = Add (c, d) }""",
    "twins-of-random": """(float[2,3] x) => (float[?,?] y) {
        a = Relu (x) b = Relu (a) c = Abs (x) y = Add (b, c) }""",
    "twin-constants": """(float[2,3] x) => (float[?,?] y)
        <float[3] a = {1,2,3}, float[3] b = {1,2,3}> { c = Add (x, a) y = Mul (c, b) }""",
    "dead-ends": """(float[2,3] x) => (float[?,?] y) {
        y = Relu (x) a = Neg (x) b = Tanh (a) c, d = Split <axis = 0> (b) }""",
    "unused-input": """(float[2,3] x, float[4] u) => (float[?,?] y) { y = Relu (x) }""",
    "unused-constant": """(float[2,3] x, float[4] U) => (float[?,?] y) { y = Relu (x) }""",
    "no-nodes": """(float[2,3] x) => (float[2,3] x) { }""",
    "max-pool-indices@12": """(float[1,2,4,4] x) => (float[?,?,?,?] y) {
        y, i = MaxPool <kernel_shape = [2,2]> (x) }""",
    "pool-of-one@12": """(float[1,2,4,4] x) => (float[?,?,?,?] y) {
        a = MaxPool <kernel_shape = [1,1]> (x) y = AveragePool <kernel_shape = [1,1]> (a) }""",
    "outputs-of-one-node@13": """(float[4] x) => (float[?] y, float[?] z) {
        y, z = Split <axis = 0> (x) }""",
    "fan-out": """(float[2,3] x) => (float[?,?] y, float[?,?] z, float[?,?] w) {
        a = Relu (x) y = Neg (a) z = Tanh (a) w = Identity (a) }""",
}

#: What can be computed at once.
FOLDED = {
    "constants-only": """(float[2] A, float[2] B) => (float[?] y) { a = Add (A, B) y = Relu (a)
        }""",
    "constant-chain": """(float[2] x, float[2] A, float[2] B) => (float[?] y) {
        a = Add (A, B) b = Mul (a, A) c = Sqrt (b) d = Neg (b) y = Add (x, d) }""",
    "shape@13": """(float[2,3] x) => (int64[?] y) { s = Shape (x) y = Mul (s, s) }""",
    "shape-of-part@15": """(float[2,N,3] x) => (int64[?] y) {
        s = Shape <start = 2> (x) t = Shape <end = 1> (x) y = Concat <axis = 0> (s, t) }""",
    "size@13": """(float[2,3] x) => (float[?,?] y) {
        s = Size (x) f = Cast <to = 1> (s) y = Div (x, f) }""",
    "shape-through-float@13": """(float[N,4] x) => (float[?,?] y) <int64[1] z = {0},
        int64[1] m = {-1}> {
        s = Shape (x) f = Cast <to = 1> (s) i = Cast <to = 7> (f) n = Gather (i, z)
        r = Concat <axis = 0> (n, m) y = Reshape (x, r) }""",
    "constant-of-shape@13": """(float[N,3] x) => (float[?,?] y) {
        s = Shape (x) c = ConstantOfShape <value = float[1] {2}> (s) y = Mul (x, c) }""",
    "constant-of-shape-fixed@13": """(float[2,3] x) => (float[?,?] y) <int64[2] s = {2,3}> {
        c = ConstantOfShape <value = float[1] {2}> (s) y = Mul (x, c) }""",
    "nonzero@13": """(float[4] x, float[4] A) => (float[?] y) <int64[1] k = {0}> {
        n = NonZero (A) i = Squeeze (n, k) y = Gather (x, i) }""",
    "range@13": """(float[5] x) => (float[?] y) <int64 a = {0}, int64 b = {4}, int64 c = {2}> {
        i = Range (a, b, c) y = Gather (x, i) }""",
    "topk@13": """(float[3,4] x, float[4] A) => (float[?,?] y) <int64[1] k = {2}> {
        v, i = TopK (A, k) y = Gather <axis = 1> (x, i) }""",
    "onehot@13": """(float[3] x, int64[2] I) => (float[?,?] y) <int64 d = {3}, float[2] v = {0,1}> {
        h = OneHot (I, d, v) y = Mul (h, x) }""",
    "resize@13": """(float[1,1,4,4] x, float[1,1,2,2] A) => (float[?,?,?,?] y)
        <float[4] s = {1,1,2,2}> {
        a = Resize <mode = "linear"> (A, , s) y = Add (x, a) }""",
    "matmul-of-constants@13": """(float[2,2] x, float[2,3] A, float[3,2] B) => (float[?,?] y) {
        a = MatMul (A, B) y = MatMul (x, a) }""",
    "gemm-of-constants@13": """(float[2,2] x, float[2,3] A, float[3,2] B, float[2] C)
        => (float[?,?] y) { a = Gemm (A, B, C) y = MatMul (x, a) }""",
    "conv-of-constants@13": """(float[1,1,2,2] x, float[1,1,3,3] A, float[1,1,2,2] B)
        => (float[?,?,?,?] y) { a = Conv (A, B) y = Add (x, a) }""",
    "split-of-constant@13": """(float[2] x, float[4] A) => (float[?] y) {
        a, b = Split <axis = 0> (A) c = Add (x, a) y = Mul (c, b) }""",
    "pad-of-constant@13": """(float[4] x, float[2] A) => (float[?] y) <int64[2] p = {1,1}> {
        a = Pad (A, p) y = Add (x, a) }""",
    "einsum-of-constants@13": """(float[2,2] x, float[2,3] A, float[3,2] B) => (float[?,?] y) {
        a = Einsum <equation = "ij,jk->ik"> (A, B) y = Add (x, a) }""",
    "cumsum-of-constant@13": """(float[4] x, float[4] A) => (float[?] y) <int64 k = {0}> {
        a = CumSum (A, k) y = Add (x, a) }""",
    "scatter-of-constants@13": """(float[4] x, float[4] A) => (float[?] y) <int64[2,1] i = {0,2},
        float[2] u = {5,6}> { a = ScatterND (A, i, u) y = Add (x, a) }""",
    "reduce-of-constant@13": """(float[3] x, float[2,3] A) => (float[?] y) {
        a = ReduceMean <axes = [0], keepdims = 0> (A) y = Add (x, a) }""",
    "integers-of-constants@13": """(int64[3] x, int64[3] A) => (int64[?] y) <int64 two = {2}> {
        a = Div (A, two) b = Mod (A, two) c = Add (a, b) y = Mul (x, c) }""",
    "strings-of-constants@13": """(string[2] x) => (string[?] y) <string[2] k = {"a","b"}> {
        a = Identity (k) y = Concat <axis = 0> (x, a) }""",
    "compare-of-constants@13": """(float[3] x, float[3] A, float[3] B) => (float[?] y) {
        c = Greater (A, B) n = Not (c) y = Where (n, x, A) }""",
    "random@13": """(float[3] x) => (float[?] y) {
        r = RandomNormal <shape = [3], seed = 1.0> () a = Sub (r, r) y = Add (x, a) }""",
    "larger-than-its-parts@13": """(float[300,300] x) => (float[?,?] y) <int64[2] s = {300,300},
        float[1,1] o = {2}> { a = Expand (o, s) y = Mul (x, a) }""",
}

#: Quantized.
QUANTIZED = {
    "qdq-conv@13": """(float[1,3,4,4] x, int8[4,3,3,3] W, float[4] B) => (float[?,?,?,?] y)
        <float s = {0.05}, int8 z = {0}, float t = {0.1}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) w = DequantizeLinear (W, t, z)
        c = Conv (d, w, B) p = QuantizeLinear (c, t, z) y = DequantizeLinear (p, t, z) }""",
    "qdq-conv-per-channel@13": """(float[1,3,4,4] x, int8[4,3,3,3] W, float[4] VS)
        => (float[?,?,?,?] y) <float s = {0.05}, int8 z = {0}, int8[4] zz = {0,0,0,0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
        w = DequantizeLinear <axis = 0> (W, VS, zz) c = Conv (d, w) y = Relu (c) }""",
    "qdq-conv-add@13": """(float[1,3,4,4] x, int8[3,3,1,1] W) => (float[?,?,?,?] y)
        <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) e = DequantizeLinear (q, s, z)
        w = DequantizeLinear (W, s, z) c = Conv (d, w) a = Add (c, e) y = Relu (a) }""",
    "qdq-matmul@13": """(float[2,3] x, uint8[3,4] W) => (float[?,?] y)
        <float s = {0.05}, uint8 z = {128}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) w = DequantizeLinear (W, s, z)
        c = MatMul (d, w) p = QuantizeLinear (c, s, z) y = DequantizeLinear (p, s, z) }""",
    "qdq-matmul-scaled@13": """(float[2,3] x, int8[3,4] W, float[4] S) => (float[?,?] y)
        <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) w = DequantizeLinear (W, s, z)
        c = MatMul (d, w) y = Mul (c, S) }""",
    "qdq-transpose@13": """(float[2,3] x) => (float[?,?] y) <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) t = Transpose (d)
        p = QuantizeLinear (t, s, z) y = DequantizeLinear (p, s, z) }""",
    "qdq-transposed-weights@13": """(float[2,3] x, int8[4,3] W, float[4] VS) => (float[?,?] y)
        <int8[4] z = {0,0,0,0}> {
        w = DequantizeLinear <axis = 0> (W, VS, z) t = Transpose (w) y = MatMul (x, t) }""",
    "qdq-reshape@13": """(float[2,3] x) => (float[?,?] y) <float s = {0.05}, int8 z = {0},
        int64[2] r = {3,2}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) t = Reshape (d, r)
        p = QuantizeLinear (t, s, z) y = DequantizeLinear (p, s, z) }""",
    "qdq-max-pool@13": """(float[1,2,4,4] x) => (float[?,?,?,?] y) <float s = {0.05}, int8 z = {0}>
        {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
        t = MaxPool <kernel_shape = [2,2]> (d) p = QuantizeLinear (t, s, z)
        y = DequantizeLinear (p, s, z) }""",
    "qdq-concat@13": """(float[2,3] x, float[2,3] w) => (float[?,?] y) <float s = {0.05}, int8 z =
        {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) r = QuantizeLinear (w, s, z)
        e = DequantizeLinear (r, s, z) c = Concat <axis = 0> (d, e) p = QuantizeLinear (c, s, z)
        y = DequantizeLinear (p, s, z) }""",
    "qdq-qdq@13": """(float[2,3] x) => (float[?,?] y) <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) p = QuantizeLinear (d, s, z)
        e = DequantizeLinear (p, s, z) y = Relu (e) }""",
    "qdq-relu@13": """(float[2,3] x) => (float[?,?] y) <float s = {0.05}, uint8 z = {0}> {
        r = Relu (x) q = QuantizeLinear (r, s, z) d = DequantizeLinear (q, s, z) y = Relu (d) }""",
    "qdq-clip@13": """(float[2,3] x) => (float[?,?] y) <float s = {0.05}, uint8 z = {0},
        float l = {0}, float h = {6}> {
        r = Clip (x, l, h) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z) }""",
    "qdq-split@13": """(float[4,3] x) => (float[?,?] y) <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) a, b = Split <axis = 0> (d)
        c = Add (a, b) p = QuantizeLinear (c, s, z) y = DequantizeLinear (p, s, z) }""",
    "qlinear-conv@13": """(uint8[1,3,4,4] x, uint8[4,3,3,3] W) => (uint8[?,?,?,?] y)
        <float s = {0.05}, uint8 z = {128}> { y = QLinearConv (x, s, z, W, s, z, s, z) }""",
    "qlinear-matmul@13": """(uint8[2,3] x, uint8[3,4] W) => (uint8[?,?] y)
        <float s = {0.05}, uint8 z = {128}> { y = QLinearMatMul (x, s, z, W, s, z, s, z) }""",
    "matmul-integer@13": """(float[2,3] x, int8[3,4] W, float[4] S) => (float[?,?] y) {
        q, s, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, W, z) f = Cast <to = 1> (m)
        t = Mul (s, S) y = Mul (f, t) }""",
    "qdq-of-16-bits@21": """(float[2,3] x) => (float[?,?] y) <float s = {0.001}, uint16 z =
        {32768}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Relu (d) }""",
    "qdq-blocked@21": """(float[2,4] x, int8[4,2] W, float[2,2] VS) => (float[?,?] y) {
        w = DequantizeLinear <axis = 0, block_size = 2> (W, VS) y = MatMul (x, w) }""",
    "qdq-negative-scale@13": """(float[2,3] x, int8[3,4] W) => (float[?,?] y)
        <float s = {0.05}, int8 z = {0}, float m = {-1}> {
        w = DequantizeLinear (W, s, z) a = MatMul (x, w) y = Mul (a, m) }""",
}

#: Bodies and functions.
BODIES = {
    "if-constant": """(float[2] x) => (float[?] y) <bool c = {1}> {
        y = If (c) <then_branch = a () => (float[?] t) { u = Relu (x) t = Relu (u) },
                    else_branch = b () => (float[?] e) { e = Neg (x) }> }""",
    "if-inner-constant": """(float[2] x, bool c) => (float[?] y) {
        y = If (c) <then_branch = a () => (float[?] t) {
                        k = Constant <value = float[2] {1,2}> () l = Relu (k) t = Add (x, l) },
                    else_branch = b () => (float[?] e) { e = Neg (x) }> }""",
    "if-nested": """(float[2] x, bool c, bool d) => (float[?] y) {
        y = If (c) <then_branch = a () => (float[?] t) {
                        t = If (d) <then_branch = aa () => (float[?] tt) { tt = Relu (x) },
                                    else_branch = bb () => (float[?] te) { te = Tanh (x) }> },
                    else_branch = b () => (float[?] e) { e = Neg (x) }> }""",
    "if-of-rank": """(float[2,1] x) => (float[y0] y) {
        s = Shape (x) i = Constant <value = int64[1] {1}> () n = Gather (s, i)
        o = Constant <value = int64[1] {1}> () q = Equal (n, o) c = Squeeze (q)
        y = If (c) <then_branch = a () => (float[?] t) { k = Constant <value = int64[1] {1}> ()
                        t = Squeeze (x, k) },
                    else_branch = b () => (float[?,?] e) { e = Identity (x) }> }""",
    "if-reads-twin": """(float[2] x, bool c) => (float[?] y) {
        p = Relu (x) q = Relu (x)
        y = If (c) <then_branch = a () => (float[?] t) { t = Neg (p) },
                    else_branch = b () => (float[?] e) { e = Neg (q) }> }""",
    "if-shadows": """(float[2] x, bool c) => (float[?] y) {
        p = Relu (x) q = Neg (p)
        z = If (c) <then_branch = a () => (float[?] t) { t = Tanh (p) },
                    else_branch = b () => (float[?] e) { e = Abs (p) }>
        y = Add (z, q) }""",
    "loop-constant": """(float[2] x) => (float[?] y) <int64 m = {2}, bool c = {1}> {
        y = Loop (m, c, x) <body = b (int64 i, bool d, float[2] v) => (bool e, float[2] w) {
            e = Identity (d) k = Constant <value_float = 2.0> () u = Mul (v, k) w = Relu (u) }>
        }""",
    "loop-of-constants": """(float[2] x) => (float[?] y) <int64 m = {3}, bool c = {1},
        float[2] k = {1,2}> {
        z = Loop (m, c, k) <body = b (int64 i, bool d, float[2] v) => (bool e, float[2] w) {
            e = Identity (d) w = Add (v, v) }>
        y = Add (x, z) }""",
    "loop-no-rounds": """(float[2] x) => (float[?] y) <int64 m = {0}, bool c = {1}> {
        y = Loop (m, c, x) <body = b (int64 i, bool d, float[2] v) => (bool e, float[2] w) {
            e = Identity (d) w = Relu (v) }> }""",
    "loop-invariant": """(float[2] x, float[2] z) => (float[?] y) <int64 m = {3}, bool c = {1}> {
        y = Loop (m, c, x) <body = b (int64 i, bool d, float[2] v) => (bool e, float[2] w) {
            e = Identity (d) u = Relu (z) w = Add (v, u) }> }""",
    "scan": """(float[2] a, float[3,2] x) => (float[?] b, float[?,?] y) {
        b, y = Scan <num_scan_inputs = 1, body = g (float[2] p, float[2] q)
            => (float[2] r, float[2] s) { t = Relu (q) r = Add (p, t) s = Identity (r) }> (a, x)
        }""",
    "function": """(float[2,3] x) => (float[?,?] y) { a = own.F (x) y = own.F (a) }
        <domain: "own", opset_import: ["": 17]> F (v) => (w) {
            k = Constant <value_float = 1.0> () a = Mul (v, k) w = Relu (a) }""",
    "function-of-attributes": """(float[2,3] x) => (float[?,?] y) { y = own.F <s = 0.3> (x) }
        <domain: "own", opset_import: ["": 17]> F <s> (v) => (w) {
            a = LeakyRelu <alpha: float = @s> (v) w = Identity (a) }""",
    "function-around-product": """(float[2,3] x, float[3,4] W, float[4] S) => (float[?,?] y) {
        y = own.F (x, W, S) }
        <domain: "own", opset_import: ["": 17]> F (v, w, s) => (z) {
            a = MatMul (v, w) z = Mul (a, s) }""",
    "sequence": """(float[2] x, float[2] z) => (float[?] y) <int64 i = {1}> {
        s = SequenceConstruct (x, z) a = SequenceAt (s, i) y = Relu (a) }""",
    "optional@18": """(float[2] x) => (float[?] y) {
        a = Optional (x) b = OptionalGetElement (a) y = Relu (b) }""",
    "lstm@14": """(float[3,1,2] x, float[1,8,2] W, float[1,8,2] R, float[1,16] B)
        => (float[?,?,?,?] y) <float[1,1,2] h = {0,0}, float[1,1,2] c = {0,0}> {
        y = LSTM <hidden_size = 2> (x, W, R, B, , h, c) }""",
    "gru@14": """(float[3,1,2] x, float[1,6,2] W, float[1,6,2] R) => (float[?,?,?,?] y,
        float[?,?,?] z)
        { y, z = GRU <hidden_size = 2> (x, W, R) }""",
}

SUITES: dict[str, str] = {
    f"{family}/{name}": text
    for family, listed in {
        "products": PRODUCTS,
        "spelled": SPELLED,
        "moved": MOVED,
        "cleaned": CLEANED,
        "folded": FOLDED,
        "quantized": QUANTIZED,
        "bodies": BODIES,
    }.items()
    for name, text in listed.items()
}


@functools.cache
def suite_model(name: str) -> ModelProto:
    """The model of a name; not to be modified."""
    _, _, version = name.partition("@")
    opset = int(version or 17)
    text = SUITES[name]
    own = ', "own": 1' if "own." in text else ""
    ir_version = 10 if opset >= 21 else 8
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}{own}]>'
    made = parser.parse_model(f"{header} g {text}")
    constants = [info for info in made.graph.input if info.name.isupper()]
    for number, info in enumerate(constants):
        made.graph.initializer.append(_constant(number, info))
        made.graph.input.remove(info)
    return made


def _constant(number: int, info: object) -> TensorProto:
    rng = np.random.default_rng(number)
    tensor_type = info.type.tensor_type  # type: ignore[attr-defined]
    name: str = info.name  # type: ignore[attr-defined]
    dtype = helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
    shape = [dim.dim_value for dim in tensor_type.shape.dim]
    numbers = rng.uniform(0.5, 2.0, shape) if name[0] == "V" else rng.standard_normal(shape)
    if dtype.kind in "iu":
        numbers = rng.integers(0, 3 if name[0] == "I" else 100, shape)
    return numpy_helper.from_array(np.asarray(numbers).astype(dtype), name)
