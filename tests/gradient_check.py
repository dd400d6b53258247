"""Gradients of the training engine against finite differences of the original model.

A case is a few nodes as ONNX text and the tensors they read. Floating-point tensors learn, activations as well as
weights, so one mechanism checks the gradients of both: `build_view` arranges the case, a loss with random weights on
every output is attached, the engine differentiates it. The same loss of the *original* model (nothing converted,
nothing decomposed) is differentiated numerically along random directions, one tensor at a time.

How exact this is. The original runs in double precision: in ONNX Runtime where it has double kernels, else in ONNX's
reference implementation; either counts only if it agrees with ONNX Runtime in single precision and does not round to
single precision inside. The five-point difference with a step of 1e-4 is then good for 1e-10, so what is compared is
the engine's own rounding: single precision, 6e-8 per operation, in sums of up to some hundred terms with some
cancellation. `TOLERANCE` allows a thousand roundings; a wrong formula is off by far more. Where nothing runs in double
precision (Erf, operators of com.microsoft), single precision with a step of 1e-2 leaves a rounding noise of 1e-7 / 1e-2
for one output, and more in a sum of many: `SINGLE_TOLERANCE`. Directions are normal with variance 1 in every element,
so a directional derivative is as large as the gradient; errors are relative to the largest of them. Inputs keep away
from kinks by more than two steps (`distinct`, `away_from`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from models import Arrays, copied, plain_session, run
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.view import LOSS, TrainingView, build_view

TOLERANCE = 1e-4  # see above: relative, in double precision
SINGLE_TOLERANCE = 2e-4
STEP = 1e-4
SINGLE_STEP = 1e-2
FORWARD_TOLERANCE = 2e-5  # of the largest output: two orders of summation in single precision
_AGREEMENT = 1e-4  # within which double and single precision compute the same function
_SMALL_STEP = 1e-4  # its fourth power, the fourth difference of a smooth function, is far below single precision
_ROUGHNESS = 1e-8
_NUM_DIRECTIONS = 3
_IR_VERSION = 8
# Operands that stay single precision in a model of doubles: (operator, position).
_SINGLE_OPERANDS = {("Resize", 2), ("Upsample", 1)}
_FACTOR: Mapping[str, NDArray[np.float32]] = {"test//factor": np.ones((), dtype=np.float32)}
_FIVE_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))

Function = Callable[[Mapping[str, NDArray[Any]]], Arrays]


@dataclass(frozen=True)
class GradientCase:
    """A few nodes whose gradients are checked.

    Attributes:
        name: Test id.
        covers: Operators it was written for; those of other domains as "com.microsoft.Gelu".
        body: The nodes as ONNX text.
        stored: Values of the tensors that the nodes read and do not make. Those of floats learn.
        outputs: Names of the floating-point outputs.
        opsets: Versions of the default domain in which the text is valid; each is a test.
        fixed: Tensors of floats that do not learn: bounds, pad values, scales.
        batch_norm: As in `build_view`; "train" computes another function than the file says.
    """

    name: str
    covers: tuple[str, ...]
    body: str
    stored: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...] = ("y",)
    opsets: tuple[int, ...] = (17,)
    fixed: tuple[str, ...] = ()
    batch_norm: BatchNormMode = "frozen"

    @property
    def learned(self) -> list[str]:
        """Names of the tensors that get gradients."""
        return [name for name, value in self.stored.items() if value.dtype == np.float32 and name not in self.fixed]

    def model(self, opset: int) -> onnx.ModelProto:
        """The case as a model without inputs."""
        domains = "".join(f', "{d}" : 1' for d in ("com.microsoft",) if f"{d}." in self.body)
        outputs = ", ".join(f"float {name}" for name in self.outputs)
        header = f'<ir_version: {_IR_VERSION}, opset_import: ["" : {opset}{domains}]>'
        model = parser.parse_model(f"{header} net () => ({outputs}) {{ {self.body} }}")
        model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in self.stored.items())
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")  # "float y" declares a scalar
        return model


def gradient_case(
    name: str,
    covers: str,
    body: str,
    *,
    opsets: Sequence[int] = (17,),
    fixed: str = "",
    outputs: str = "y",
    batch_norm: BatchNormMode = "frozen",
    **stored: Any,
) -> GradientCase:
    """A case from its parts; `covers`, `fixed` and `outputs` are names with spaces between them.

    Other keywords are the stored tensors: floats become float32, integers int64.
    """
    arrays = {key: _standard(np.asarray(value)) for key, value in stored.items()}
    return GradientCase(
        name,
        tuple(covers.split()),
        body,
        arrays,
        tuple(outputs.split()),
        tuple(opsets),
        tuple(fixed.split()),
        batch_norm,
    )


def _standard(value: NDArray[Any]) -> NDArray[Any]:
    return value.astype({"f": np.float32, "i": np.int64}.get(value.dtype.kind, value.dtype))


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    """Standard normal values."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def between(low: float, high: float, *shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Uniform values, for operators that are not defined, or not smooth, elsewhere."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def distinct(*shape: int, seed: int = 0, spacing: float = 0.25) -> NDArray[np.float32]:
    """Values around 0, none of them 0, no two closer than `spacing`: no maximum or rank changes within a step."""
    size = int(np.prod(shape))
    steps = np.random.default_rng(seed).permutation(size) - size // 2 + 0.5
    return (steps.reshape(shape) * spacing).astype(np.float32)


