"""Copies the checkpoints of a run to another place while it trains (`--copy-to`).

A thread finds finished checkpoints and copies the newest first, with the metrics up to there. Copies are kept by
the rules for checkpoints. What fails is named and tried again while training continues; a checkpoint that could not be
copied is an error at the end. A lease admits one run to a place.

Where several processes train together, the first copies for all.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import jax

from schemas.errors import ConfigError, Interrupted, LeaseHeld, LongreelError, StorageError
from schemas.runs.checkpoint_files import checkpoint_steps, finished_steps
from schemas.storage.lease import lease
from schemas.storage.location import Location
from trainer.run.copies.run_copy import RunCopy
from trainer.run.damage import to_stderr
from trainer.run.group.processes import any_process
from trainer.run.lock import locked
from trainer.run.retention import Retention

_POLL_S = 1.0  # between two lists of finished checkpoints
_LEASE_S, _LEASE_RETRY_S = 90.0, 10.0  # how long to wait for a lease, which expires after 60 seconds
_RETRY_S = 30.0  # after a failure; each request was tried for two minutes by then


def restore_run(run: Path, place: Location, *, step: int | None = None) -> None:
    """Restore a run that has no checkpoint from its copy at `place`, and say so.

    Every process must call this together. Raises ConfigError if the copy is of another run or has no checkpoint of
    `step`, StorageError if it cannot be read.
    """
    with locked(run), _agreed():
        if jax.process_index() == 0 and not checkpoint_steps(run):
            copy = RunCopy(run, place)
            with _claimed(copy):
                _restore(copy, step)


def _restore(copy: RunCopy, step: int | None) -> None:
    found, problems = copy.restore(step)
    for problem in problems:
        to_stderr(f"a copied checkpoint is damaged: {problem}")
    if found is not None:
        to_stderr(f"{copy.run} has no checkpoint, so that of step {found} was copied from {copy.place}")
    elif problems:
        raise StorageError(f"no checkpoint in {copy.place} is intact: {problems[0]}")
    elif step is not None:
        have = ", ".join(str(known.step) for known in copy.checkpoints()) or "none"
        raise ConfigError(f"{copy.place} has no checkpoint of step {step}; it has: {have}")


@contextmanager
def copying(run: Path, place: Location | None, *, keep: Retention, goes_back: bool) -> Iterator[Copying | None]:
    """Yield the copies of a run in the first process if it has a `place` for them, else None.

    Every process must call this together, before it chooses its start. `goes_back` says that the user did. Raises
    ConfigError if the copy is of another run or was continued elsewhere, LeaseHeld if another run uses it.
    """
    if place is None:
        yield None
        return
    copies = None
    with ExitStack() as stack:
        with _agreed():
            if jax.process_index() == 0:
                copy = RunCopy(run, place)
                stack.enter_context(_claimed(copy))
                copies = Copying(copy, keep=keep)
                copies.require_newest_here(goes_back=goes_back)
        try:
            yield copies
        except BaseException:
            if copies is not None:
                copies.abandon()
            raise
        if copies is not None and (failed := copies.finish()) is not None:
            to_stderr(failed)


class Copying:
    """The copies of one run, made by a thread from `start` to `finish`."""

    def __init__(self, copy: RunCopy, *, keep: Retention) -> None:
        self._copy, self._keep = copy, keep
        self._copied = {found.step: found for found in copy.checkpoints()}
        self._seen: set[int] = set()  # steps that were copied, or deleted before
        self._failed = ""
        self._messages: list[str] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_abandoned = False
        copy.check = self._check

    @property
    def latest(self) -> int | None:
        """The step of the newest copy."""
        return max(tuple(self._copied), default=None)  # the thread changes it

    def require_newest_here(self, *, goes_back: bool) -> None:
        """Raise ConfigError if the copy has a later checkpoint than the run, unless the run goes back."""
        here = max(checkpoint_steps(self._copy.run), default=0)
        if not goes_back and (self.latest or 0) > here:
            raise ConfigError(
                f"{self._copy.place} has a checkpoint of step {self.latest}, {self._copy.run} has none after step "
                f"{here}: the run was continued elsewhere. Choose an empty --out to continue from the copy, or "
                f"--checkpoint-step {here} to go back"
            )

    def start(self, step: int | None) -> None:
        """Begin to copy what the run writes after `step`, where it resumes; None for a new run."""
        if later := self._copy.set_aside_after(step or 0):
            shown = ", ".join(map(str, later))
            self._messages.append(f"marked the copies of later steps as set aside, in {self._copy.place}: {shown}")
            self._copied = {at: found for at, found in self._copied.items() if at not in later}
        self._thread = threading.Thread(target=self._run, daemon=True, name="copies of checkpoints")
        self._thread.start()

    def messages(self) -> list[str]:
        """Return what has happened since the last call, for the log."""
        messages, self._messages = self._messages, []
        return messages

    @property
    def is_behind(self) -> bool:
        """Whether a finished checkpoint is not copied yet."""
        return bool(self._missing())

    def finish(self) -> str | None:
        """Wait until all checkpoints that are kept are copied; return what could not be, None if all are."""
        if self._thread is None:
            return None
        self._end.set()
        self._thread.join()
        left = ", ".join(map(str, self._missing()))
        return (
            f"the checkpoints of the steps {left} are not copied to {self._copy.place}{self._failed}" if left else None
        )

    def abandon(self) -> None:
        """End as soon as the file that is being copied is complete: the process ends because of an error.

        The metrics up to there are copied, and what a divergence leaves to the next start.
        """
        self._is_abandoned = True
        if self._thread is not None:
            self.finish()
            self._try("the metrics are not copied", self._copy.send_files)

    def _check(self) -> None:
        if self._is_abandoned:
            raise Interrupted("the run ended")

    def _run(self) -> None:
        self._try("what an earlier run copied in part is not deleted", self._copy.delete_half_copies)
        again = 0.0
        while not self._end.wait(_POLL_S):
            if time.monotonic() >= again and not self._copy_all():
                again = time.monotonic() + _RETRY_S
        if not self._is_abandoned:
            self._copy_all()

    def _copy_all(self) -> bool:
        """Copy what is missing, newest first; return whether all was copied."""
        return all(
            self._try(
                f"the checkpoint of step {step} is not copied to {self._copy.place} yet", partial(self._send, step)
            )
            for step in self._missing()
        )

    def _send(self, step: int) -> None:
        try:
            self._copied[step] = self._copy.send(step)
        except FileNotFoundError:
            if step in finished_steps(self._copy.run):
                raise
            self._messages.append(f"the checkpoint of step {step} was deleted before it was copied")
        self._seen.add(step)
        copies = sorted(self._copied.values())
        for found, keep in zip(copies, self._keep.should_preserve(copies, context=None), strict=True):
            if not keep:
                self._copy.delete(found.step)
                del self._copied[found.step]

    def _missing(self) -> list[int]:
        """Return the steps to be copied, newest first: those that the rules keep among local ones and copies."""
        here = {found.step: found for found in self._copy.checkpoints_here()}
        both = sorted((here | self._copied).values())
        kept = zip(both, self._keep.should_preserve(both, context=None), strict=True)
        done = self._seen | self._copied.keys()
        return sorted((found.step for found, keep in kept if keep and found.step not in done), reverse=True)

    def _try(self, problem: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except (LongreelError, OSError) as e:
            self._failed = f": {e}"
            self._messages.append(f"{problem}: {e}")
            return False
        self._failed = ""
        return True


@contextmanager
def _claimed(copy: RunCopy) -> Iterator[None]:
    """Exclude other runs from a copy while the body runs; that another one took over is no error of the body."""
    copy.claim()
    with ExitStack() as stack:
        _enter_lease(copy, stack)
        yield
        try:
            stack.close()
        except LeaseHeld as e:
            to_stderr(str(e))


def _enter_lease(copy: RunCopy, stack: ExitStack) -> None:
    """Enter the lease; that of a machine that was lost expires first, for which a restarted job waits."""
    owner, until = f"{socket.gethostname()}, process {os.getpid()}", time.monotonic() + _LEASE_S
    while True:
        try:
            stack.enter_context(lease(copy.lock, owner=owner))
        except LeaseHeld as e:
            if time.monotonic() >= until:
                raise
            to_stderr(f"{e}; waiting")
            time.sleep(min(_LEASE_RETRY_S, max(0.0, until - time.monotonic())))
        else:
            return


@contextmanager
def _agreed() -> Iterator[None]:
    """Raise what the body raises in the first process, and StorageError in the others."""
    error = None
    try:
        yield
    except LongreelError as e:
        error = e
    if any_process(error is not None):
        raise error or StorageError("the first process cannot use the place of --copy-to; its message says why")
