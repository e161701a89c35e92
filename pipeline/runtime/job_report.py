"""What a job did: its counts, which must balance, its closing line, and the table of all that was set aside."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from schemas.errors import JobError


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job did. `items` = `passed` + the sum of `rejected`; `new` of the items were worked on now."""

    job: str
    items: int
    passed: int
    rejected: dict[str, int]
    new: int
    seconds: float
    facts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def checked(self) -> JobReport:
        """Return the report itself; raises JobError where its counts do not balance."""
        aside = sum(self.rejected.values())
        if self.items != self.passed + aside:
            raise JobError(
                f"{self.job}: the counts do not balance: {self.items} in, {self.passed} on, {aside} set aside. "
                "Please report this; what this job made must not be used."
            )
        return self

    def line(self) -> str:
        """Return the job's closing line."""
        aside = sum(self.rejected.values())
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.rejected.items()))
        facts = "".join(f", {n:,} {name}" for name, n in self.facts.items())
        notes = "".join(f"; {text}" for text in self.notes)
        work = f"{self.new} worked on" if self.new else "nothing to do"
        return (
            f"{self.job}: {self.items} in = {self.passed} on + {aside} set aside"
            f"{f' ({reasons})' if aside else ''}; {work}{facts}{notes}; {self.seconds:.1f} s"
        )


def report_on(job: str, items: int, rows: pa.Table, new: int, started: float) -> JobReport:
    """Count the rows a job left: those with a reason are set aside. Raises JobError where counts do not balance."""
    rejected = Counter(reason for reason in rows["reason"].to_pylist() if reason)
    return JobReport(
        job=job,
        items=items,
        passed=len(rows) - rejected.total(),
        rejected=dict(rejected),
        new=new,
        seconds=time.monotonic() - started,
    ).checked()