def away_from(kinks: Sequence[float], *shape: int, seed: int = 0, margin: float = 0.1, scale: float = 1.5) -> Any:
    """Normal values, those within `margin` of a kink moved out to it."""
    values = normal(*shape, seed=seed, scale=scale)
    for kink in kinks:
        near = np.abs(values - kink) < margin
        values = np.where(near, kink + margin * np.where(values < kink, -1, 1), values).astype(np.float32)
    return values


@dataclass(frozen=True)
class GradientReport:
    """What a check found.

    Attributes:
        errors: Per learned tensor, the largest difference of directional derivatives, relative to the largest one.
        forward_error: Largest difference between the view's outputs and the original's, relative to the largest output.
        precision: What ran the original: "double", "reference" or "single".
    """

    errors: dict[str, float]
    forward_error: float
    precision: str

    @property
    def tolerance(self) -> float:
        """What the errors may be."""
        return SINGLE_TOLERANCE if self.precision == "single" else TOLERANCE


def check_gradients(case: GradientCase, opset: int) -> GradientReport:
    """Compare the engine's forward values and gradients with those of the original model; see the module.

    Raises:
        AssertionError: They differ by more than the tolerance, or the check would mean nothing.
    """
    report = measure_gradients(case.model(opset), case.learned, batch_norm=case.batch_norm)
    assert report.forward_error <= FORWARD_TOLERANCE, f"the view's outputs differ by {report.forward_error:.1e}"
    for name, error in report.errors.items():
        assert error <= report.tolerance, f"d/d{name} differs by {error:.1e} ({report.precision} precision)"
    return report


def measure_gradients(
    model: onnx.ModelProto, learned: Sequence[str], *, batch_norm: BatchNormMode = "frozen"
) -> GradientReport:
    """Differences between the engine and the original model.

    Args:
        model: Without inputs; its outputs are floats. They get a factor of 1 that is an input, because a view looks at
            what depends on data, and before a final Softmax.
        learned: Initializers to differentiate by.
        batch_norm: As in `build_view`.
    """
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in learned}
    model = _with_factor(model)
    expected = run(model, _FACTOR)
    assert all(np.isfinite(v).all() and v.size for v in expected.values()), "outputs are not finite, or empty"
    rng = np.random.default_rng(1)
    loss = _WeightedSum(
        {name: np.asarray(rng.standard_normal(v.shape)).astype(np.float32) for name, v in expected.items()}
    )
    view = build_view(model, {name: () for name in _FACTOR}, learned=list(learned), batch_norm=batch_norm)
    assert view.taps == {name: (name,) for name in expected}, f"the loss would be taken elsewhere: {view.taps}"
    forward_error = _relative(_view_outputs(view, list(expected)), expected)
    loss.attach(view)
    _, gradients = OrtEngine(view, threads=1).gradients(_FACTOR)
    precision, function = _best_function(model, values, expected)
    step = SINGLE_STEP if precision == "single" else STEP
    errors = {}
    for name in learned:
        gradient = gradients.get(name, np.zeros_like(values[name])).astype(np.float64)
        assert gradient.shape == values[name].shape, f"the gradient of {name} has shape {gradient.shape}"
        directions = rng.standard_normal((_NUM_DIRECTIONS, *values[name].shape))
        numeric = np.array([_derivative(function, loss, values, name, d, step) for d in directions])
        difference = np.abs(numeric - [np.vdot(gradient, d) for d in directions]).max()
        errors[name] = float(difference / max(np.abs(numeric).max(), _smallest(values[name])))
    return GradientReport(errors, forward_error, precision)


def _smallest(value: NDArray[Any]) -> float:
    """Below this a derivative counts as 0 and differences are absolute: outputs are of order 1."""
    return 1e-2 * float(np.sqrt(value.size))


