"""Beam: the only module that imports it. Short DoFns and labels, nothing numerical.

Jobs have four shapes. `run_each` calls a worker with every element (a unit of work, or a shard to write: metadata of
about a hundred bytes); the worker reads its inputs, writes its output file and renames it into place, so that pixels
and tokens never become elements. `run_stages` does so several times in order. `run_selection` groups survey rows by
content, `run_packing` groups chunks of documents by shard.

The local default is FnApiRunner, named explicitly, with threads as workers: JAX is loaded and compiled once, and a
worker cannot die without the process. Other runners are selected by Beam's own options after `--`; their workers need
access to the workspace's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from pipeline.runtime.worker_errors import ErrorLog
from schemas.errors import ConfigError, JobError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Runner:
    """Where a job runs: in `workers` local threads, or as Beam's own `options` define."""

    workers: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}")


class Worker(Protocol):
    """The work of a job. Beam pickles it, so it holds configuration only."""

    def open(self) -> AbstractContextManager[Callable[..., Any]]:
        """Load what the work needs, and return a context with the function to call with each element."""
        ...


class DoEach(beam.DoFn):
    """Opens a worker once, calls it with every element, closes it; yields 1 for the count."""

    def __init__(self, worker: Worker, errors: ErrorLog) -> None:
        self._worker, self._errors = worker, errors
        self._resources: ExitStack | None = None

    def setup(self) -> None:
        """Load models and start decoders; not in the constructor, which runs where the job is submitted."""
        self._resources = ExitStack()
        with self._errors.recording():
            self._work = self._resources.enter_context(self._worker.open())

    def process(self, element: Any) -> Iterator[int]:
        """Call the worker with one element, and yield 1."""
        with self._errors.recording():
            raise_if_stopping()
            self._work(element)
        yield 1

    def teardown(self) -> None:
        """Close what `setup` opened."""
        if self._resources is not None:
            self._resources.close()


class DoEachAfter(DoEach):
    """Like DoEach; the side input delays it until the stage that computes the side input is done."""

    def process(self, element: Any, before: Any) -> Iterator[int]:  # type: ignore[override]
        """Call the worker with one element, and yield 1."""
        yield from super().process(element)


class DoEachWith(DoEach):
    """Like DoEach, and passes a side input to the worker."""

    def process(self, element: Any, side: Any) -> Iterator[int]:  # type: ignore[override]
        """Call the worker with one element and the side input, and yield 1."""
        with self._errors.recording():
            raise_if_stopping()
            self._work(element, side)
        yield 1


class YieldEach(DoEach):
    """Like DoEachWith, and yields what the worker yields."""

    def process(self, element: Any, side: Any) -> Iterator[Any]:  # type: ignore[override]
        """Yield the worker's results for one element."""
        with self._errors.recording():
            raise_if_stopping()
            yield from self._work(element, side)


class Apply(beam.DoFn):
    """Yields the results of a function that needs no resources."""

    def __init__(self, function: Callable[[Any], Iterable[Any]], errors: ErrorLog) -> None:
        self._function, self._errors = function, errors

    def process(self, element: Any) -> Iterator[Any]:
        """Yield the results for one element."""
        with self._errors.recording():
            raise_if_stopping()
            yield from self._function(element)


def each(elements: Sequence[Any], worker: Worker, errors: ErrorLog) -> beam.PTransform:
    """Create the elements, distribute them over the workers and call a worker with each, in one stage."""

    def expand(root: Any) -> Any:
        work = beam.ParDo(DoEach(worker, errors))
        return root | "Elements" >> beam.Create(elements) | "Work" >> work  # Create distributes them

    return beam.ptransform_fn(expand)()


def run_each(elements: Sequence[Any], worker: Worker, runner: Runner, *, error_log: Path) -> None:
    """Call `worker` with each of the elements.

    Raises the LongreelError that a worker raised. Any other exception becomes an InternalError, with its traceback in
    `error_log`.
    """
    _run(lambda pipeline, errors: pipeline | "Each" >> each(elements, worker, errors), runner, error_log)


