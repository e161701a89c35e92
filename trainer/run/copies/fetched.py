"""Reads a run in a bucket: makes a local folder with its newest checkpoint, without the optimizer's state.

Each file is a link to a copy in the cache of remote files, so another command does not fetch it again. The folder of
links is deleted when the process ends.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from schemas.errors import ConfigError, StorageError, storage_errors
from schemas.runs.checkpoint_files import CHECKPOINTS, OPTIMIZER, POSITION, finished_steps
from schemas.storage.location import Location
from trainer.run.copies.run_copy import files_of

_IMPORT = "import.json"
_PARALLEL = 8


@functools.cache
def local_run(run: Location, *, step: int | None = None) -> Path:
    """Return a local folder with the newest checkpoint of a run, or that of `step`: for a local run, its own folder.

    Raises ConfigError if there is no such checkpoint, StorageError if the bucket cannot be read.
    """
    if run.is_local:
        return run.local()
    steps = finished_steps(run)
    if not steps:
        raise ConfigError(f"{run} is not the copy of a run: it has no finished checkpoint in {CHECKPOINTS}/")
    if step is not None and step not in steps:
        raise ConfigError(f"{run} has no checkpoint of step {step}; it has: {', '.join(map(str, steps))}")
    folder = Path(tempfile.mkdtemp(prefix="longreel-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with storage_errors(folder), ThreadPoolExecutor(_PARALLEL) as pool:
        for _ in pool.map(lambda place: _link(place, folder / place.relative_to(run)), _files(run, step or steps[-1])):
            pass
    return folder


def _files(run: Location, step: int) -> Iterator[Location]:
    yield from files_of(run)
    if (run / _IMPORT).stat() is not None:
        yield run / _IMPORT
    folder = run / CHECKPOINTS / str(step)
    unused = (folder / OPTIMIZER, folder / POSITION)
    yield from (place for place in folder.walk() if not any(place.is_relative_to(other) for other in unused))


def _link(place: Location, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy = place.local()
    except FileNotFoundError as e:
        raise StorageError(f"{place} was deleted while the run was read; run the same command again") from e
    try:
        os.link(copy, path)  # it stays when the cache deletes its own
    except OSError:
        shutil.copyfile(copy, path)