@dataclass
class _WeightedSum:
    """sum over all outputs of output * weights, with fixed random weights."""

    weights: Arrays

    def attach(self, view: TrainingView) -> None:
        terms = []
        for name, value in self.weights.items():
            product = view.add_node(
                "Mul", [name, view.add_constant(f"test//{name}/weights", value)], f"test//{name}/product"
            )
            terms.append(view.add_node("ReduceSum", [product], f"test//{name}/sum", keepdims=0))
        total = terms[0]
        for number, term in enumerate(terms[1:]):
            total = view.add_node("Add", [total, term], f"test//total/{number}")
        view.add_node("Identity", [total], LOSS)

    def of(self, outputs: Mapping[str, NDArray[Any]]) -> float:
        return sum(float(np.vdot(w.astype(np.float64), outputs[n].astype(np.float64))) for n, w in self.weights.items())


def _view_outputs(view: TrainingView, names: list[str]) -> Arrays:
    """What the view computes for the original's outputs, before a loss is attached."""
    model = copied(view.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return run(model, {i.name: {**_FACTOR, **view.values}[i.name] for i in model.graph.input})


def _relative(actual: Arrays, expected: Arrays) -> float:
    """Largest difference relative to the largest value, over all outputs."""
    assert {n: v.shape for n, v in actual.items()} == {n: v.shape for n, v in expected.items()}
    return max(float(np.abs(actual[n] - v).max() / max(1e-3, np.abs(v).max())) for n, v in expected.items())


def _derivative(
    function: Function, loss: _WeightedSum, values: Arrays, name: str, direction: NDArray[Any], step: float
) -> float:
    """Five-point central difference of the loss along a direction of one tensor."""
    total = 0.0
    for offset, factor in _FIVE_POINTS:
        total += factor * loss.of(function({**values, name: values[name] + offset * step * direction}))
    return total / step


def _best_function(model: onnx.ModelProto, values: Arrays, expected: Arrays) -> tuple[str, Function]:
    """The most precise way to run the original that agrees with single precision."""
    for precision, function in _functions(model, values.keys()):
        try:
            outputs = function(values)
        except Exception:  # the reference fails on operators that it knows in part
            continue
        same_shapes = all(outputs[n].shape == v.shape for n, v in expected.items())
        agrees = same_shapes and _relative(outputs, expected) <= _AGREEMENT
        if precision == "single" or (agrees and _is_double(function, values)):
            return precision, function
    raise AssertionError("nothing runs the original model")


def _is_double(function: Function, values: Arrays) -> bool:
    """Whether fourth differences over small steps vanish: some kernels for doubles round to single precision inside."""
    rng = np.random.default_rng(2)
    directions = {n: rng.standard_normal(v.shape) for n, v in values.items()}
    steps = [function({n: v + k * _SMALL_STEP * directions[n] for n, v in values.items()}) for k in range(8)]
    for name in steps[0]:
        line = np.stack([outputs[name] for outputs in steps])
        if np.abs(np.diff(line, n=4, axis=0)).max() > _ROUGHNESS * max(1.0, np.abs(line).max()):
            return False
    return True


def _functions(model: onnx.ModelProto, learned: Collection[str]) -> Iterator[tuple[str, Function]]:
    single = _with_inputs(model, learned)
    double = copied(single)
    _widen(double)
    names = [o.name for o in model.graph.output]

    def function(evaluator: Any, dtype: type) -> Function:
        def evaluate(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
            results = evaluator.run(names, {n: np.asarray(v, dtype=dtype) for n, v in {**_FACTOR, **feeds}.items()})
            assert all(r.dtype == dtype for r in results)
            return dict(zip(names, results, strict=True))

        return evaluate

    makers: tuple[tuple[str, Callable[[], Any], type], ...] = (
        ("double", lambda: plain_session(double), np.float64),
        ("reference", lambda: ReferenceEvaluator(double), np.float64),
        ("single", lambda: plain_session(single), np.float32),
    )
    for precision, make, dtype in makers:
        try:
            evaluator = make()
        except Exception:  # no double kernel, or the reference does not know the operator; their errors share no base
            continue
        yield precision, function(evaluator, dtype)


def _with_factor(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose outputs are multiplied by an input."""
    copy = copied(model)
    for name in _FACTOR:
        copy.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ()))
        for output in copy.graph.output:
            copy.graph.node.append(helper.make_node("Mul", [output.name, name], [f"{output.name}//out"]))
            output.name = f"{output.name}//out"
    return copy


def _with_inputs(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A copy in which some initializers are inputs."""
    copy = copied(model)
    for tensor in [t for t in copy.graph.initializer if t.name in names]:
        copy.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        copy.graph.initializer.remove(tensor)
    return copy


def _widen(model: onnx.ModelProto) -> None:
    """Turn every single-precision tensor of a graph into a double, in place."""
    graph = model.graph
    single = {n.input[p] for n in graph.node for op, p in _SINGLE_OPERANDS if n.op_type == op and p < len(n.input)}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in single:
            _widen_tensor(tensor)
    for info in (*graph.input, *graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                _widen_tensor(attribute.t)
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
