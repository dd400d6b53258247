"""Recurrent layers."""

from __future__ import annotations

from cases.base import case

LINES = "float[N, 3, 4, W] x"
CRNN = "a = Conv(x, w1) r = Relu(a) p = ReduceMax<axes = [2], keepdims = 0>(r) s = Transpose<perm = [2, 0, 1]>(p)"
STATE = "recurrent state of "

RECURRENT = [
    *(
        case(f"{op}-behind-Conv", f"{op} Conv Transpose Squeeze MatMul",
             f"{CRNN} h, last = {op}<hidden_size = 6>(s, wi, wr, bi) q = Squeeze(h, dirs) y = MatMul(q, w2)", (4,),
             f"float[4, 3, 1, 1] w1, float[1, {gates * 6}, 4] wi, float[1, {gates * 6}, 6] wr, float[1, {2 * gates * 6}] bi, "
             "float[6, 2] w2, int64[1] dirs = {1}", inputs=LINES, outputs="float[W, N, 2] y", reason=f"{STATE}{op} node 'h'")
        for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    ),
    case("LSTM-CRNN-head", "LSTM Reshape Squeeze Transpose",  # height is flattened into the input: 4 channels of 4 rows
         "a = Conv(x, w1) r = Relu(a) t = Transpose<perm = [3, 0, 1, 2]>(r) s = Reshape(t, rows) "
         "h, hn, cn = LSTM<hidden_size = 3, direction = \"bidirectional\">(s, wi, wr, bi, lengths, h0, c0, wp) "
         "u = Transpose<perm = [0, 2, 1, 3]>(h) v = Reshape(u, both) g, gn, dn = LSTM<hidden_size = 5>(v, wj, wq) q = Squeeze(g, dirs) "
         "y = MatMul(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 12, 16] wi, float[2, 12, 3] wr, float[2, 24] bi, float[2, 1, 3] h0, float[2, 1, 3] c0, "
         "float[2, 9] wp, float[1, 20, 6] wj, float[1, 20, 5] wq, float[5, 2] w2, int64[3] rows = {0, 0, -1}, int64[3] both = {0, 0, -1}, "
         "int64[1] dirs = {1}",
         inputs="float[1, 3, 4, W] x, int32[1] lengths", outputs="float[W, 1, 2] y", reason=f"{STATE}LSTM node 'h'"),
    case("GRU-last-state", "GRU", f"{CRNN} , last = GRU<hidden_size = 6, linear_before_reset = 1>(s, wi, wr) "
         "q = Squeeze(last, dirs) y = MatMul(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[1, 18, 4] wi, float[1, 18, 6] wr, float[6, 2] w2, int64[1] dirs = {0}",
         inputs=LINES, outputs="float[N, 2] y", reason="recurrent state of GRU node"),
    case("RNN-over-channels", "RNN",  # channels are the steps
         "a = Conv(x, w1) p = ReduceMax<axes = [2], keepdims = 0>(a) s = Transpose<perm = [1, 0, 2]>(p) "
         "h, last = RNN<hidden_size = 6>(s, wi, wr) y = Squeeze(last, dirs)", (),
         "float[4, 3, 1, 1] w1, float[1, 6, 5] wi, float[1, 6, 6] wr, int64[1] dirs = {0}", inputs="float[N, 3, 4, 5] x",
         outputs="float[N, 6] y", reason="RNN node 'h' steps over this axis"),
    case("RNN-computed-weight", "RNN", "a = Conv(x, w1) p = ReduceMax<axes = [0, 2], keepdims = 0>(a) u = Unsqueeze(p, front) "
         "h, last = RNN<hidden_size = 4>(z, u, wr) y = Identity(last)", (), "float[4, 3, 1, 1] w1, float[1, 4, 4] wr, int64[1] front = {0}",
         inputs="float[N, 3, 4, 5] x, float[L, M, 5] z", outputs="float[1, M, 4] y", reason="its weight is computed from the input"),
]  # fmt: skip

RECURRENT_NOT_RUN = [
    case("GRU-batch-first", "GRU", "a = Conv(x, w1) p = ReduceMax<axes = [2], keepdims = 0>(a) s = Transpose<perm = [0, 2, 1]>(p) "
         "h, last = GRU<hidden_size = 6, layout = 1>(s, wi, wr) y = Identity(last)", (4,),
         "float[4, 3, 1, 1] w1, float[1, 18, 4] wi, float[1, 18, 6] wr", inputs="float[2, 3, 4, 5] x", outputs="float[2, 1, 6] y",
         reason="recurrent state of GRU node 'h'"),
]  # fmt: skip
