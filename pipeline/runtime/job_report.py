"""The report of a job: its counts, which must balance, and its closing line."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.counted import counted_fact
from schemas.errors import InternalError, Reason

_DEFECTS = "`failed` is a defect of Longreel; please report it with the files logs/*-defects.txt"


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """The counts of a job: `items` = `kept` + the sum of `rejected`, of which this run processed `new`."""

    job: str
    items: int
    kept: int
    rejected: dict[str, int]
    new: int
    seconds: float
    facts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def checked(self) -> JobReport:
        """Return the report itself; raises InternalError if its counts do not balance."""
        if self.items != self.kept + self.rejected_items:
            raise InternalError(
                f"{self.job}: the counts do not balance: "
                f"{self.items} in, {self.kept} kept, {self.rejected_items} rejected. "
                "Please report this, and do not use the output of this job."
            )
        return self

    @property
    def rejected_items(self) -> int:
        """The number of rejected items, whatever the reason."""
        return sum(self.rejected.values())

    def figures(self) -> dict[str, Any]:
        """Return the counts as values of JSON."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name != "notes"}

    def line(self) -> str:
        """Return the job's closing line."""
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.rejected.items()))
        processed = f"{self.new:,} processed" if self.new else "nothing to do"
        parts = [
            f"{self.job}: {self.items:,} in: {self.kept:,} kept, {self.rejected_items:,} rejected ({processed})",
            f"rejected: {reasons}" if reasons else "",
            _DEFECTS if Reason.FAILED in self.rejected else "",
            ", ".join(counted_fact(n, name) for name, n in self.facts.items()),
            *self.notes,
            f"{self.seconds:.1f} s",
        ]
        return "; ".join(filter(None, parts))


def report_on(job: str, items: int, rows: pa.Table, new: int, started: float) -> JobReport:
    """Return the report of a job from its output rows, of which those with a `reason` are rejected.

    `started` is the `time.monotonic()` at which the job began. Raises InternalError if the counts do not balance.
    """
    rejected = Counter(reason for reason in rows["reason"].to_pylist() if reason)
    return JobReport(
        job=job,
        items=items,
        kept=len(rows) - rejected.total(),
        rejected=dict(rejected),
        new=new,
        seconds=time.monotonic() - started,
    ).checked()
