"""Tensors that are repeated or filled."""

from __future__ import annotations

from cases.base import ENDS, between, case

NUMBERS = ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}"

EXPANDED = [
    between("Expand-space", "Expand GlobalAveragePool Shape", "g = GlobalAveragePool(a) s = Shape(a) e = Expand(g, s) b = Add(a, e)"),
    between("Expand-baked-count", "Expand", "g = GlobalMaxPool(a) b = Expand(g, s)", "int64[4] s = {1, 4, 5, 5}"),
    between("Expand-by-ones", "Expand", "b = Expand(a, s)", "int64[4] s = {1, 1, 1, 1}"),
    between("Expand-short-target", "Expand GlobalMaxPool", "g = GlobalMaxPool(a) b = Expand(g, s)", "int64[2] s = {3, 5}"),
    case("Expand-class-token", "Expand Concat Shape Transpose MatMul",
         "a = Conv(x, w1) f = Flatten<axis = 2>(a) u = Reshape(f, t) v = Transpose<perm = [0, 2, 1]>(u) s = Shape(v) n = Gather(s, zero) e = Concat<axis = 0>(n, one, one) "
         "k = Expand(token, e) b = Concat<axis = 1>(k, v) y = MatMul(b, wm)", (4,),
         "float[4, 3, 1, 1] w1, float[1, 1, 4] token, float[4, 2] wm, int64[3] t = {-1, 4, 36}" + NUMBERS, inputs="float[N, 3, 6, 6] x", outputs="float[N, 37, 2] y"),
    case("Expand-adds-an-axis", "Expand Squeeze", "a = Conv(x, w1) e = Expand(a, s) r = Relu(e) b = Squeeze(r, zero) y = Conv(b, w2)", (4,), ENDS + ", int64[5] s = {1, 1, 4, 1, 1}" + NUMBERS),
    case("Expand-one-channel-to-all", "Expand Sigmoid Mul Shape", "a = Conv(x, w1) m = Conv(x, w3) g = Sigmoid(m) s = Shape(a) e = Expand(g, s) b = Mul(a, e) y = Conv(b, w2)", (4,),
         ENDS + ", float[1, 3, 1, 1] w3"),
    case("Expand-one-channel-baked", "Expand Mul", "a = Conv(x, w1) m = Conv(x, w3) e = Expand(m, s) b = Mul(a, e) y = Conv(b, w2)", (4,),
         ENDS + ", float[1, 3, 1, 1] w3, int64[3] s = {4, 1, 1}"),
    case("Expand-stored-vector", "Expand Add Shape", "a = Conv(x, w1) s = Shape(a) e = Expand(v, s) b = Add(a, e) y = Conv(b, w2)", (4,), ENDS + ", float[4, 1, 1] v"),
    case("Expand-stored-number", "Expand Add Shape", "a = Conv(x, w1) s = Shape(a) e = Expand(v, s) b = Add(a, e) y = Conv(b, w2)", (4,), ENDS + ", float v = {3}"),
    case("Expand-shared-target", "Expand Mul Add",
         "a = Conv(x, w1) m = Conv(x, w3) e = Expand(m, s) b = Mul(a, e) c = Conv(x, w4) f = Expand(m, s) d = Mul(c, f) yb = Conv(b, w2) yd = Conv(d, w5) y = Add(yb, yd)", (4, 4),
         ENDS + ", float[1, 3, 1, 1] w3, float[4, 3, 1, 1] w4, float[2, 4, 1, 1] w5, int64[3] s = {4, 1, 1}", opset=8, ir=3),
    case("Tile-channels", "Tile", "a = Conv(x, w1) b = Tile(a, r) y = Conv(b, w2)", (4,), "float[4, 3, 1, 1] w1, float[2, 12, 1, 1] w2, int64[4] r = {1, 3, 1, 1}"),
    between("Tile-space", "Tile", "b = Tile(a, r)", "int64[4] r = {1, 1, 2, 3}"),
    case("Tile-one-channel", "Tile Mul", "a = Conv(x, w1) m = Conv(x, w3) t = Tile(m, r) b = Mul(a, t) y = Conv(b, w2)", (4,), ENDS + ", float[1, 3, 1, 1] w3, int64[4] r = {1, 4, 1, 1}"),
    case("Tile-one-channel-from-Shape", "Tile Mul Shape", "a = Conv(x, w1) m = Conv(x, w3) s = Shape(a) c = Gather(s, one) r = Concat<axis = 0>(one, c, one, one) t = Tile(m, r) b = Mul(a, t) y = Conv(b, w2)",
         (4,), ENDS + ", float[1, 3, 1, 1] w3" + NUMBERS),
    case("Tile-repeats-from-data", "Tile ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) f = Slice(q, zero, one) e = Add(f, one) "
         "r = Concat<axis = 0>(one, one, one, e) b = Tile(a, r) g = GlobalMaxPool(b) y = Conv(g, w2)", (), ENDS + NUMBERS + ", int64[1] minus = {-1}", reason="repeats depend on the data"),
    case("ConstantOfShape-pads-channels", "ConstantOfShape Concat Add Shape",  # shortcut option A, spelled with zeros
         "a = Conv(x, w1) r = Relu(a) s = Shape(r) n = Gather(s, zero) hw = Slice(s, two, four, zero) t = Concat<axis = 0>(n, two, hw) z = ConstantOfShape(t) "
         "z2 = ConstantOfShape<value = float[1] {0}>(t) p = Concat<axis = 1>(z, r, z2) c = Conv(r, wc) b = Add(c, p) y = Conv(b, w2)", (2, 2, 4),
         "float[4, 3, 1, 1] w1, float[8, 4, 1, 1] wc, float[2, 8, 1, 1] w2" + NUMBERS),
    case("ConstantOfShape-of-a-stored-shape", "ConstantOfShape Add", "a = Conv(x, w1) z = ConstantOfShape<value = float[1] {2}>(s) b = Add(a, z) y = Conv(b, w2)", (4,), ENDS + ", int64[3] s = {4, 1, 1}"),
    case("ConstantOfShape-as-a-weight", "ConstantOfShape Conv", "a = Conv(x, w1) z = ConstantOfShape<value = float[1] {2}>(s) y = Conv(a, z)", (),
         "float[4, 3, 1, 1] w1, int64[4] s = {2, 4, 1, 1}", reason="its weight is computed"),
    case("Expand-as-a-weight", "Expand Conv", "a = Conv(x, w1) z = Expand(w2, s) y = Conv(a, z)", (), ENDS + ", int64[4] s = {2, 4, 3, 3}", reason="its weight is computed"),
]  # fmt: skip
