"""The sample model: a small language model of text and video that ships with Longreel (`video-3m.md`).

It is the folder of a training run, without the state of its optimizer, so every command that takes a run takes it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas.errors import storage_errors

NAME = "video-3m"
SHIPPED = Path(__file__).parent / NAME


def write_model(out: Path) -> Path:
    """Copy the sample model into a folder, unless it is there; return the folder of the model."""
    model = out / NAME
    if not model.exists():
        unfinished = out / f".{NAME}-unfinished"
        with storage_errors(out):
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(SHIPPED, unfinished, copy_function=shutil.copyfile)  # writable, whatever the installation
            unfinished.rename(model)
    return model
