"""What is known about a run from the files in its folder: its configuration, losses, data, and the model it began from.

Files that are absent or unreadable are left out: a dataset may have moved since. Nothing of this affects the weights.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import LEDGER, TEXT_TOKENIZER
from schemas.errors import LongreelError
from schemas.files import read_json
from schemas.fingerprint import sha256_file
from schemas.runs.metrics import METRICS, read_metrics
from schemas.storage.location import Location, located
from schemas.tables import read_table
from trainer.published.importing import RECORD
from trainer.published.source import tokenizer_files

_MAX_RUNS = 32  # that began from one another


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A dataset that the run was trained on. `licenses` has the tokens of each, None if the ledger cannot be read."""

    path: str
    card: DatasetCard | None
    licenses: dict[str, int] | None


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about a run, and about the runs and the imported model that it began from."""

    run: Path
    configuration: dict[str, Any]  # of the newest start
    datasets: tuple[DatasetFacts, ...]
    train_loss: float | None  # of the last step
    eval_losses: tuple[float, ...]  # of the first and of the last evaluation
    imported: dict[str, Any] | None  # the record of this import
    began_from: RunFacts | None

    @classmethod
    def of(cls, run: Path, *, depth: int = 0) -> RunFacts:
        """Read the facts about a run."""
        configuration = _configuration(run)
        options = configuration.get("config", {})
        rows = read_metrics(run / METRICS)
        first = options.get("init_from")
        return cls(
            run=run,
            configuration=configuration,
            datasets=tuple(_dataset(Location.parse(path)) for path in options.get("dataset", ())),
            train_loss=next((row["loss"] for row in reversed(rows) if row["kind"] == "train"), None),
            eval_losses=tuple(row["loss"] for row in rows if row["kind"] == "eval" and row["loss"] is not None),
            imported=_record(run),
            began_from=cls.of(Path(first), depth=depth + 1) if first and depth < _MAX_RUNS else None,
        )

    @property
    def history(self) -> list[RunFacts]:
        """This run and those that it began from, newest first."""
        return [self, *(self.began_from.history if self.began_from else [])]

    @property
    def frame_grid(self) -> list[int] | None:
        """Rows and columns of the codes of a frame, if a dataset of the run tells."""
        cards = [data.card for facts in self.history for data in facts.datasets]
        return next((list(card.frame_grid) for card in cards if card), None)

    def tokenizer_files(self, sha256: str) -> list[Path]:
        """Return the files of the text tokenizer with this hash, of the run and of those that it began from.

        Where several have a file of a name, the newest run's is returned.
        """
        found: dict[str, Path] = {}
        for facts in reversed(self.history):
            files = tokenizer_files(facts.run / TEXT_TOKENIZER)
            if any(sha256_file(path) == sha256 for path in files):
                found |= {path.name: path for path in files}
        return list(found.values())


def _configuration(run: Path) -> dict[str, Any]:
    """Return the configuration that the run was started with last."""
    starts = {int(path.stem.rpartition("-")[2]): path for path in run.glob("config-from-*.json") if _is_start(path)}
    if not starts:
        return {}
    try:
        values = json.loads(located(starts[max(starts)]).read())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_start(path: Path) -> bool:
    return path.stem.rpartition("-")[2].isdigit()


def _dataset(path: Location) -> DatasetFacts:
    try:
        card = read_card(path)
    except LongreelError:
        return DatasetFacts(path=str(path), card=None, licenses=None)
    try:
        table = read_table(card.file(path, LEDGER), columns=["license", "length"])
    except (LongreelError, OSError):
        return DatasetFacts(path=str(path), card=card, licenses=None)
    counts: Counter[str] = Counter()
    for license_name, length in zip(table["license"].to_pylist(), table["length"].to_pylist(), strict=True):
        counts[license_name or "not stated"] += length
    return DatasetFacts(path=str(path), card=card, licenses=dict(counts.most_common()))


def _record(run: Path) -> dict[str, Any] | None:
    try:
        return read_json(run / RECORD)
    except (LongreelError, OSError):
        return None
