"""Options of the command `train`. `longreel` builds the command line from them."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import jax
from rich.table import Table
from tyro.conf import arg

from schemas.counted import counted
from schemas.runs.compilation_cache import use_compilation_cache
from schemas.runs.messages import DataConsole, messages
from trainer.config import MeshConfig
from trainer.cpu_devices import use_cpu_devices
from trainer.evaluation.loss import LossConfig, measure_loss
from trainer.run.config import TrainConfig
from trainer.run.group.distributed import PROCESS_ID
from trainer.run.group.launcher import run_locally, stop_with_launcher
from trainer.run.loop import train


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model on packed datasets, with ring attention over the mesh axis `sequence`.

    The same command resumes from the newest checkpoint in --out. `longreel train --curriculum FILE` trains all stages
    of a curriculum: see `longreel train-curriculum --help`.
    """

    RECORD: ClassVar = "out"

    training: Annotated[TrainConfig, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train, and print the last step, the held-out loss and the throughput."""
        stop_with_launcher()
        count = self.training.processes.local_processes
        if count is not None and PROCESS_ID not in os.environ:
            command = [sys.executable, "-P", "-m", "longreel", *sys.argv[1:]]
            run_locally(count, command, native_output=self.training.native_output)
            return
        result = train(self.training)
        if jax.process_index():
            return
        first, last = result.first_eval_loss, result.eval_loss
        fell = "" if first is None or last is None else f"; held-out loss {first:.4f} -> {last:.4f} nats per target"
        speed = "" if result.tokens_per_s is None else f"; {result.tokens_per_s:,.0f} tokens/s"
        damaged = counted(result.skipped_sequences, "damaged sequence")
        skipped = f"; {damaged} skipped" if result.skipped_sequences else ""
        line = f"train: step {result.step}{fell}{speed}{skipped}; {result.checkpoint}"
        messages.info(line)


@dataclass(frozen=True, kw_only=True)
class EvalLoss:
    """Measure the loss of a trained model on packed datasets.

    Prints the means over all targets, and over those of text and of vision, in nats per target, and their exponentials,
    the perplexities; and the same by the position of a token within its document, in ranges that double. In JSON, a
    value that cannot be measured is null.
    """

    loss: Annotated[LossConfig, arg(name="")]
    mesh: MeshConfig = field(default_factory=MeshConfig)
    format: Literal["table", "json"] = "table"
    """Print a table, or one JSON object."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print what was measured."""
        use_cpu_devices(self.loss.devices)
        use_compilation_cache()
        measured = measure_loss(self.loss, self.mesh)
        if self.format == "json":
            print(json.dumps(_without_nan(measured)))
        else:
            DataConsole().print(_loss_table(measured))


def _loss_table(measured: dict[str, Any]) -> Table:
    """Return the losses of all targets and by position as a table."""
    run = f"step {measured['step']:,}, {counted(measured['sequences'], 'sequence')}"
    title = f"{run}; nats per target (perplexity), by position in the document"
    table = Table("position", "targets", "all", "text", "vision", title=title, title_justify="left")
    for row in [measured, *measured["by_position"]]:
        first, last = row.get("first"), row.get("last")
        place = "all" if first is None else f"{first:,}" if first == last else f"{first:,} to {last:,}"
        weight = row.get("weight", sum(part["weight"] for part in measured["by_position"]))
        table.add_row(place, f"{weight:,.0f}", *(_loss_cell(row, modality) for modality in ("", "text_", "vision_")))
    return table


def _loss_cell(row: dict[str, Any], modality: str) -> str:
    loss = row[f"{modality}loss"]
    return f"{loss:.4f} ({row[f'{modality}perplexity']:,.0f})" if math.isfinite(loss) else "-"


def _without_nan(value: object) -> object:
    """Return nested dicts and lists with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
