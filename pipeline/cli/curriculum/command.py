"""The command `train-curriculum`: packs the datasets of all stages, then trains one stage after the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from tyro.conf import OmitArgPrefixes

from pipeline.cli.curriculum.estimate import Estimate, Hardware, estimates
from pipeline.cli.curriculum.stages import Evaluation, TrainingStage, training_stages
from pipeline.cli.jobs import Pack
from pipeline.cli.options import options_of
from pipeline.cli.place import Place
from pipeline.evaluation.report import PAGE
from pipeline.packing.curriculum import read_curriculum_file
from pipeline.runtime.progress import output
from pipeline.runtime.token_store import StoreFacts
from pipeline.runtime.workspace import Workspace
from schemas.counted import few_digits
from schemas.dataset import read_card
from schemas.errors import ConfigError, DatasetError, Interrupted, JobError, UsageError
from schemas.runs.checkpoint_files import checkpoint_steps
from schemas.runs.messages import messages
from schemas.runs.metrics import METRICS, read_metrics
from schemas.spelled_time import spelled_time
from schemas.storage.location import Location
from schemas.storage.option import Address, NewFolder
from schemas.vocab import Vocabulary
from trainer.planning.report import spelled_bytes
from trainer.run.group.distributed import Distributed
from trainer.run.group.launcher import INTERRUPTED, how_it_ended, run_child

_LONGREEL = (sys.executable, "-P", "-m", "longreel")


@dataclass(frozen=True, kw_only=True)
class TrainCurriculum:
    """Train all stages of a curriculum: pack their datasets, then train one after the other.

    A stage starts from the weights of the one before. The same command resumes: a stage that has all its steps is not
    trained again, and an interrupted one continues from its newest checkpoint. OUT has a folder for each stage, the
    output of `longreel train`.
    """

    curriculum: str
    """A TOML file, or the name of one that is part of Longreel: laptop (two cores), or lwm-paper (the ten stages of
    arXiv 2402.08268). See docs/curricula.md."""
    out: NewFolder
    """Output folder."""
    workspace: Address | None = None
    """The workspace whose tokens are packed. Only --dry-run does without."""
    init_from: Address | None = None
    """Output folder of the run or of import-model whose weights the first stage starts from. Default: new weights."""
    dry_run: bool = False
    """Print the tokens, memory and time of each stage, and do nothing else."""
    pack: bool = True
    """Pack the datasets that are missing or out of date. Where several hosts train together, run `longreel pack` with
    the same curriculum first, and give --no-pack."""
    workers: int = 1
    """Worker threads of packing."""
    reconfigure: bool = False
    """Pack again the datasets whose options of packing differ from those that they were packed with."""
    allow_changed: bool = False
    """Resume stages whose options of training have changed."""
    devices: int | None = None
    """Number of virtual CPU devices to use in each process; with --dry-run, of devices to plan for. Default: those
    that JAX finds; with --dry-run, the product of the mesh axes."""
    flops_per_s: float | None = None
    """For --dry-run: speed of one device in matrix products, in FLOP/s. Default: measured here."""
    utilization: float | None = None
    """For --dry-run: share of that speed that a step reaches. Default: 0.5 where the CPU of this machine is measured,
    else 0.4."""
    processes: OmitArgPrefixes[Distributed] = field(default_factory=Distributed)

    def __post_init__(self) -> None:
        if self.utilization is not None and not 0 < self.utilization <= 1:
            raise ConfigError(f"utilization must lie between 0 and 1, got {self.utilization}")
        for name in ("devices", "flops_per_s", "workers"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Pack and train, or print the estimates."""
        file = read_curriculum_file(self.curriculum)
        workspace = None if self.workspace is None else Workspace.existing(self.workspace)
        packed = Location.parse("packed") if workspace is None else workspace.packed_folder
        stages = training_stages(file, packed=packed, out=self.out, init_from=self.init_from)
        if self.dry_run:
            vocabulary = None if workspace is None else StoreFacts.read(workspace.tokens).vocabulary
            self._print_estimates(stages, vocabulary)
            return
        if workspace is None:
            raise UsageError("--workspace is missing: the folder that `longreel run` or `longreel tokenize` made")
        if self.pack:
            place = Place(out=workspace.root, workers=self.workers, reconfigure=self.reconfigure)
            Pack(place=place, curriculum=self.curriculum)(())
        for stage in stages:  # before the first one begins
            _require_data(stage)
        for number, stage in enumerate(stages, 1):
            self._require_unused(stage, stages[number:])
            messages.info(f"stage {number} of {len(stages)}: {stage.name}")
            self._train(stage)
            for evaluation in stage.evaluations:
                self._evaluate(stage, evaluation)
        output().print(_summary(stages))

    def _print_estimates(self, stages: Sequence[TrainingStage], vocabulary: Vocabulary | None) -> None:
        hardware = Hardware(devices=self.devices, flops_per_s=self.flops_per_s, utilization=self.utilization)
        output().print(_estimates(list(estimates(stages, hardware, vocabulary=vocabulary))))

    def _require_unused(self, stage: TrainingStage, later: Sequence[TrainingStage]) -> None:
        """Raise UsageError if this stage has steps to make, but a later one has started from its weights."""
        started = [other.name for other in later if _newest(self.out / other.name) is not None]
        step = _newest(self.out / stage.name) or 0
        if started and step < stage.config.steps:
            raise UsageError(
                f"stage {stage.name} has {step} of {stage.config.steps} steps, but {started[0]} was trained from its "
                f"weights already: remove {self.out / started[0]} and what follows it, or choose another --out"
            )

    def _train(self, stage: TrainingStage) -> None:
        arguments = [*stage.arguments, *_words(Distributed, self.processes)]
        arguments += [] if self.devices is None else ["--devices", str(self.devices)]
        arguments += ["--allow-changed"] if self.allow_changed else []
        self._run(["train", *arguments], f"stage {stage.name}")

    def _evaluate(self, stage: TrainingStage, evaluation: Evaluation) -> None:
        run = self.out / stage.name
        folder = run / "evaluation" / evaluation.name
        if (folder / PAGE).exists():  # is written last
            return
        arguments = [*evaluation.arguments, "--model", str(run), "--out", str(folder)]
        self._run(["eval", evaluation.suite, *arguments], f"evaluation {evaluation.name} of stage {stage.name}")

    def _run(self, arguments: Sequence[str], what: str) -> None:
        """Run a command of Longreel in a process of its own; raises Interrupted or JobError unless it succeeds."""
        code = run_child([*_LONGREEL, *arguments])
        if code == INTERRUPTED:
            raise Interrupted(f"{what} was interrupted; the same command resumes")
        if code:
            raise JobError(
                f"{what} {how_it_ended(code)}; its message is above. Once the cause is mended, the same command "
                "resumes there; with other options of training in the curriculum, add --allow-changed"
            )


