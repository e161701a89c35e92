"""The lock of a run's output folder: two runs in one folder would mix their checkpoints and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from schemas.errors import ConfigError, storage_errors
from schemas.runs.folder_lock import take_lock
from schemas.storage.regular import open_appending
from trainer.run.group.processes import any_process

LOCK = "run.lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Exclude other runs from `out` while the body runs; the operating system releases the lock of a killed process.

    Where several processes train together, the first takes the lock for all. Raises ConfigError, in all processes, if
    another run holds it.
    """
    path = out / LOCK
    with storage_errors(path):
        out.mkdir(parents=True, exist_ok=True)
        with open_appending(path) as file:
            if any_process(jax.process_index() == 0 and not take_lock(file.fileno())):
                raise ConfigError(f"another run is training in {out}: wait until it ends, or choose another --out")
            yield
