"""Any Beam runner, selected by its own options: `--engine beam … -- --runner=PortableRunner --job_endpoint=…`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.runtime.engines.engine import Engine, new_pipeline
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError

if TYPE_CHECKING:
    import apache_beam as beam


@dataclass(frozen=True)
class OtherEngine(Engine):
    """The runner that Beam's options select."""

    @contextmanager
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> Iterator[beam.Pipeline]:
        """Return an empty pipeline; raises ConfigError if no runner is selected."""
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

        if PipelineOptions(list(options)).view_as(StandardOptions).runner is None:
            raise ConfigError("--engine beam needs a runner, for example: -- --runner=FlinkRunner --flink_master=HOST")
        yield new_pipeline(options)
