"""Pruning without training, side by side with onnxsim's structured pruning at equal MACs.

    pip install onnxsim
    python benchmarks/one_shot.py --network digits-resnet --network digits-separable
    python benchmarks/one_shot.py --network resnet20 --data-root FOLDER --split test

onnxsim's functions take a share of channels; the smallest that removes the wanted MACs is searched. All calibrate with
the same unlabelled samples; accuracies are of the split, MACs removed in brackets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import onnx
import onnxsim
from accuracy_data import NETWORKS, Network, SplitName, model_path, write_samples

import onnx_dnscp
from onnx_dnscp import PruneError
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.budget import first_true
from onnx_dnscp.measure.costs import CostModel
from onnx_dnscp.measure.evaluation import class_output, evaluate_model
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.load import load_model
from onnx_dnscp.repair.samples import repair_batches

STEPS = 200  # of onnxsim's sparsity
NO_DATA: dict[str, Any] = {"data": None}


@dataclass(frozen=True)
class Setting:
    """What all rows of one network are made from."""

    network: Network
    model: Path
    train: Path
    calibration: Sequence[Batch]
    folder: Path

    def macs(self, model: onnx.ModelProto) -> int:
        """Multiply-accumulates of one sample."""
        path = self.folder / "counted.onnx"
        onnx.save(model, path)
        return CostModel(discover(load_model(path))).costs().macs


Row = Callable[[Setting, float], onnx.ModelProto]


def own(**options: Any) -> Row:
    """`prune` without training."""

    def prune(setting: Setting, ratio: float) -> onnx.ModelProto:
        output = setting.folder / "pruned.onnx"
        asked = {"data": setting.train, "preprocess": setting.network.preprocess, **options}
        onnx_dnscp.prune(setting.model, output, ratio=ratio, metric="macs", align=1, train=False, **asked)
        return onnx.load(output)

    return prune


def others(function: Callable[..., onnx.ModelProto], *, whole: bool, calibrated: bool) -> Row:
    """A function of onnxsim with the smallest sparsity that removes enough."""

    def prune(setting: Setting, ratio: float) -> onnx.ModelProto:
        original, _ = onnxsim.simplify(onnx.load(setting.model))  # folds batch norm, which it does not see through
        samples = [[dict(batch.inputs) for batch in setting.calibration]] if calibrated else []
        limit = (1 - ratio) * setting.macs(original)

        def pruned(step: int) -> onnx.ModelProto:
            return function(original, *samples, sparsity=step / STEPS, global_sparsity=whole)

        result = pruned(first_true(STEPS - 1, lambda step: setting.macs(pruned(step)) <= limit))
        if setting.macs(result) > limit:
            raise ValueError(f"removes {1 - setting.macs(result) / setting.macs(original):.0%} at most")
        return result

    return prune


_STRUCTURED = {"structured": onnxsim.apply_structured_pruning, "wanda": onnxsim.apply_structured_wanda_pruning}
ROWS: dict[str, Row] = {
    **{
        f"onnxsim {name}{', global' * whole}": others(function, whole=whole, calibrated=name == "wanda")
        for name, function in _STRUCTURED.items()
        for whole in (False, True)
    },
    "onnx-dnscp, no data": own(data=None),
    "onnx-dnscp, no data, --repair": own(data=None, repair=True),
    "onnx-dnscp, samples, --no-repair": own(repair=False),
    "onnx-dnscp, samples, --sensitivity 0": own(sensitivity=0.0),
    "onnx-dnscp, samples": own(),
}


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--network", "networks", multiple=True, type=click.Choice(list(NETWORKS)), help="Repeatable; all.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder with the CIFAR-10 zip and networks.")
@click.option("--ratio", "ratios", multiple=True, type=float, default=(0.3, 0.5, 0.7), show_default=True, help="MACs.")
@click.option("--row", "rows", multiple=True, type=click.Choice(list(ROWS)), help="Repeatable; all.")
@click.option("--split", type=click.Choice(get_args(SplitName)), default="validation", show_default=True)
def main(
    networks: tuple[str, ...],
    data_root: Path | None,
    ratios: tuple[float, ...],
    rows: tuple[str, ...],
    split: SplitName,
) -> None:
    """See the module."""
    click.echo("| network | row | " + " | ".join(f"{ratio:.0%} of MACs" for ratio in ratios) + " |")
    click.echo("|---|---|" + "---|" * len(ratios))
    for name in networks or NETWORKS:
        network = NETWORKS[name]
        path = model_path(network, data_root)
        units = discover(load_model(path))
        with tempfile.TemporaryDirectory() as scratch:
            train, measured = write_samples(network, data_root, split, None, Path(scratch))
            samples, tested = (open_dataset(p, units.graph, network.preprocess, None) for p in (train, measured))
            calibration = repair_batches(units.graph, units.trace.shapes_of(units.graph.inputs), samples, 0)
            setting = Setting(network, path, train, calibration, Path(scratch))
            whole = setting.macs(onnx.load(path))
            for row in rows or ROWS:
                cells = []
                for ratio in ratios:
                    try:
                        pruned = ROWS[row](setting, ratio)
                    except (PruneError, ValueError, RuntimeError) as error:
                        cells.append(str(error))
                        continue
                    accuracy = evaluate_model(pruned, tested, class_output(read_graph(pruned))).accuracy
                    assert accuracy is not None, "the data has labels"
                    cells.append(f"{100 * accuracy:.1f} ({1 - setting.macs(pruned) / whole:.0%})")
                click.echo(f"| {name} | {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