def _words(command_class: type, config: object) -> list[str]:
    """Return the arguments that give the values of `config` that are not the default."""
    changed = [option for option in options_of(command_class) if option.value_of(config) != option.default]
    values = [(option, option.to_toml(option.value_of(config))) for option in changed]
    return [word for option, value in values if value is not None for word in option.to_arguments(value)]


def _newest(run: Path) -> int | None:
    """Return the step of the newest checkpoint in a folder; None if it has none."""
    return max(checkpoint_steps(run), default=None)  # Orbax would start JAX here and take the memory of a GPU


def _require_data(stage: TrainingStage) -> None:
    """Raise DatasetError if a dataset of a stage has no sequences to train on, with the reasons, or another context."""
    for directory in stage.config.directories:
        card = read_card(directory)
        if card.context_length != stage.data.context_length:
            raise DatasetError(
                f"stage {stage.name} has a context of {stage.data.context_length:,} tokens, but {directory} was packed "
                f"with {card.context_length:,}"
            )
        if not card.splits.get("train"):
            excluded = ", ".join(f"{count:,} {reason}" for reason, count in card.left_out.items()) or "none"
            raise DatasetError(
                f"stage {stage.name}: {directory} has no sequence to train on; documents that were not packed: "
                f"{excluded}. Lower min_tokens, change the mixture of the stage, or add data"
            )


def _estimates(rows: Sequence[Estimate]) -> Table:
    table = Table(*("stage", "context", "steps", "tokens", "epochs", "parameters", "devices", "a device", "time"))
    for row in rows:
        config, context = row.stage.config, row.stage.data.context_length
        table.add_row(
            row.stage.name,
            f"{context:,}",
            f"{config.steps:,} x {config.batch_size:,}",
            f"{row.tokens:.3g}",
            "not packed" if row.epochs is None else few_digits(row.epochs),
            f"{row.parameters / 1e6:,.1f}M",
            f"{row.devices:,}",
            spelled_bytes(row.device_bytes),
            spelled_time(row.seconds),
        )
    total = sum(row.seconds for row in rows)
    table.add_row("all", "", "", f"{sum(row.tokens for row in rows):.3g}", "", "", "", "", spelled_time(total))
    return table


def _summary(stages: Sequence[TrainingStage]) -> Table:
    table = Table("stage", "context", "steps", "held-out loss, first and last", "folder")
    for stage in stages:
        rows = read_metrics(stage.config.out / METRICS)
        losses = [row["loss"] for row in rows if row["kind"] == "eval" and row["loss"] is not None]
        fell = f"{losses[0]:.4f} -> {losses[-1]:.4f}" if losses else "not evaluated"
        context = f"{stage.data.context_length:,}"
        table.add_row(stage.name, context, f"{stage.config.steps:,}", fell, str(stage.config.out))
    return table