def run_selection(
    units: Iterable[int],
    *,
    read: Callable[[int], Iterable[tuple[str, Row]]],
    judge: Callable[[Sequence[Row]], Iterable[tuple[int, Row]]],
    write: Callable[[int, Sequence[Row]], None],
    runner: Runner,
    error_log: Path,
) -> None:
    """Read (content, row) from every unit, judge the rows of equal content together, write the new units.

    Raises errors as `run_each` does.
    """

    def write_group(group: tuple[int, Iterable[Row]]) -> Iterator[int]:
        write(group[0], list(group[1]))
        yield group[0]

    def build(pipeline: beam.Pipeline, errors: ErrorLog) -> Any:
        return (
            pipeline
            | "Units" >> beam.Create(list(units))
            | "ReadSurvey" >> beam.ParDo(Apply(read, errors))
            | "SameContent" >> beam.GroupByKey()
            | "Judge" >> beam.ParDo(Apply(lambda group: judge(list(group[1])), errors))
            | "SameUnit" >> beam.GroupByKey()
            | "WriteSelection" >> beam.ParDo(Apply(write_group, errors))
        )

    _run(build, runner, error_log)


class Stage(NamedTuple):
    """One stage of a job: a worker, and the elements that it is called with."""

    name: str
    elements: Iterable[Any]
    worker: Worker


def run_stages(stages: Sequence[Stage], runner: Runner, *, error_log: Path) -> None:
    """Run the stages in order, each after the previous one is done; their results are files.

    Raises errors as `run_each` does.
    """

    def build(pipeline: beam.Pipeline, errors: ErrorLog) -> Any:
        done: Any = None
        for name, elements, worker in stages:
            given = pipeline | f"{name}Elements" >> beam.Create(list(elements))
            work = beam.ParDo(DoEach(worker, errors)) if done is None else beam.ParDo(DoEachAfter(worker, errors), done)
            counted = given | name >> work | f"{name}Done" >> beam.CombineGlobally(sum)
            done = beam.pvalue.AsSingleton(counted)
        return done

    _run(build, runner, error_log)


def run_packing(
    starts: Sequence[Any], plan: Any, *, sender: Worker, writer: Worker, runner: Runner, error_log: Path
) -> None:
    """Assign the chunks of every unit to shards, group them by shard, and write the shards.

    `sender` is called with (start, plan) and yields (shard, shard_input); `writer` is called with
    ((shard, shard_inputs), plan). Raises the same errors as `run_each`.
    """

    def build(pipeline: beam.Pipeline, errors: ErrorLog) -> Any:
        side = beam.pvalue.AsSingleton(pipeline | "Plan" >> beam.Create([plan]))
        return (
            pipeline
            | "Units" >> beam.Create(list(starts))
            | "Assign" >> beam.ParDo(YieldEach(sender, errors), side)
            | "SameShard" >> beam.GroupByKey()
            | "WriteShard" >> beam.ParDo(DoEachWith(writer, errors), side)
        )

    _run(build, runner, error_log)


def _run(build: Callable[[beam.Pipeline, ErrorLog], Any], runner: Runner, error_log: Path) -> None:
    options, is_local = _options(runner)
    if is_local:  # Beam logs a failing element's traceback, which goes to the error log, and advice about DirectRunner
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        pipeline = beam.Pipeline(runner=FnApiRunner() if is_local else None, options=options)
    except (ValueError, ImportError, AttributeError) as e:  # what Beam raises for a runner that is not installed
        raise ConfigError(f"Beam cannot start with {' '.join(runner.options)}: {e}") from e
    errors = ErrorLog(error_log)
    error_log.unlink(missing_ok=True)  # of an earlier run
    try:
        with stop_on_signals():
            state = _wait(build, pipeline, errors)
            raise_if_stopping()  # a request that came with the last element
    finally:
        errors.clear()
    if not is_local and state not in (None, "DONE"):
        raise JobError(f"the Beam job ended as {state}; see the runner's log. Finished units are kept.")


def _wait(build: Callable[[beam.Pipeline, ErrorLog], Any], pipeline: beam.Pipeline, errors: ErrorLog) -> Any:
    """Run a pipeline, and return the state in which it ends; raises the error of a worker that failed."""
    try:
        build(pipeline, errors)
        return pipeline.run().wait_until_finish()
    except Exception as e:  # the class depends on the runner
        raise_if_stopping()
        raise errors.error_of(e) from e


def _options(runner: Runner) -> tuple[PipelineOptions, bool]:
    """Return Beam's options, and whether they select the local runner."""
    options = PipelineOptions(list(runner.options))
    if options.view_as(StandardOptions).runner is not None:
        return options, False
    known, given = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigError(
            f"Beam's local runner has no option --{', --'.join(unknown)}; to use another runner, give --runner=NAME"
        )
    mode = "in_memory" if runner.workers == 1 else "multi_threading"
    flags = [f"--direct_num_workers={runner.workers}", f"--direct_running_mode={mode}", *runner.options]
    return PipelineOptions(flags), True
