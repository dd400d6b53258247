"""Channels that move into space and back."""

from __future__ import annotations

from cases.base import SMALL, case

BLOCKS = [
    *(
        case(f"DepthToSpace-{mode}", "DepthToSpace",  # 4 channels make one: 2 units of 4
             f'a = Conv(x, w1) r = Relu(a) b = DepthToSpace<blocksize = 2, mode = "{mode}">(r) y = Conv(b, w2)', (2,),
             "float[8, 3, 1, 1] w1, float[2, 2, 1, 1] w2", opset=13)
        for mode in ("DCR", "CRD")
    ),
    case("DepthToSpace-default-mode", "DepthToSpace Add",  # c [3] is added to what 12 channels make
         "a = Conv(x, w1) b = DepthToSpace<blocksize = 2>(a) d = ConvTranspose<strides = [2, 2]>(x, wt) c = Add(b, d) y = Conv(c, w2)", (3,),
         "float[12, 3, 1, 1] w1, float[3, 3, 2, 2] wt, float[2, 3, 1, 1] w2", opset=11),
    case("DepthToSpace-one-channel", "DepthToSpace", "a = Conv(x, w1) b = DepthToSpace<blocksize = 2>(a) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2", reason="the only channel that DepthToSpace node 'b' picks"),
    case("SpaceToDepth", "SpaceToDepth", "a = Conv(x, w1) b = SpaceToDepth<blocksize = 2>(a) y = Conv(b, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 16, 1, 1] w2"),
    case("SpaceToDepth-and-back", "SpaceToDepth DepthToSpace",  # both count blocks before channels
         "a = Conv(x, w1) b = SpaceToDepth<blocksize = 2>(a) c = DepthToSpace<blocksize = 2>(b) y = Conv(c, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2"),
    case("SpaceToDepth-of-channels-last", "SpaceToDepth Transpose",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) b = SpaceToDepth<blocksize = 2>(t) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 24, 1, 1] w2", inputs=SMALL, reason="SpaceToDepth node 'b' moves this axis into or out of the channels"),
    case("Col2Im", "Col2Im Reshape", "a = Conv(x, w1) f = Reshape(a, flat) b = Col2Im(f, image, block) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[3] flat = {0, 4, 36}, int64[2] image = {6, 6}, int64[2] block = {1, 1}",
         inputs=SMALL, opset=18, reason="Col2Im node 'b' folds this axis into windows"),
]  # fmt: skip
