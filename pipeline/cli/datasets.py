"""TODO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from pipeline.dataset.verify.verify import verify as verify_dataset
from pipeline.runtime.progress import console
from pipeline.runtime.token_store import TokenStore
from schemas.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a packed dataset: every hash, count, id range, span and ledger row. Names what is wrong."""

    dataset: Positional[Path]
    """The dataset's directory."""
    tokens: Path | None = None
    """A token store to compare every piece with."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Check, print the report, and fail where something is wrong."""
        store = TokenStore(self.tokens) if self.tokens else None
        report = verify_dataset(self.dataset, store=store)
        for problem in report.problems:
            console.print(f"  {problem}")
        if report.problems:
            raise DatasetError(f"{self.dataset}: {report.found} problems, the first {len(report.problems)} named above")
        console.print(f"{self.dataset}: {report.summary()}")
