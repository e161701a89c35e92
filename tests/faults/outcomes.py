"""What comes of a fault: the value that is read is the same, or an error names the file; anything else is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import InternalError, LongreelError
from tests.support.bit_flips import flips


@dataclass
class Outcomes:
    """The outcomes of the faults of one kind of file."""

    kind: str
    unchanged: int = 0  # the meaning is the same
    named: int = 0  # an error of Longreel names the file
    wrong: list[str] = field(default_factory=list)  # another value, another error, or one that does not name the file

    @property
    def tried(self) -> int:
        """Number of faults."""
        return self.unchanged + self.named + len(self.wrong)

    @classmethod
    def total(cls, some: Iterable[Outcomes]) -> Outcomes:
        """Return the sums."""
        total = cls("total")
        for one in some:
            total.unchanged += one.unchanged
            total.named += one.named
            total.wrong += one.wrong
        return total


def flip_bits(kind: str, files: Sequence[Path], read: Callable[[], object], *, count: int) -> Outcomes:
    """Flip `count` bits of these files together, one at a time, and read what they hold with `read` after each.

    `read` returns values whose `repr` is exact (no arrays). The files are restored.
    """
    outcomes, before = Outcomes(kind), repr(read())
    for file in files:
        for bit in flips(file, -(-count // len(files)), seed=len(outcomes.wrong)):
            what = f"{file}, bit {bit}"
            try:
                same = repr(read()) == before
            except InternalError as e:
                outcomes.wrong.append(f"{what}: {e!r}")
            except LongreelError as e:
                if _names(file, str(e)):
                    outcomes.named += 1
                else:
                    outcomes.wrong.append(f"{what}: no name in {e}")
            except Exception as e:  # noqa: BLE001 - what escapes is what is looked for
                outcomes.wrong.append(f"{what}: {e!r}")
            else:
                outcomes.unchanged += same
                outcomes.wrong += [] if same else [f"{what}: another value"]
    return outcomes


def _names(file: Path, message: str) -> bool:
    """Return whether a message names a file; the tokens of a unit are named by its index."""
    return file.name in message or (file.suffix == ".arrow" and file.stem.rpartition("-")[0] in message)
