"""Jobs as Beam pipelines: short DoFns and labels, nothing numerical.

Jobs have four shapes. `run_each` calls a worker with every element (a unit of work, or a shard to write: metadata of
about a hundred bytes); the worker reads its inputs, writes its output file and renames it into place, so that pixels
and tokens never become elements. `run_stages` does so several times in order. `run_selection` groups survey rows by
content, `run_packing` groups chunks of documents by shard.

Where a job runs is the choice of `Runner.engine` (pipeline.runtime.engines). Every shape has one sink and no function
defined inside another: Dask computes the last transform only, and Beam would pickle such a function with its file name.
No worker grows with the corpus: what does is in the store (pipeline.runtime.stored_value).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pipeline.runtime.engines.engine import Engine, run_pipeline
from pipeline.runtime.engines.local import LocalEngine
from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.opened_workers import Worker, close_idle
from pipeline.runtime.shared_elements import sharing
from pipeline.runtime.worker_errors import ErrorLog
from schemas.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    import apache_beam as beam

Row = TypeVar("Row")
_LOCAL = LocalEngine()


@dataclass(frozen=True)
class Runner:
    """Where a job runs: `workers` threads or processes of this machine, or as `engine` says; `options` are Beam's."""

    workers: int = 1
    options: tuple[str, ...] = ()
    engine: Engine = _LOCAL

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}")


def each(
    pipeline: beam.Pipeline, elements: Sequence[Any], worker: Worker, log: JobLog, hints: Mapping[str, str]
) -> None:
    """Create the elements, distribute them and call a worker with each, in one stage."""
    import apache_beam as beam

    from pipeline.runtime.dofns import DoEachShared

    work: Any = beam.ParDo(DoEachShared(worker, log, "element"))
    if hints:
        work = work.with_resource_hints(**hints)
    _ = pipeline | "Elements" >> beam.Create(elements) | "Work" >> work  # Create distributes them


def run_each(
    elements: Sequence[Any],
    worker: Worker,
    runner: Runner,
    *,
    log: JobLog,
    encodes: bool = False,
    reads: Sequence[str] = (),
) -> None:
    """Call `worker` with each of the elements.

    `encodes`: the work needs the memory and the accelerator that the engine's options name. `reads`: local paths that
    workers read; an engine whose workers lack one refuses the job. Raises the LongreelError that a worker raised. Any
    other exception becomes an InternalError, with its traceback in a file of `log`.
    """
    hints = runner.engine.hints() if encodes else {}
    runner = replace(runner, workers=max(1, min(runner.workers, len(elements))))
    shared = sharing(log.run, elements) if runner.engine.shares_elements else nullcontext()
    _run(lambda pipeline: each(pipeline, elements, worker, log, hints), runner, log, reads, during=shared)


class _Judge(Generic[Row]):
    """Applies a function of the rows of a group to a group."""

    def __init__(self, judge: Callable[[Sequence[Row]], Iterable[tuple[int, Row]]]) -> None:
        self._judge = judge

    def __call__(self, group: tuple[str, Iterable[Row]]) -> Iterable[tuple[int, Row]]:
        return self._judge(list(group[1]))


class _Write(Generic[Row]):
    """Writes a group, a unit, and yields its number."""

    def __init__(self, write: Callable[[int, Sequence[Row]], None]) -> None:
        self._write = write

    def __call__(self, group: tuple[int, Iterable[Row]]) -> Iterator[int]:
        self._write(group[0], list(group[1]))
        yield group[0]


def run_selection(
    units: Iterable[int],
    *,
    read: Callable[[int], Iterable[tuple[str, Row]]],
    judge: Callable[[Sequence[Row]], Iterable[tuple[int, Row]]],
    write: Callable[[int, Sequence[Row]], None],
    runner: Runner,
    log: JobLog,
) -> None:
    """Read (content, row) from every unit, judge the rows of equal content together, write the new units.

    Raises errors as `run_each` does.
    """

    import apache_beam as beam

    from pipeline.runtime.dofns import Apply

    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | "Units" >> beam.Create(list(units))
            | "ReadSurvey" >> beam.ParDo(Apply(read, log))
            | "SameContent" >> beam.GroupByKey()
            | "Judge" >> beam.ParDo(Apply(_Judge(judge), log))
            | "SameUnit" >> beam.GroupByKey()
            | "WriteSelection" >> beam.ParDo(Apply(_Write(write), log))
        )

    _run(build, runner, log)


class Stage(NamedTuple):
    """One stage of a job: a worker, and the elements that it is called with."""

    name: str
    elements: Iterable[Any]
    worker: Worker


def run_stages(stages: Sequence[Stage], runner: Runner, *, log: JobLog) -> None:
    """Run the stages in order, each after the previous one is done; their results are files.

    Raises errors as `run_each` does.
    """

    import apache_beam as beam

    from pipeline.runtime.dofns import DoEach, DoEachAfter

    def build(pipeline: beam.Pipeline) -> None:
        done: Any = None
        for name, elements, worker in stages:
            given = pipeline | f"{name}Elements" >> beam.Create(list(elements))
            label = name.lower()
            work = (
                beam.ParDo(DoEach(worker, log, label))
                if done is None
                else beam.ParDo(DoEachAfter(worker, log, label), done)
            )
            counted = given | name >> work | f"{name}Done" >> beam.CombineGlobally(sum)
            done = beam.pvalue.AsSingleton(counted)

    _run(build, runner, log)


def run_packing(units: Sequence[int], *, sender: Worker, writer: Worker, runner: Runner, log: JobLog) -> None:
    """Assign the chunks of every unit to shards, group them by shard, and write the shards.

    `sender` is called with a unit and yields (shard, shard_input); `writer` is called with (shard, shard_inputs).
    Raises the same errors as `run_each`.
    """

    import apache_beam as beam

    from pipeline.runtime.dofns import DoEach, YieldEach

    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | "Units" >> beam.Create(list(units))
            | "Assign" >> beam.ParDo(YieldEach(sender, log, "unit"))
            | "SameShard" >> beam.GroupByKey()
            | "WriteShard" >> beam.ParDo(DoEach(writer, log, "shard"))
        )

    _run(build, runner, log)


def _run(
    build: Callable[[beam.Pipeline], None],
    runner: Runner,
    log: JobLog,
    reads: Sequence[str] = (),
    *,
    during: AbstractContextManager[None] | None = None,
) -> None:
    errors, engine = ErrorLog(log), runner.engine
    with stop_on_signals():
        try:
            with (
                engine.pipeline(log, workers=runner.workers, options=runner.options, reads=reads) as pipeline,
                during or nullcontext(),
            ):
                _run_built(build, pipeline, engine, errors)
        finally:
            errors.clear()
            close_idle(lambda opened: opened.key[0] == log.run)


def _run_built(
    build: Callable[[beam.Pipeline], None], pipeline: beam.Pipeline, engine: Engine, errors: ErrorLog
) -> None:
    """Build and run a pipeline; raises the error of a worker that failed."""
    try:
        build(pipeline)
        run_pipeline(pipeline, engine, errors.log)
    except Interrupted:
        raise
    except Exception as e:  # the class depends on the runner
        raise_if_stopping()
        raise errors.error_of(engine.failure(e)) from e
