"""Descriptions of Beam pipelines: what is in them, pickled functions included."""

from __future__ import annotations

import base64
import bz2
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipeline.runtime.engines.local import LocalEngine
from pipeline.runtime.job_log import JobLog

_BEAM = str(Path(beam.__file__).parent).encode()
_LOCAL = (str(Path(__file__).parents[2]), sys.prefix, str(Path.home()), tempfile.gettempdir())
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


@dataclass(frozen=True)
class RecordingEngine(LocalEngine):
    """The local engine, which keeps the description of each job; `asked` are the hints for the step that encodes."""

    asked: dict[str, str] = field(default_factory=dict)
    jobs: list[tuple[str, Any]] = field(default_factory=list)  # name, apache_beam.portability.api Pipeline

    @contextmanager
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> Iterator[beam.Pipeline]:
        with super().pipeline(log, workers=workers, options=options, reads=reads) as pipeline:
            yield pipeline
            self.jobs.append((log.job, pipeline.to_runner_api()))

    def hints(self) -> dict[str, str]:
        return self.asked


def local_paths(proto: Any) -> set[str]:
    """Return the local folders that occur in the description of a pipeline, and in what is pickled in it.

    Beam's functions are pickled with the names of the files that they are from, which nothing reads.
    """
    whole: bytes = proto.SerializeToString()
    unpacked = whole + b"".join(_unpacked(text) for text in _BASE64.findall(whole))
    return {folder for folder in _LOCAL if folder.encode() in unpacked.replace(_BEAM, b"")}


def _unpacked(text: bytes) -> bytes:
    for decompress in (bz2.decompress, zlib.decompress):
        with suppress(ValueError, OSError, zlib.error):
            return decompress(base64.b64decode(text))
    return b""


def hints_of(proto: Any) -> dict[str, set[str]]:
    """Return the names of the resource hints of each transform that has any; that of hints is the end of their URN."""
    environments = proto.components.environments
    found = {}
    for transform in proto.components.transforms.values():
        hints = environments[transform.environment_id].resource_hints if transform.environment_id else {}
        if hints and not transform.subtransforms:
            found[transform.unique_name] = {urn.split(":")[-2] for urn in hints}
    return found
