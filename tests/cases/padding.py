"""Padding and cropping."""

from __future__ import annotations

from cases.base import ENDS, between, case

PADDING = [
    between("Pad-space", "Pad", "b = Pad(a, pads)", "int64[8] pads = {0, 0, 1, 2, 0, 0, 1, 0}"),
    between("Pad-space-reflect", "Pad", 'b = Pad<mode = "reflect">(a, pads)', "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}"),
    between("Pad-attribute", "Pad", "b = Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(a)", opset=9),
    between("Pad-axes", "Pad", "b = Pad(a, pads, , axes)", "int64[4] pads = {1, 1, 2, 0}, int64[2] axes = {3, -2}", opset=18),
    *(
        case(f"Pad-channels-option-A-{name}", "Pad Slice Add Conv",
             "i = Conv(x, w1) a = Relu(i) s = Slice(a, z2, e2, space, step) " + padding +
             " c = Conv<strides = [2, 2]>(a, wc) b = Add(c, p) y = Conv(b, w2)", (4, 4),
             "float[4, 3, 1, 1] w1, float[8, 4, 1, 1] wc, float[2, 8, 1, 1] w2, int64[2] z2 = {0, 0}, int64[2] e2 = {2147483647, 2147483647}, "
             "int64[2] space = {2, 3}, int64[2] step = {2, 2}" + operands, opset=opset)
        for name, opset, padding, operands in (
            ("operand", 17, "p = Pad(s, pads)", ", int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}"),
            ("one-side", 17, "p = Pad(s, pads)", ", int64[8] pads = {0, 0, 0, 0, 0, 4, 0, 0}"),
            ("value", 17, "p = Pad(s, pads, five)", ", int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}, float five = {5}"),
            ("axes", 18, "p = Pad(s, pads, , channel)", ", int64[2] pads = {2, 2}, int64[1] channel = {1}"),
            ("computed", 17,  # what PyTorch exports for F.pad(x, (0, 0, 0, 0, 2, 2))
             "zeros = ConstantOfShape<value = int64[1] {0}>(two) all = Concat<axis = 0>(torch, zeros) m = Reshape(all, m2) "
             "v = Slice(m, m1, far, zero, m1) t = Transpose<perm = [1, 0]>(v) flat = Reshape(t, m1) pads = Cast<to = 7>(flat) p = Pad(s, pads)",
             ", int64[6] torch = {0, 0, 0, 0, 2, 2}, int64[1] two = {2}, int64[2] m2 = {-1, 2}, int64[1] m1 = {-1}, "
             "int64[1] zero = {0}, int64[1] far = {-9223372036854775807}"),
        )
    ),
    between("Pad-crops-space", "Pad", "b = Pad(a, pads)", "int64[8] pads = {0, 0, -1, 2, 0, 0, 1, -1}"),
    case("Pad-channels-edge", "Pad", 'a = Conv(x, w1) b = Pad<mode = "edge">(a, pads) y = Conv(b, w2)', (),
         "float[4, 3, 1, 1] w1, float[2, 5, 1, 1] w2, int64[8] pads = {0, 0, 0, 0, 0, 1, 0, 0}",
         reason="pads this axis other than with a constant"),
    *(
        case(f"Pad-crops-channels-{name}", "Pad", f"a = Conv(x, w1) b = {pad} yb = Conv(b, w2) ya = Conv(a, w3) y = Add(ya, yb)", (2, 4),
             "float[6, 3, 1, 1] w1, float[2, 4, 1, 1] w2, float[2, 6, 1, 1] w3" + operands, opset=opset)
        for name, opset, pad, operands in (
            ("operand", 17, "Pad(a, pads)", ", int64[8] pads = {0, -1, 0, 0, 0, -1, 0, 0}"),
            ("one-side", 17, "Pad(a, pads)", ", int64[8] pads = {0, 0, 0, 0, 0, -2, 0, 0}"),
            ("axes", 18, "Pad(a, pads, , axes)", ", int64[2] pads = {-2, 0}, int64[1] axes = {-3}"),
            ("attribute", 9, "Pad<pads = [0, -2, 0, 0, 0, 0, 0, 0]>(a)", ""),
        )
    ),
    case("Pad-shifts-channels", "Pad Add", "i = Conv(x, w1) a = Relu(i) s = Pad(a, pads) b = Add(a, s) y = Conv(b, w2)", (2,),
         ENDS + ", int64[8] pads = {0, 2, 0, 0, 0, -2, 0, 0}"),  # channel k is tied to channel k + 2
    case("Pad-amounts-from-data", "Pad ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) f = Slice(q, zero, one) "
         "e = Concat<axis = 0>(space, f, space, f) b = Pad(a, e) g = GlobalMaxPool(b) y = Conv(g, w2)", (),
         ENDS + ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}, int64[3] space = {0, 0, 0}", reason="amounts depend on the data"),
    case("Pad-space-from-Shape", "Pad Shape Mod", "a = Conv(x, w1) s = Shape(a) h = Gather(s, two) m = Mod(h, five) p = Concat<axis = 0>(zeros, m, zeros, m) b = Pad(a, p) y = Conv(b, w2)",
         (4,), ENDS + ", int64[1] two = {2}, int64[1] five = {5}, int64[3] zeros = {0, 0, 0}"),
    between("CenterCropPad-space", "CenterCropPad", "b = CenterCropPad<axes = [2, 3]>(a, size)", "int64[2] size = {5, 7}", opset=18),
    between("CenterCropPad-baked-count", "CenterCropPad", "b = CenterCropPad<axes = [1, 2]>(a, size)", "int64[2] size = {4, 5}", opset=18),
    case("CenterCropPad-channels", "CenterCropPad", "a = Conv(x, w1) b = CenterCropPad<axes = [1]>(a, size) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 2, 1, 1] w2, int64[1] size = {2}", opset=18, reason="crops or pads this axis"),
]  # fmt: skip
