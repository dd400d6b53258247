"""Resampling."""

from __future__ import annotations

from cases.base import ENDS, between, case

TWICE = "float[4] twice = {1, 1, 2, 2}"
NUMBERS = ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[2] hw = {10, 12}"

RESAMPLING = [
    between("Upsample-attribute", "Upsample", "b = Upsample<scales = [1.0, 1.0, 2.0, 2.0]>(a)", opset=7),
    between("Upsample-operand", "Upsample", 'b = Upsample<mode = "linear">(a, twice)', TWICE, opset=9),
    between("Resize-10", "Resize", "b = Resize(a, twice)", TWICE, opset=10),
    between("Resize-11-scales", "Resize", 'b = Resize<mode = "linear", coordinate_transformation_mode = "asymmetric">(a, roi, twice)', TWICE + ", float[0] roi", opset=11),
    between("Resize-13-scales", "Resize", 'b = Resize<mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric">(a, , twice)', TWICE, opset=13),
    between("Resize-cubic-down", "Resize", 'b = Resize<mode = "cubic", coordinate_transformation_mode = "align_corners">(a, , half)', "float[4] half = {1, 1, 0.5, 0.5}"),
    between("Resize-18-axes", "Resize", "b = Resize<axes = [3, 2]>(a, , twice)", "float[2] twice = {2, 3}", opset=18),
    between("Resize-19-antialias", "Resize", 'b = Resize<antialias = 1, mode = "linear">(a, , half)', "float[4] half = {1, 1, 0.5, 0.5}", opset=19),
    between("Resize-18-aspect-ratio", "Resize", 'b = Resize<axes = [2, 3], keep_aspect_ratio_policy = "not_larger">(a, , , hw)', "int64[2] hw = {10, 12}", opset=18),
    between("Resize-sizes-axes", "Resize", "b = Resize<axes = [2, 3]>(a, , , hw)", "int64[2] hw = {10, 12}", opset=18),
    between("Resize-sizes-of-channels-too", "Resize", "b = Resize<axes = [2, 1]>(a, , , ch)", "int64[2] ch = {10, 4}", opset=18),
    case("Resize-sizes-baked", "Resize", 'a = Conv(x, w1) b = Resize<mode = "linear">(a, , , s) y = Conv(b, w2)', (4,),
         ENDS + ", int64[4] s = {1, 4, 9, 9}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 9, 9] y"),
    case("Resize-sizes-baked-shared-old-IR", "Resize Add", "a = Conv(x, w1) b = Resize(a, none, none, s) c = Conv(x, w3) d = Resize(c, none, none, s) yb = Conv(b, w2) yd = Conv(d, w4) y = Add(yb, yd)",
         (4, 4), ENDS + ", float[4, 3, 1, 1] w3, float[2, 4, 1, 1] w4, float[0] none, int64[4] s = {1, 4, 9, 9}",
         inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 9, 9] y", opset=11, ir=3),
    case("Resize-sizes-from-Shape", "Resize Shape Slice Concat",  # what PyTorch exports for interpolate(size=...)
         "a = Conv(x, w1) s = Shape(a) nc = Slice(s, zero, two, zero) t = Concat<axis = 0>(nc, hw) b = Resize(a, , , t) y = Conv(b, w2)", (4,), ENDS + NUMBERS),
    case("Resize-sizes-of-another-tensor", "Resize Shape Concat",
         "a = Conv(x, w1) c = Conv<strides = [2, 2]>(a, w3) s = Shape(a) hw2 = Slice(s, two, four, zero) cs = Shape(c) nc = Slice(cs, zero, two, zero) "
         "t = Concat<axis = 0>(nc, hw2) u = Resize(c, , , t) b = Concat<axis = 1>(a, u) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w3, float[2, 9, 1, 1] w2" + NUMBERS),
    case("Resize-sizes-baked-count-in-Concat", "Resize Shape Concat",
         "a = Conv(x, w1) s = Shape(x) n = Slice(s, zero, one, zero) t = Concat<axis = 0>(n, four, hw) b = Resize(a, , , t) y = Conv(b, w2)", (4,), ENDS + NUMBERS),
    case("Resize-sizes-of-the-image", "Resize Shape", "a = Conv(x, w1) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) s = Shape(a) b = Resize(p, , , s) y = Conv(b, w2)", (4,), ENDS),
    case("Resize-scales-from-Shape", "Resize Shape Div", "a = Conv(x, w1) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) s = Shape(a) t = Shape(p) sf = Cast<to = 1>(s) tf = Cast<to = 1>(t) "
         "r = Div(sf, tf) b = Resize(p, , r) y = Conv(b, w2)", (4,), ENDS),
    case("Resize-NHWC", "Resize Transpose", 'a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) u = Resize<mode = "nearest">(t, , scales) b = Transpose<perm = [0, 3, 1, 2]>(u) y = Conv(b, w2)',
         (4,), ENDS + ", float[4] scales = {1, 2, 2, 1}"),
    case("Resize-channels", "Resize", "a = Conv(x, w1) b = Resize(a, , scales) y = Conv(b, w2)", (), "float[4, 3, 1, 1] w1, float[2, 8, 1, 1] w2, float[4] scales = {1, 2, 1, 1}",
         reason="Resize node 'b' resamples this axis"),
    case("Resize-channels-a-little", "Resize", "a = Conv(x, w1) b = Resize(a, , scales) y = Conv(b, w2)", (), ENDS + ", float[4] scales = {1, 1.125, 2, 2}", reason="resamples this axis"),
    case("Resize-crop", "Resize", 'a = Conv(x, w1) b = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">(a, roi, , s) y = Conv(b, w2)', (4,),
         ENDS + ", float[8] roi = {0, 0, 0.25, 0.25, 1, 1, 0.75, 0.75}, int64[4] s = {1, 4, 9, 9}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 9, 9] y"),
    case("Resize-crop-of-channels", "Resize", 'a = Conv(x, w1) b = Resize<mode = "nearest", coordinate_transformation_mode = "tf_crop_and_resize">(a, roi, , s) y = Conv(b, w2)', (),
         ENDS + ", float[8] roi = {0, 0.5, 0, 0, 1, 1, 1, 1}, int64[4] s = {1, 4, 9, 9}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 9, 9] y", reason="resamples this axis"),
    case("Resize-half-pixel-rounded-up", "Resize", 'a = Conv(x, w1) b = Resize<nearest_mode = "ceil", coordinate_transformation_mode = "tf_half_pixel_for_nn">(a, roi, twice) y = Conv(b, w2)', (),
         ENDS + ", float[0] roi, " + TWICE, opset=11, reason="resamples this axis"),
    case("Resize-aspect-ratio-of-all-axes", "Resize", 'a = Conv(x, w1) b = Resize<keep_aspect_ratio_policy = "not_larger">(a, , , s) y = Conv(b, w2)', (),
         ENDS + ", int64[4] s = {1, 4, 6, 6}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y", opset=18, reason="resamples this axis"),
]  # fmt: skip
