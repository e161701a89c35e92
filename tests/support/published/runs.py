"""Folders as training runs leave them, without training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from schemas.dataset import read_card
from schemas.dataset_files import LEDGER
from schemas.runs.metrics import MetricsLog
from schemas.storage.location import located
from schemas.tables import write_table


def write_run(
    folder: Path, *, init_from: Path | None = None, datasets: tuple[Path, ...] = (), checkpoint_of: Path | None = None
) -> Path:
    """Write configuration and metrics of a run of 10 steps that was resumed once, with the checkpoint of an import."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"dataset": [str(path) for path in datasets], "init_from": str(init_from) if init_from else None}
    for step, steps in ((0, 5), (5, 10)):
        values = {"config": {**options, "steps": steps, "optimizer": {"learning_rate": 0.001}}}
        (folder / f"config-from-{step}.json").write_text(json.dumps(values))
    with MetricsLog(folder, step=-1) as log:
        log.write("eval", 0, {"loss": 5.0})
        log.write("train", 9, {"loss": 2.5})
        log.write("train", 10, {"loss": 2.25})
        log.write("eval", 10, {"loss": 3.0})
    if checkpoint_of is not None:
        shutil.copytree(checkpoint_of / "checkpoints", folder / "checkpoints")
    return folder


def write_ledger(dataset: Path, licenses: Mapping[str | None, int]) -> None:
    """Replace the ledger of a dataset by one with the tokens of each license."""
    table = pa.table({"license": pa.array(list(licenses), pa.string()), "length": list(licenses.values())})
    write_table(read_card(dataset).file(located(dataset), LEDGER), table)
