"""A profile of some steps of a run, in the format of XProf and Perfetto."""

from __future__ import annotations

from pathlib import Path

import jax

from schemas.errors import ConfigError
from schemas.runs.storage import write_errors

PROFILE = "profile"


def step_range(text: str) -> tuple[int, int]:
    """Return the first and the last step of "A:B", both included; raises ConfigError if it is anything else."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"profile_steps must be FIRST:LAST, for example 10:12, got {text!r}")
    return int(first), int(last)


class StepProfile:
    """Records the steps `steps` ("A:B") of a run in the folder `profile/` of its output; None records nothing."""

    def __init__(self, run: Path, steps: str | None) -> None:
        self.path = run / PROFILE
        self._first, self._last = step_range(steps) if steps else (0, -1)
        self._running = False
        self._annotation: jax.profiler.StepTraceAnnotation | None = None

    def before(self, step: int) -> None:
        """Start recording if `step` is to be recorded; the recorded steps have their numbers in the profile."""
        if not self._running and self._first <= step <= self._last:
            with write_errors(self.path, what="profile"):
                jax.profiler.start_trace(self.path, create_perfetto_trace=jax.process_index() == 0)
            self._running = True
        if self._running:
            self._annotation = jax.profiler.StepTraceAnnotation("train", step_num=step)
            self._annotation.__enter__()

    def after(self, step: int) -> bool:
        """Write the profile after the last step that is to be recorded; return whether that was now."""
        self._end_step()
        if self._running and step >= self._last:
            self.close()
            return True
        return False

    def close(self) -> None:
        """Write what was recorded, if the profile was not written yet."""
        self._end_step()
        if self._running:
            self._running = False
            with write_errors(self.path, what="profile"):
                jax.profiler.stop_trace()

    def _end_step(self) -> None:
        if self._annotation is not None:
            self._annotation.__exit__(None, None, None)
            self._annotation = None
