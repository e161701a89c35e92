"""Names and counts the sequences that a run skips because their bytes were altered."""

from __future__ import annotations

from collections.abc import Callable

from schemas.runs.messages import messages
from trainer.data.loader import Loader


class SkippedSequences:
    """Names each skipped sequence once. A process counts the sequences that it reads itself."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._named: set[str] = set()

    @property
    def count(self) -> int:
        """Number of different sequences that were skipped."""
        return len(self._named)

    def update(self, loader: Loader) -> None:
        """Name the sequences that `loader` has skipped since the last call."""
        for error in list(loader.damaged.values()):  # threads that read ahead add to it
            if str(error) not in self._named:
                self._named.add(str(error))
                self._log(f"skipped a damaged sequence: {error}")


def to_stderr(line: str) -> None:
    """Print a line, in a process that displays no progress."""
    messages.info(f"train: {line}")
