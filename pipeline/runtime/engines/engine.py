"""What an engine implements, and how the driver waits for a pipeline."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.runtime.interrupt import is_stopping, raise_if_stopping
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError, JobError, LeaseHeld
from schemas.storage.guards import check_guards

if TYPE_CHECKING:  # Beam takes two seconds to import, which commands that run no job do not wait for
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

_POLL_S = 0.2
_STOP_GRACE_S = 60.0  # for the workers to write what they made
_LOCAL_STATES = (None, "DONE")


class Engine(ABC):
    """Where a job runs. A frozen dataclass of options."""

    shares_elements: ClassVar[bool] = False
    """Whether all workers are threads of this process, and an element that fails is not tried again."""

    @abstractmethod
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> AbstractContextManager[beam.Pipeline]:
        """Return the context of an empty pipeline to build and run.

        `options` are Beam's own. Raises ConfigError, before any work, if the engine cannot run the job: it cannot be
        reached, its workers have other packages or cannot reach the workspace or the local paths in `reads`.
        """

    def hints(self) -> dict[str, str]:
        """Return Beam's resource hints for the step that encodes."""
        return {}

    def request_stop(self, log: JobLog) -> bool:
        """Ask the workers to write what they made and to stop; False if the engine can only cancel."""
        return False

    def failure(self, error: Exception) -> Exception:
        """Return the error to report for one that the runner raised and no worker recorded."""
        return error

    def close(self, result: PipelineResult) -> None:
        """Release what a run of a pipeline holds: by default nothing."""
        return


def new_pipeline(options: Sequence[str], *, runner: Any = None) -> beam.Pipeline:
    """Return an empty pipeline; raises ConfigError for options that Beam refuses."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        return beam.Pipeline(runner=runner, options=PipelineOptions(list(options)))
    except (ValueError, ImportError, AttributeError) as e:  # what Beam raises for a runner that is not installed
        raise ConfigError(f"Beam cannot start with {' '.join(options)}: {e}") from e


def run_pipeline(pipeline: beam.Pipeline, engine: Engine, log: JobLog) -> None:
    """Run a pipeline until it ends; raises JobError if it fails, and Interrupted if the user requests a stop."""
    result = pipeline.run()
    try:
        waiting = _Waiting(result)
        while waiting.is_running():
            if is_stopping():
                _stop(waiting, engine, log)
            _check_lease(waiting, engine, log)
        state = waiting.state()
    finally:
        engine.close(result)
    raise_if_stopping()  # a request that came with the last element
    if state not in _LOCAL_STATES:
        raise JobError(f"the Beam job ended as {state}; see the runner's log. Finished units are kept.")


class _Waiting:
    """Waits for the end of a pipeline in a thread of its own, as runners wait without looking at signals."""

    def __init__(self, result: PipelineResult) -> None:
        self.result = result
        self._state: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self._state = self.result.wait_until_finish()
        except Exception as e:  # noqa: BLE001 - raised again by `state`
            self._error = e

    def is_running(self, timeout_s: float = _POLL_S) -> bool:
        self._thread.join(timeout_s)
        return self._thread.is_alive()

    def state(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._state


def _stop(waiting: _Waiting, engine: Engine, log: JobLog) -> None:
    if not engine.request_stop(log) or waiting.is_running(_STOP_GRACE_S):
        waiting.result.cancel()
    waiting.is_running(_STOP_GRACE_S)
    raise_if_stopping()


def _check_lease(waiting: _Waiting, engine: Engine, log: JobLog) -> None:
    """Stop the workers and raise LeaseHeld if another command took over the workspace."""
    try:
        check_guards(str(log.folder))
    except LeaseHeld:
        if not engine.request_stop(log):
            waiting.result.cancel()
        raise
