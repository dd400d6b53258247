"""Networks with If, Loop and Scan: convolutions inside bodies, and what bodies read from outside."""

from __future__ import annotations

from cases.base import ENDS, IMAGE, case

FLAG = IMAGE + ", bool flag"
ROUNDS = "int64 rounds = {3}, bool go = {1}"
STEPS = "float[2, 3, 6, 6] start, float[5, 2, 3, 6, 6] steps"


def branches(then: str, other: str) -> str:
    """An If on `flag` that makes `s`; each branch is `name () => (outputs) <weights> { nodes }` without its name."""
    return f"s = If(flag)<then_branch = yes () => {then}, else_branch = no () => {other}>"


def maps(name: str, channels: int) -> str:
    """Declaration of a body's result."""
    return f"(float[N, {channels}, P_{name}, Q_{name}] {name})"


SUBGRAPHS = [
    case("If-convolution-pairs", "If",  # a; inside each branch; the branches' joined results
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 6)} <float[5, 4, 1, 1] wt, float[5] bt, float[6, 5, 1, 1] vt> {{ p = Conv(a, wt, bt) r = Relu(p) t = Conv(r, vt) }}",
             f"{maps('e', 6)} <float[7, 4, 1, 1] we, float[6, 7, 1, 1] ve> {{ q = Conv(a, we) e = Conv(q, ve) }}",
         ) + " y = Conv(s, w2)", (4, 5, 6, 7), "float[4, 3, 1, 1] w1, float[2, 6, 1, 1] w2", inputs=FLAG),
    case("If-constants-in-branches", "If",  # weights in Constant nodes of the bodies, with declared shapes inside
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 6)} <float[5, 4, 1, 1] const_t, float[6, 5, 1, 1] const_u, float[N, 5, H, W] p> {{ p = Conv(a, const_t) t = Conv(p, const_u) }}",
             f"{maps('e', 6)} <float[6, 4, 1, 1] const_e> {{ e = Conv(a, const_e) }}",
         ) + " y = Conv(s, w2)", (4, 5, 6), "float[4, 3, 1, 1] w1, float[2, 6, 1, 1] w2", inputs=FLAG),
    case("If-outer-weight", "If",  # one weight of the graph around, read by both branches
         "a = Conv(x, w1) " + branches(f"{maps('t', 5)} {{ t = Conv(a, ws) }}", f"{maps('e', 5)} {{ m = Neg(a) e = Conv(m, ws) }}")
         + " y = Conv(s, w2)", (4, 5), "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] ws, float[2, 5, 1, 1] w2", inputs=FLAG),
    case("If-outer-tensor-passed-on", "If Conv",  # the else branch hands out what it captures
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 4)} <float[4, 4, 1, 1] wt> {{ t = Conv(a, wt) }}", f"{maps('e', 4)} {{ e = Identity(a) }}")
         + " y = Conv(s, w2)", (4,), ENDS, inputs=FLAG),
    case("If-two-results", "If",
         "a = Conv(x, w1) s, q = If(flag)<then_branch = yes () => (float[N, 4, H, W] t, float[N, 5, H, W] u) <float[5, 4, 1, 1] wu> "
         "{ t = Relu(a) u = Conv(a, wu) }, else_branch = no () => (float[N, 4, H, W] e, float[N, 5, H, W] f) <float[5, 4, 1, 1] wf> "
         "{ e = Neg(a) f = Conv(a, wf) }> b = Conv(s, w2) c = Conv(q, w3) y = Add(b, c)", (4, 5),
         ENDS + ", float[2, 5, 1, 1] w3", inputs=FLAG),
    case("If-names-clash", "If",  # both branches call their result r: they are read as a whole
         "a = Conv(x, w1) " + branches(f"{maps('r', 4)} {{ r = Relu(a) }}", f"{maps('r', 4)} {{ r = Neg(a) }}")
         + " b = Conv(s, w2) y = Conv(b, w3)", (5,), "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3",
         inputs=FLAG, reason="If node 's': its sub-graphs read outer tensors"),
    case("If-weights-clash", "If",  # two weights of one name, in two branches
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 4)} <float[4, 4, 1, 1] w> {{ t = Conv(a, w) }}", f"{maps('e', 4)} <float[4, 4, 1, 1] w> {{ e = Conv(a, w) }}")
         + " b = Conv(s, w2) y = Conv(b, w3)", (5,), "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3",
         inputs=FLAG, reason="If node 's': its sub-graphs read outer tensors"),
    case("If-different-shapes", "If",
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 4)} {{ t = Relu(a) }}",
             f"{maps('e', 4)} {{ e = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) }}",
         ) + " b = Conv(s, w2) y = Conv(b, w3)", (5,), "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3",
         inputs=FLAG, reason="If node 's': its branches give different shapes"),
    case("If-one-branch-gives-the-input", "If",
         "a = Conv(x, w1) " + branches(f"{maps('t', 3)} <float[3, 4, 1, 1] wt> {{ t = Conv(a, wt) }}", f"{maps('e', 3)} {{ e = Identity(x) }}")
         + " y = Conv(s, w2)", (4,), "float[4, 3, 1, 1] w1, float[2, 3, 1, 1] w2", inputs=FLAG, reason="another branch of If node 's' gives 'e', graph input 'x'"),
    case("If-nested", "If",
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 4)} {{ u = Not(flag) t = If(u)<then_branch = inner () => {maps('i', 4)} <float[5, 4, 1, 1] wi, float[4, 5, 1, 1] vi> "
             f"{{ p = Conv(a, wi) i = Conv(p, vi) }}, else_branch = other () => {maps('j', 4)} {{ j = Relu(a) }}> }}",
             f"{maps('e', 4)} {{ e = Neg(a) }}",
         ) + " y = Conv(s, w2)", (4, 5), ENDS, inputs=FLAG),
    case("If-Reshape-in-a-branch", "If Conv",  # the target bakes the count inside the body
         "a = Conv(x, w1) " + branches(
             "(float[N, 2] t) <int64[2] to = {0, 144}, float[144, 2] wt> { f = Reshape(a, to) t = MatMul(f, wt) }",
             "(float[N, 2] e) <float[2, 4] we> { g = GlobalAveragePool(a) h = Flatten(g) e = Gemm<transB = 1>(h, we) }",
         ) + " y = Relu(s)", (4,), "float[4, 3, 1, 1] w1", inputs="float[N, 3, 6, 6] x, bool flag", outputs="float[N, 2] y"),
    case("If-Reshape-by-Constant-in-a-branch", "If Conv",
         "a = Conv(x, w1) " + branches(
             "(float[N, 2] t) <float[144, 2] wt> { to = Constant<value_ints = [0, 144]>() f = Reshape(a, to) t = MatMul(f, wt) }",
             "(float[N, 2] e) <float[2, 4] we> { g = GlobalAveragePool(a) h = Flatten(g) e = Gemm<transB = 1>(h, we) }",
         ) + " y = Relu(s)", (4,), "float[4, 3, 1, 1] w1", inputs="float[N, 3, 6, 6] x, bool flag", outputs="float[N, 2] y"),
    case("If-Reshape-computed-in-a-branch", "If Conv",  # batch from Shape, count baked, one target for two nodes
         "a = Conv(x, w1) " + branches(
             "(float[N, 2] t) <int64[1] at = {0}, int64[1] end = {1}, int64[1] count = {144}, float[144, 2] wt> "
             "{ all = Shape(a) n = Slice(all, at, end) to = Concat<axis = 0>(n, count) f = Reshape(a, to) m = Neg(a) k = Reshape(m, to) "
             "h = Add(f, k) t = MatMul(h, wt) }",
             "(float[N, 2] e) <float[2, 4] we> { g = GlobalAveragePool(a) o = Flatten(g) e = Gemm<transB = 1>(o, we) }",
         ) + " y = Relu(s)", (4,), "float[4, 3, 1, 1] w1", inputs="float[N, 3, 6, 6] x, bool flag", outputs="float[N, 2] y"),
    case("If-target-by-batch-size", "If",  # one sample takes the branch that the trace does not
         "a = Conv(x, w1) all = Shape(x) n = Gather(all, zero) c = Equal(n, one) "
         "to = If(c)<then_branch = yes () => (int64[2] t) { t = Constant<value_ints = [0, -1]>() }, "
         "else_branch = no () => (int64[2] e) { e = Constant<value_ints = [0, 144]>() }> f = Reshape(a, to) y = MatMul(f, w2)", (),
         "float[4, 3, 1, 1] w1, float[144, 2] w2, int64 zero = {0}, int64 one = {1}", inputs="float[N, 3, 6, 6] x",
         outputs="float[N, 2] y", reason="Reshape node 'f': its target depends on the data"),
    case("If-slice-by-batch-size", "If",
         "a = Conv(x, w1) all = Shape(x) n = Gather(all, zero) c = Equal(n, one) "
         "at = If(c)<then_branch = yes () => (int64[1] t) { t = Constant<value_ints = [0]>() }, "
         "else_branch = no () => (int64[1] t) { t = Constant<value_ints = [1]>() }> end = Add(at, three) f = Slice(a, at, end, axis) y = Conv(f, w2)",
         (), "float[4, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64 zero = {0}, int64 one = {1}, int64[1] three = {3}, int64[1] axis = {1}",
         reason="Slice node 'f' slices this axis at bounds that depend on the data"),
    case("If-depthwise-and-grouped-in-a-branch", "If",  # attributes that bake a count
         "a = Conv(x, w1) " + branches(
             f"{maps('t', 6)} <float[6, 1, 3, 3] wt> {{ t = Conv<group = 6, pads = [1, 1, 1, 1]>(a, wt) }}",
             f"{maps('e', 6)} <float[6, 1, 1, 1] we> {{ e = Conv<group = 6>(a, we) }}",
         ) + " y = Conv(s, w2)", (6,), "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2", inputs=FLAG),
    case("Loop-convolution-pair", "Loop",  # a and the channels inside go; the state stays
         "a = Conv(x, w1) s = Loop(rounds, go, z)<body = again (int64 i, bool c, float[N, 2, H, W] v) => (bool k, float[N, 2, H, W] u) "
         "<float[5, 4, 1, 1] wl, float[2, 5, 1, 1] vl> { k = Identity(c) p = Conv(a, wl) r = Relu(p) q = Conv(r, vl) u = Add(v, q) }> "
         "y = Relu(s)", (4, 5), "float[4, 3, 1, 1] w1, " + ROUNDS, inputs=IMAGE + ", float[N, 2, H, W] z",
         reason="Add node 'u' combines it with state of Loop node 's'"),
    case("Loop-state-is-locked", "Loop",
         "a = Conv(x, w1) s = Loop(rounds, go, a)<body = again (int64 i, bool c, float[N, 4, H, W] v) => (bool k, float[N, 4, H, W] u) "
         "<float[5, 4, 1, 1] wl, float[4, 5, 1, 1] vl> { k = Identity(c) p = Conv(v, wl) u = Conv(p, vl) }> b = Conv(s, w2) y = Conv(b, w3)",
         (5, 5), "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3, " + ROUNDS,
         reason="Loop node 's': its sub-graph runs several times"),
    case("Loop-puts-out-every-round", "Loop",  # what it collects has one axis more
         "a = Conv(x, w1) last, s = Loop(rounds, go, z)<body = again (int64 i, bool c, float[N, 2, H, W] v) => "
         "(bool k, float[N, 2, H, W] u, float[N, 5, H, W] each) <float[5, 4, 1, 1] wl, float[2, 5, 1, 1] vl> "
         "{ k = Identity(c) each = Conv(a, wl) q = Conv(each, vl) u = Add(v, q) }> m = ReduceSum<keepdims = 0>(s, first) b = Conv(m, w2) y = Add(b, last)",
         (4,), "float[4, 3, 1, 1] w1, float[2, 5, 1, 1] w2, int64[1] first = {0}, " + ROUNDS, inputs=IMAGE + ", float[N, 2, H, W] z",
         reason="Loop node 'last': its sub-graph runs several times"),
    case("Loop-sees-an-outer-tensor-otherwise", "Loop",  # a mean over channels inside the body locks them
         "a = Conv(x, w1) s = Loop(rounds, go, z)<body = again (int64 i, bool c, float[N, 1, H, W] v) => (bool k, float[N, 1, H, W] u) "
         "{ k = Identity(c) q = ReduceMean<axes = [1]>(a) u = Add(v, q) }> b = Conv(a, w2) y = Add(b, s)", (),
         ENDS + ", " + ROUNDS, inputs=IMAGE + ", float[N, 1, H, W] z", reason="ReduceMean node 'q'"),
    case("Scan-convolution-pair", "Scan",
         "last, s = Scan<num_scan_inputs = 1, body = step (float[2, 3, 6, 6] v, float[2, 3, 6, 6] x) => (float[2, 3, 6, 6] u, float[2, 2, 6, 6] each) "
         "<float[5, 3, 1, 1] wl, float[3, 5, 1, 1] vl, float[2, 5, 1, 1] ul> { p = Conv(x, wl) q = Conv(p, vl) u = Add(v, q) each = Conv(p, ul) }>"
         "(start, steps)", (5,), "", inputs=STEPS, outputs="float[2, 3, 6, 6] last, float[5, 2, 2, 6, 6] s",
         reason="Scan node 'last': its sub-graph runs several times"),
    case("Scan-captures-an-outer-tensor", "Scan",
         "a = Conv(start, w1) last, s = Scan<num_scan_inputs = 1, body = step (float[2, 3, 6, 6] v, float[2, 3, 6, 6] x) => "
         "(float[2, 3, 6, 6] u, float[2, 2, 6, 6] each) <float[3, 4, 1, 1] vl, float[2, 3, 1, 1] ul> "
         "{ q = Conv(a, vl) h = Add(v, x) u = Add(h, q) each = Conv(x, ul) }>(start, steps)",
         (4,), "float[4, 3, 1, 1] w1", inputs=STEPS, outputs="float[2, 3, 6, 6] last, float[5, 2, 2, 6, 6] s",
         reason="Scan node 'last': its sub-graph runs several times"),
]  # fmt: skip
