"""The training loop, which can be interrupted at any step and resumed exactly.

    out/config-from-0.json     the configuration from step 0 on; one file per start of the run
    out/text_tokenizer/        the text tokenizer of the datasets, for `generate` and `export-model`
    out/metrics.jsonl          see `schemas/runs/metrics.py`; and out/tensorboard/
    out/checkpoints/120/       see `checkpoint.py`

The same command with the same `out` resumes from the newest checkpoint. Parameters, moments, step and data position are
restored bit for bit, so k steps, an interruption and N-k steps give the result of N steps (on the same kind of device
and the same mesh). Step and evaluation are compiled once, before anything is computed.

Overhead: one synchronization with the host per step, to check the loss; and for each checkpoint a copy of the state to
the host, which is written to disk while training continues.

In a distributed run (`jax.distributed`) each process loads its part of a batch and writes its part of a checkpoint, on
a shared file system; the first process writes metrics, and copies checkpoints (`copies/`).
"""

from __future__ import annotations

import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from schemas.counted import counted
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import Interrupted, JobError, StorageError
from schemas.runs.compilation_cache import tell_cache_errors, use_compilation_cache
from schemas.runs.interrupt import StopRequest
from schemas.runs.messages import LOG, messages
from schemas.runs.metrics import MetricsLog
from schemas.runs.progress import TrainingProgress
from schemas.spelled_time import spelled_time
from schemas.storage.location import located
from trainer.cpu_devices import use_cpu_devices
from trainer.data.device_batches import DeviceBatches
from trainer.data.loader import training_batches
from trainer.run.checkpoint import Checkpoints
from trainer.run.config import TrainConfig
from trainer.run.copies.copying import copying, restore_run
from trainer.run.damage import SkippedSequences, to_stderr
from trainer.run.divergence import LeftOut, Updates
from trainer.run.evaluate import HeldOut, losses
from trainer.run.group.distributed import connect, connection_errors
from trainer.run.group.processes import any_process
from trainer.run.lock import locked
from trainer.run.profile import StepProfile
from trainer.run.resumption import choose_start
from trainer.run.retention import Retention
from trainer.run.setup import Setup
from trainer.run.state import TrainState, resume
from trainer.run.step import StepMetrics
from trainer.run.tracking import open_boards
from trainer.run.utilization import Utilization, memory_in_use


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Outcome of a run. Losses are in nats per target, and None if they were not measured."""

    step: int
    loss: float | None  # of the last step's batch
    first_eval_loss: float | None
    eval_loss: float | None
    tokens_per_s: float | None  # median over the recorded steps, padding included
    skipped_sequences: int  # damaged ones, with `damaged="skip"`
    checkpoint: Path
    metrics: Path


def train(config: TrainConfig) -> TrainResult:
    """Train, or resume training, until `config.steps` updates are made.

    Raises ConfigError, DatasetError or VocabularyMismatch before anything is computed; JobError if the loss is not
    finite; Interrupted after Ctrl-C, once the checkpoint is on disk; StorageError if the disk is full.
    """
    use_cpu_devices(config.devices)
    connect(config.processes, native_output=config.native_output)
    use_compilation_cache()
    with StopRequest(agree=any_process, notify=_announce_stop) as stop, ExitStack() as stack:
        if config.copy_to is not None:
            restore_run(config.out, config.copy_to, step=config.checkpoint_step)
        return _Training(Setup.of(config), stop, stack).run()


def _announce_stop() -> None:
    """Say that the step, which can take minutes, is completed first."""
    if jax.process_index() == 0:
        messages.info_in_handler(
            "stopping after this step; a second signal ends the process at once, without a checkpoint"
        )


class _StopRequested(Exception):
    """The user requested a stop. Raised between batches, when the state is complete."""


class _Training:
    """One run, from its start or its newest checkpoint to its last step. `stack` closes what it opens."""

    def __init__(self, setup: Setup, stop: StopRequest, stack: ExitStack) -> None:
        config, primary = setup.config, jax.process_index() == 0
        self._setup, self._config, self._stop = setup, config, stop
        stack.enter_context(locked(config.out))
        keep, goes_back = self._retention(), config.checkpoint_step is not None
        self._copies = stack.enter_context(copying(config.out, config.copy_to, keep=keep, goes_back=goes_back))
        self._checkpoints = stack.enter_context(Checkpoints(config.out, keep=keep))
        start = choose_start(
            self._checkpoints,
            setup.description,
            step=config.checkpoint_step,
            allow_changed=config.allow_changed,
        )
        if start.step is None:
            setup.check_init_from()
        self._start, self._step = start.step, start.step or 0
        logged = -1 if self._start is None else self._start
        boards = open_boards(config.tracking, config.out, step=logged) if primary else []
        self._log = stack.enter_context(MetricsLog(config.out, step=logged, primary=primary, boards=boards))
        if primary:
            stack.enter_context(messages.recorded(located(config.out) / LOG))
        progress = TrainingProgress("train", steps=config.steps, done=self._step, visible=primary)
        self._progress = stack.enter_context(progress)
        for note in start.notes:
            self._progress.log(note)
        if self._copies is not None:
            self._copies.start(start.step)
        if self._log.damaged:
            self._progress.log(f"dropped {counted(self._log.damaged, 'damaged line')} of {self._log.path}")
        self._skipped = SkippedSequences(self._progress.log if primary else to_stderr)
        self._held_out = HeldOut(
            setup, log=self._log, progress=progress, skipped=self._skipped, each_batch=self._stop_if_asked
        )
        self._loader = setup.placement.loader(setup.split, skip_damaged=config.damaged == "skip")
        loaders = {size: self._loader.resized(place.window) for size, place in setup.placements.items()}
        batches = training_batches(
            lambda indices: loaders[len(indices)](indices), setup.sequences, read=self._loader.read_options
        )
        self._batches = stack.enter_context(closing(DeviceBatches(batches, setup.placements)))
        self._left_out = LeftOut(config.out)
        if start.is_changed:
            self._left_out.clear(delete=primary)
        self._updates = Updates(config.divergence, self._log.rows("train"), left_out=self._left_out)
        devices = list(setup.plan.mesh.devices.flat)
        about = setup.description
        self._utilization = Utilization(about.model, about.vocabulary, devices, peak=config.tracking.peak_flops)
        self._profile = StepProfile(config.out, config.tracking.profile_steps)
        stack.callback(self._profile.close)
        self._compile_s = 0.0  # until the next row

    def run(self) -> TrainResult:
        """Make the remaining steps."""
        if self._step >= self._config.steps:
            steps = counted(self._config.steps, "step")
            self._progress.log(f"nothing to do: {self._newest} has {self._step:,} of {steps}")
            self._finish_copies()
            return self._result()
        self._progress.log(str(self._setup) + (f"; resuming from {self._newest}" if self._step else ""))
        if self._setup.held_out is None and self._config.cadence.eval_every:
            self._progress.log("no dataset has sequences in the split val, so the run is not evaluated")
        if jax.process_index() == 0:
            self._setup.write_config(self._config.out / f"config-from-{self._step}.json")
            self._setup.split.copy_text_tokenizer(self._config.out / TEXT_TOKENIZER)
        if (seconds := self._setup.expected_seconds(self._step)) is not None:
            left = self._config.steps - self._step
            self._progress.log(
                f"expected to take about {spelled_time(seconds)} for {counted(left, 'step')}, and compilation"
            )
        self._prepare()
        try:
            self._make_steps()
        except _StopRequested as e:
            raise self._interrupted() from e
        self._checkpoints.wait()
        self._finish_copies()
        return self._result()

    def _prepare(self) -> None:
        """Compile, and make the initial state. Compilation uses one core, so the step gets its own thread."""
        started = time.perf_counter()
        self._progress.log("compiling the training step; on a CPU this takes up to a minute", event="compiling")
        with tell_cache_errors(self._progress.log), ThreadPoolExecutor(max_workers=1) as second:
            rest = second.submit(self._prepare_rest)
            self._batch_size = self._config.batch_sizes.at(self._step)
            self._train_step = self._setup.compile_step(self._batch_size)
            rest.result()
        self._compile_s = time.perf_counter() - started
        self._progress.log(f"compiled in {self._compile_s:.1f} s", event="compiled", seconds=round(self._compile_s, 1))
        self._progress.start()

    def _prepare_rest(self) -> None:
        self._state = self._initial_state()
        self._held_out.compile()

    def _initial_state(self) -> TrainState:
        if self._start is None:
            return self._setup.initial_state()
        position = self._checkpoints.restore_position(self._start)
        with self._checkpoints.read_errors(self._start):
            self._batches.seek(position)
        return resume(self._setup.plan, self._checkpoints, self._start)

    def _make_steps(self) -> None:
        self._evaluate()
        while self._step < self._config.steps:
            self._stop_if_asked()
            self._make_step()
            self._evaluate()
            if self._step % self._config.cadence.checkpoint_every == 0 or self._step == self._config.steps:
                self._save()

    def _follow_ramp(self) -> None:
        """Compile the step again if the next batch has another size."""
        size = self._config.batch_sizes.at(self._step)
        if size == self._batch_size:
            return
        started = time.perf_counter()
        sequences = counted(size, "sequence")
        self._progress.log(f"step {self._step + 1}: compiling the training step for {sequences} (--batch-ramp)")
        self._batch_size, self._train_step = size, self._setup.compile_step(size)
        self._compile_s = time.perf_counter() - started

    def _make_step(self) -> None:
        self._follow_ramp()
        self._profile.before(self._step + 1)
        started = time.perf_counter()
        batch = self._batches.next(last=self._step + 1 == self._config.steps)
        wait_s = time.perf_counter() - started
        limit = jax.device_put(np.float32(self._updates.limit(self._step + 1)), self._setup.plan.replicated)
        with connection_errors(self._step):
            self._state, measured = self._train_step(self._state, batch, limit)
            metrics: StepMetrics = jax.device_get(measured)
        self._step += 1
        self._skipped.update(self._loader)
        row = self._row(metrics, step_s=time.perf_counter() - started, wait_s=wait_s)
        if self._profile.after(self._step):
            self._progress.log(f"step {self._step}: wrote the profile {self._profile.path}")
        for line in self._setup.exhausted(self._step):
            self._progress.log(line)
        self._tell_copies()
        self._judge(row)
        self._log.write("train", self._step, row)
        self._progress.update(self._step, self._status(row))

    def _status(self, row: dict[str, float]) -> str:
        mfu = f", MFU {row['mfu']:.1%}" if "mfu" in row else ""
        evaluated, saved = self._log.last_step("eval"), self._checkpoints.latest()
        copied = None if self._copies is None else self._copies.latest
        events = [("evaluated", evaluated), ("saved", saved), ("copied", copied)]
        when = "".join(f", {what} at {step}" for what, step in events if step is not None)
        return f"loss {row['loss']:.4f}, {row['tokens_per_s']:,.0f} tokens/s{mfu}{when}"

    def _judge(self, row: dict[str, float]) -> None:
        """Raise JobError if the run diverged; say so if the step's update was skipped."""
        applied = bool(row["applied"])
        self._updates.record(self._step, applied=applied, norm=row["gradient_norm"])
        if self._updates.must_stop:
            raise self._diverged(row)
        if self._step in self._left_out:
            self._progress.log(f"step {self._step}: left out the update, as the run diverged here before")
        elif not applied:
            self._progress.log(
                f"step {self._step}: skipped the update: {_measured(row)} ({self._updates.skipped} skipped within "
                f"1,000 steps, --skip-budget is {self._config.divergence.skip_budget})"
            )

    def _row(self, metrics: StepMetrics, *, step_s: float, wait_s: float) -> dict[str, float]:
        compile_s, self._compile_s = self._compile_s, 0.0
        sums = np.stack([metrics.sums.ce_by_modality, metrics.sums.weight_by_modality])
        return losses(sums) | {
            "applied": int(metrics.applied),
            "gradient_norm": float(metrics.gradient_norm),
            "parameter_norm": float(metrics.parameter_norm),
            "learning_rate": float(metrics.learning_rate),
            "useful_tokens": int(metrics.useful_tokens),
            **self._setup.epochs(self._step),
            "skipped_sequences": self._skipped.count,
            "step_s": step_s,
            "data_wait_s": wait_s,
            "compile_s": compile_s,
            "tokens_per_s": math.prod(self._setup.placements[self._batch_size].shape) / step_s,
            **self._utilization.of_step(tokens=int(metrics.tokens), keys=float(metrics.keys), seconds=step_s),
            **memory_in_use(jax.local_devices()),
        }

    def _evaluate(self) -> None:
        self._held_out.evaluate_if_due(self._step, self._state.params if self._state.ema is None else self._state.ema)

    def _save(self) -> None:
        self._checkpoints.save(
            self._step,
            params=self._state.params,
            optimizer=self._state.optimizer,
            ema=self._state.ema,
            position=self._batches.position,
            description=self._setup.description,
        )

    def _finish_copies(self) -> None:
        """Wait until all is copied. Raises StorageError, in all processes, if something could not be."""
        if self._config.copy_to is None:
            return
        failed = None
        if self._copies is not None:
            if self._copies.is_behind:
                self._progress.log(f"copying the last checkpoints to {self._config.copy_to}")
            failed = self._copies.finish()
            self._tell_copies()
        if any_process(failed is not None):
            raise StorageError(f"{failed or 'checkpoints are not copied'}. Run the same command again to copy them")

    def _tell_copies(self) -> None:
        for message in self._copies.messages() if self._copies is not None else ():
            self._progress.log(message)

    def _stop_if_asked(self) -> None:
        if self._stop.is_requested():
            raise _StopRequested

    def _interrupted(self) -> Interrupted:
        where = f"stopped after step {self._step} of {self._config.steps}"
        if self._step == 0:
            return Interrupted(f"{where}; no checkpoint exists yet. Run the same command to start again.")
        self._save()
        self._checkpoints.wait()
        self._finish_copies()
        return Interrupted(f"{where}; saved as {self._newest}. Run the same command to resume.")

    def _diverged(self, row: dict[str, float]) -> JobError:
        self._checkpoints.wait()
        saved = self._checkpoints.latest()
        back = "There is no checkpoint yet" if saved is None else f"The newest checkpoint is {self._newest}"
        if saved is not None and not self._has_updated_since(saved):  # its parameters may be the cause
            back += "; no update since then was made: if this repeats, go back with --checkpoint-step"
        first = (saved or 0) + 1
        if jax.process_index() == 0:
            self._left_out.add(first, self._step)
        which = f"step {first}" if first == self._step else f"steps {first} to {self._step}"
        skip = "a larger --skip-budget" if self._config.divergence.on_divergence == "skip" else "--on-divergence skip"
        return JobError(
            f"training diverged at step {self._step}: {_measured(row)}. {back}. The same command continues "
            f"without the updates of {which}, which {self._left_out.path} names. Or run again with a lower "
            f"--optimizer.learning-rate or a longer warm-up (and --allow-changed), or with {skip}."
        )

    def _has_updated_since(self, step: int) -> bool:
        return any(row["applied"] for row in self._log.rows("train") if row["step"] > step)

    def _retention(self) -> Retention:
        cadence = self._config.cadence

        def loss(step: int) -> float | None:
            row = self._log.find("eval", step)
            return None if row is None else row["loss"]

        return Retention(
            newest=cadence.checkpoints_kept,
            every=cadence.keep_every,
            hours=cadence.keep_hours,
            best=cadence.keep_best,
            loss=loss,
        )

    @property
    def _newest(self) -> Path:
        return self._checkpoints.path / str(self._checkpoints.latest())

    def _result(self) -> TrainResult:
        trained, evaluated = self._log.rows("train"), self._log.rows("eval")
        rates = [row["tokens_per_s"] for row in trained]
        return TrainResult(
            step=self._step,
            loss=trained[-1]["loss"] if trained else None,
            first_eval_loss=evaluated[0]["loss"] if evaluated else None,
            eval_loss=evaluated[-1]["loss"] if evaluated else None,
            tokens_per_s=statistics.median(rates) if rates else None,
            skipped_sequences=self._skipped.count,
            checkpoint=self._newest,
            metrics=self._log.path,
        )


def _measured(row: dict[str, float]) -> str:
    return f"the loss is {row['loss']}, the norm of the gradient {row['gradient_norm']}"
