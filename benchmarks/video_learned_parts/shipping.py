"""Writes the folder of a run without the state of its optimizer, as the sample model ships."""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas.dataset_files import TEXT_TOKENIZER
from schemas.runs.checkpoint_files import CHECKPOINTS, DESCRIPTION, PARAMS, finished_steps
from schemas.runs.checksums import write_checksums

_METADATA = "_CHECKPOINT_METADATA"
_NAMES_THE_FOLDER = shutil.ignore_patterns("commit_success.txt")  # with the path on the machine that trained


def ship(run: Path, out: Path) -> None:
    """Copy the newest checkpoint of a run, and its text tokenizer, to a folder that does not exist."""
    step = str(finished_steps(run)[-1])
    checkpoint, copy = run / CHECKPOINTS / step, out / CHECKPOINTS / step
    for item in (PARAMS, DESCRIPTION):
        shutil.copytree(checkpoint / item, copy / item, ignore=_NAMES_THE_FOLDER)
    shutil.copyfile(checkpoint / _METADATA, copy / _METADATA)
    write_checksums(copy, (PARAMS, DESCRIPTION))
    shutil.copytree(run / TEXT_TOKENIZER, out / TEXT_TOKENIZER)
