"""The local engine: Beam's FnApiRunner with threads of this process as workers.

JAX is loaded and compiled once, and a worker cannot die without the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from pipeline.runtime.engines.engine import Engine, new_pipeline
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError

if TYPE_CHECKING:
    import apache_beam as beam


@dataclass(frozen=True)
class LocalEngine(Engine):
    """Threads of this process."""

    shares_elements: ClassVar[bool] = True

    @contextmanager
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> Iterator[beam.Pipeline]:
        """Return an empty pipeline; raises ConfigError for options of other runners."""
        from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

        _require_known(options)
        # Beam logs a failing element's traceback, which goes to the error log, and advice about DirectRunner.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        mode = "in_memory" if workers == 1 else "multi_threading"
        flags = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}", *options]
        _print_no_tracebacks()
        ignore_closed_connections()
        yield new_pipeline(flags, runner=FnApiRunner())


@cache
def _print_no_tracebacks() -> None:
    """Keep Beam's threads from printing the traceback of each element that fails or that a request to stop ends.

    This holds for the rest of the process, as a thread can end after its job has failed. The driver reports the error.
    """
    from apache_beam.runners.worker import sdk_worker

    vars(sdk_worker)["print"] = lambda *_, **__: None  # found before the builtin


@cache
def ignore_closed_connections() -> None:
    """Keep threads of this process from printing that a gRPC connection is closed, for the rest of the process.

    A worker's threads can still read the runner's connections when the job has ended. Beam keeps the error, and raises
    it where the worker next uses the connection.
    """
    import grpc

    report = threading.excepthook

    def report_others(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, grpc.RpcError):
            report(arguments)

    threading.excepthook = report_others


def _require_known(options: tuple[str, ...]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    parsed = PipelineOptions(list(options))
    if (runner := parsed.view_as(StandardOptions).runner) is not None:
        raise ConfigError(f"--runner={runner} is not the local engine; give --engine beam before `--`")
    known, given = parsed.get_all_options(), parsed.get_all_options(retain_unknown_options=True)
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigError(
            f"Beam's local runner has no option --{', --'.join(unknown)}; to use another runner, give --engine"
        )
