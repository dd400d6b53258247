"""Which channels a run removes: chosen at once, or while the network trains with masks."""

from __future__ import annotations

import logging
import time

import numpy as np
import onnx

from onnx_dnscp.commands.prune_norms import with_lost_norms
from onnx_dnscp.commands.prune_run import Run
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.methods import METHODS, MethodSettings, choose_once
from onnx_dnscp.masks.registry import no_offsets
from onnx_dnscp.masks.rules import raised
from onnx_dnscp.measure.sensitivity import group_sensitivity
from onnx_dnscp.model.units import Mask
from onnx_dnscp.repair.norms import without_norms
from onnx_dnscp.repair.repair import repair
from onnx_dnscp.repair.samples import repair_batches
from onnx_dnscp.repair.trial import Trial, walk_down
from onnx_dnscp.runs.options import DEFAULT_SENSITIVITY, FIRST_TRIED, SENSITIVITIES
from onnx_dnscp.runs.run_directory import ARTIFACTS
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.artifacts import write_artifacts
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.loop import train_with_masks
from onnx_dnscp.training.method import Method
from onnx_dnscp.training.weights import Vector

logger = logging.getLogger("onnx_dnscp")


def choose_mask(run: Run) -> Mask:
    """At once, or while the network trains; sets `trained`."""
    method = _method(run)
    if not run.options.train:
        mask = choose_once(method, run.units.graph.stored, run.units.num_units)
        asked = run.options.repair
        if asked or (asked is None and run.dataset is not None):
            run.trained = _repaired(run, mask)
        return mask
    state = run.keeper.states.get("train")
    started = time.monotonic() - (state.seconds if state else 0.0)
    start = with_lost_norms(run, _start(run), like=run.loaded.proto)
    if state is None or not state.is_done:
        logger.info("building gradients and checking them")
        begun = time.monotonic()
        phase = run.trainer().phase("train", start, units=run.units, method=method)
        run.seconds["set-up"] = time.monotonic() - begun
        state = phase.begin(state)
        logger.info("training with masks: %d steps, loss %s", state.num_steps, phase.loss.name)

        def accuracy(now: PhaseState) -> float | None:
            assert now.mask is not None, "a step with masks is done"
            return run.test_accuracy(mask_model(copy_with_weights(start, now.weights), run.units, now.mask))

        with run.keeper.watching(state, run.options.epochs, accuracy) as observe:
            train_with_masks(phase, state, run.units, method, run.budget, run.keeper.log.history, observe)
    assert state.mask is not None, "the phase with masks is done"
    run.notes += state.notes
    run.trained = without_norms(copy_with_weights(start, state.weights))
    _leave_artifacts(run, state.mask)
    run.seconds["train"] = time.monotonic() - started
    return state.mask


def _leave_artifacts(run: Run, mask: Mask) -> None:
    """The masked model for onnxruntime-training, in the run directory if there is one."""
    directory = run.keeper.directory
    if directory is None or (directory.path / ARTIFACTS).exists():
        return
    # A device has no teacher.
    view, _ = run.trainer().view(run.trained, units=run.units, method=_method(run), taught=False)
    try:
        write_artifacts(directory.path / ARTIFACTS, view, view.values, mask, run.options.optimizer)
    except RequestError as error:
        run.notes.append(f"The run directory has no {ARTIFACTS} for onnxruntime-training: {error}")


def _start(run: Run) -> onnx.ModelProto:
    """The model that training starts from: the original, or repaired for a first mask that meets the target."""
    asked = run.options.repair
    if asked is False or (asked is None and (run.dataset is None or not run.dataset.real)):
        return run.loaded.proto
    mask = _method(run).begin(run.units.graph.stored, 1)
    if mask.all():
        return run.loaded.proto
    if run.budget.ratio(mask) >= run.budget.target:
        return _repaired(run, mask)
    if asked:
        run.notes.append("--repair did nothing: with training it needs a mask that meets the target at the start.")
    return run.loaded.proto


def _repaired(run: Run, mask: Mask) -> onnx.ModelProto:
    """The original with weights that stay making up for those that go."""
    batches = _repair_batches(run)
    samples = sum(batch.size for batch in batches)
    logger.info("repairing weights with %d samples", samples)
    repaired = repair(run.loaded.proto, run.units, mask, batches, threads=run.options.threads)
    if not repaired:
        run.notes.append(
            "No weight was fitted to the original's activations: none is stored as floats and read by one node alone."
        )
        return run.loaded.proto
    what = "made-up inputs; real samples (--data) give a better result" if run.dataset is None else "samples"
    run.notes.append(f"The weights that stay were fitted to the original's activations on {samples} {what}.")
    return copy_with_weights(run.loaded.proto, repaired)


def _repair_batches(run: Run) -> list[Batch]:
    return repair_batches(
        run.units.graph, run.units.trace.shapes_of(run.units.graph.inputs), run.dataset, run.options.seed
    )


def _offsets(run: Run, importance: Vector) -> Vector:
    """(groups,) what the sensitivity of each group adds to its channels' rank; measured once."""
    data = run.dataset
    if run.options.sensitivity == 0 or data is None or not data.real or len(run.units.groups) < 2:
        return no_offsets(importance)
    if run.offsets is None:
        run.offsets = _measured_offsets(run, importance)
    return run.offsets


def _measured_offsets(run: Run, importance: Vector) -> Vector:
    model, units, budget, threads = run.loaded.proto, run.units, run.budget, run.options.threads
    logger.info("measuring the sensitivity of %d groups", len(units.groups))
    batches = _repair_batches(run)
    share = float(1 - budget.final_mask(importance).mean())
    found = group_sensitivity(model, units, importance, budget.ratio, batches, share=share, threads=threads)
    weight = run.options.sensitivity
    if weight is None and run.options.train:  # training makes up for what the trials could gain
        weight = DEFAULT_SENSITIVITY
    elif weight is None:
        trial = Trial(model, units, batches, threads)
        weight = walk_down(
            SENSITIVITIES,
            SENSITIVITIES.index(FIRST_TRIED),
            lambda tried: trial.error(budget.final_mask(raised(importance, tried * found, importance, units.group_of))),
        )
        logger.info("groups are spared with --sensitivity %g, which leaves the smallest error", weight)
    return weight * found


def _method(run: Run) -> Method:
    o = run.options
    if METHODS[o.method].needs_labels and not (o.train and run.trainer().loss_name() != "distill"):
        raise RequestError(
            f"--method {o.method} ranks channels by the gradients of training with labels; give labelled --data "
            "without --no-train, or choose another --method."
        )
    rng = np.random.default_rng(o.seed)
    settings = MethodSettings(
        run.units,
        run.budget,
        rng,
        schedule=o.schedule,
        rule=o.rule,
        c_rate=o.c_rate,
        gamma=o.gamma,
        power=o.power,
        measure=lambda importance: _offsets(run, importance),
    )
    return METHODS[o.method].make(settings)
