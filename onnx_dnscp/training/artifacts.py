"""The masked model as a standard set of onnxruntime-training artifacts, to go on training elsewhere, as on a device.

The files are those of `onnxruntime.training.artifacts.generate_artifacts`, which cannot make them itself: it would mask
gradients, writes into the working directory, breaks the evaluation model of a network with batch norm, and its package
wants torch. What it adds to the gradient graph is little and is added here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.editor import set_attribute, set_elements
from onnx_dnscp.model.runtime import MAX_IR_VERSION, first_line
from onnx_dnscp.model.units import Mask, with_fixed
from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.system.atomic import current_umask
from onnx_dnscp.training.gradient_graph import build_gradient_graph
from onnx_dnscp.training.optimizers import OptimizerName
from onnx_dnscp.training.passes.names import name_nodes
from onnx_dnscp.training.view import LOSS, MASK_INPUT, TrainingView

TRAINING_MODEL, EVAL_MODEL = "training_model.onnx", "eval_model.onnx"
OPTIMIZER_MODEL, CHECKPOINT = "optimizer_model.onnx", "checkpoint"

_RESET = "lazy_reset_grad"  # this name and the suffixes below are the runtime's
_BUFFER, _ACCUMULATED = "accumulation.buffer", "accumulation.out"


def write_artifacts(
    folder: Path, view: TrainingView, weights: Mapping[str, NDArray[Any]], mask: Mask, optimizer: OptimizerName
) -> None:
    """Write the training, evaluation and optimiser model and the checkpoint into a new folder, all or nothing.

    Inputs of both models are those of the network for the view's batch, then the loss's targets; outputs are the loss,
    then what the loss looks at: the network's outputs, before a final Softmax or Sigmoid. The mask is the frozen
    parameter `dnscp//mask`, one value per unit and a last 1; the gradients of masked weights pass straight through it,
    so it can be changed at any time.

    Args:
        folder: Made here.
        view: The masked network with its loss; not modified.
        weights: Learned tensors and running statistics by name.
        mask: (units,) True for units that are on.
        optimizer: "adamw" or "sgd"; the runtime's own, which has no momentum and decays no weights.

    Raises:
        RequestError: ONNX Runtime cannot build them.
        UsageError: They cannot be written.
    """
    from onnxruntime.capi import _pybind_state as native

    model = onnx.ModelProto()
    model.CopyFrom(view.model)
    taps = dict.fromkeys(tap for group in view.taps.values() for tap in group)
    del model.graph.output[:]  # running statistics that nobody asks for are updated in place
    model.graph.output.extend(onnx.ValueInfoProto(name=tap) for tap in taps)
    training = build_gradient_graph(replace(view, model=model))
    learned = _accumulate_gradients(training, view.trainable)
    frozen = {name: value for name, value in weights.items() if name not in learned}
    frozen[MASK_INPUT] = with_fixed(mask, True).astype(np.float32)
    parts = ({name: weights[name] for name in learned}, frozen)
    files = {
        TRAINING_MODEL: training,
        EVAL_MODEL: _evaluation_model(model),
        OPTIMIZER_MODEL: _optimizer_model(optimizer),
    }
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, content in files.items():
            (scratch / name).write_bytes(content.SerializeToString())
        tensors = [[numpy_helper.from_array(v, n).SerializeToString() for n, v in part.items()] for part in parts]
        scratch.chmod(0o777 & ~current_umask())
        native.save_checkpoint(*tensors, os.fspath(scratch / CHECKPOINT), False)
        os.replace(scratch, folder)
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(f"{first_line(error)}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _accumulate_gradients(model: onnx.ModelProto, trainable: list[str]) -> list[str]:
    """Add every gradient to a buffer, in place, instead of putting it out; return the tensors that have one."""
    graph = model.graph
    gradients = {f"{name}_grad": name for name in trainable}
    outputs = [output for output in graph.output if output.name not in gradients]
    learned: list[str] = []
    for output in [o for o in graph.output if o.name in gradients]:
        buffer, done = f"{output.name}.{_BUFFER}", f"{output.name}.{_ACCUMULATED}"
        inputs = [buffer, output.name, _RESET]
        graph.node.append(helper.make_node("InPlaceAccumulatorV2", inputs, [done], name=done, domain=MICROSOFT))
        tensor = output.type.tensor_type
        graph.input.append(onnx.ValueInfoProto(name=buffer, type=onnx.TypeProto(tensor_type=tensor)))
        outputs.append(helper.make_tensor_value_info(done, TensorProto.BOOL, [1]))
        learned.append(gradients[output.name])
    graph.input.append(helper.make_tensor_value_info(_RESET, TensorProto.BOOL, [1]))
    set_elements(graph.output, outputs)
    return learned


def _evaluation_model(forward: onnx.ModelProto) -> onnx.ModelProto:
    """The forward graph with its loss, normalising by the running statistics."""
    model = onnx.ModelProto()
    model.CopyFrom(forward)
    model.graph.output.insert(0, helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, []))
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]  # in this mode there may be no more
            set_attribute(node, "training_mode", 0)
    name_nodes(model)
    return model


def _optimizer_model(name: OptimizerName) -> onnx.ModelProto:
    """One node that updates all parameters; its inputs are named as the runtime expects."""
    inputs = [
        helper.make_tensor_value_info("learning_rate", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("step", TensorProto.INT64, [1]),
        *(
            helper.make_tensor_sequence_value_info(sequence, TensorProto.FLOAT, None)
            for sequence in ("params", "gradients", "first_order_moments")
        ),
    ]
    attributes: dict[str, Any] = {}
    if name == "sgd":
        operands, op_type = ["learning_rate", "params", "gradients"], "SGDOptimizerV2"
    else:
        inputs.append(helper.make_tensor_sequence_value_info("second_order_moments", TensorProto.FLOAT, None))
        operands = ["learning_rate", "step", "params", "gradients", "first_order_moments", "second_order_moments"]
        op_type, attributes = "AdamWOptimizer", {"weight_decay": 0.0, "epsilon": 1e-8, "adam_mode": 0}
    done = helper.make_tensor_value_info("updated", TensorProto.BOOL, [1])
    node = helper.make_node(op_type, operands, [done.name], name=op_type, domain=MICROSOFT, **attributes)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(
        helper.make_graph([node], "optimizer", inputs, [done]), opset_imports=opsets, ir_version=MAX_IR_VERSION
    )
