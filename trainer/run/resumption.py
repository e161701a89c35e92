"""Chooses the checkpoint that a run resumes from."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import DatasetError
from trainer.run.checkpoint import Checkpoints
from trainer.run.description import Description


@dataclass(frozen=True)
class Start:
    """Where a run starts: after `step` updates, None for a new run; `notes` tell the user what is unusual about it."""

    step: int | None
    notes: tuple[str, ...] = ()
    is_changed: bool = False  # whether it continues with other settings


def choose_start(
    checkpoints: Checkpoints, ours: Description, *, step: int | None = None, allow_changed: bool = False
) -> Start:
    """Return the start of a run that `ours` describes, and set later checkpoints aside.

    That is the checkpoint of `step`, or else the newest one that is not damaged. Nothing is moved if the run cannot
    resume from it. Raises ConfigError, VocabularyMismatch, or DatasetError if no checkpoint is intact.
    """
    notes: list[str] = []
    if step is None:
        step, problems = checkpoints.newest_intact()
        if step is None and problems:
            raise DatasetError(
                f"no checkpoint in {checkpoints.path} is intact: {problems[0]}. Restore the files from a copy, or "
                "start again with another --out"
            )
        notes += [f"a checkpoint is damaged: {problem}" for problem in problems]
    else:
        checkpoints.require(step)
    if step is None:
        return Start(None)
    checkpoints.require_resumable(step)
    where = checkpoints.path / str(step)
    changes = checkpoints.describe(step).require_resumable(ours, where=where, allow_changed=allow_changed)
    notes += [f"changed: {change}" for change in changes]
    if (aside := checkpoints.set_aside_after(step)) is not None:
        notes.append(f"moved the checkpoints after step {step} to {aside}")
    return Start(step, tuple(notes), is_changed=bool(changes))
