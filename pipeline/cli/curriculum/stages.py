"""The training of each stage of a curriculum, as commands of `longreel`.

    [train]                            options of `longreel train` for all stages
    [[stage]]                          the keys of `pipeline/packing/curriculum.py`, which describe the dataset, and
    datasets = {32k = 0.9, qa = 0.1}   the datasets to train on, by name of stage or directory; default: its own
    [stage.train]                      options of `longreel train` for this stage
    [[stage.evaluate]]                 an evaluation afterwards: `suite`, options of `longreel eval SUITE`, and
                                       `name` if there are several of one suite

Each stage is a run of its own in a folder with its name. It starts from the weights of the stage before, unless
`init-from` names other ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.options import Option, Value
from pipeline.cli.parse import build, file_options, with_values
from pipeline.cli.subcommands import SUBCOMMANDS
from pipeline.cli.toml import option_values
from pipeline.packing.curriculum import CurriculumFile, StageTable, is_name
from pipeline.packing.job import Stage
from schemas.errors import UsageError
from schemas.storage.location import Location, located
from trainer.commands import Train
from trainer.run.config import TrainConfig

# Options that the curriculum sets itself, or that concern one start of a run.
_OWN = frozenset(
    ("dataset", "out", "devices", "checkpoint-step", "allow-changed", "distributed", "coordinator", "processes")
) | frozenset(("process-id", "connect-timeout-s", "local-processes"))
_STEPS = 1000  # of a stage that does not say it: what fits is not known before its data is packed
_OWN_OF_EVALUATION = frozenset(("model", "out", "endpoint"))
_NOT_AFTER_A_STAGE = {"compare", "loss"}  # training itself measures the loss


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A suite, and the arguments that `longreel eval SUITE` gets besides the model and the output folder."""

    name: str  # of the output folder
    suite: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """A stage: its dataset to pack, the datasets of its training, and its commands."""

    data: Stage
    datasets: tuple[str, ...]  # DIR or DIR:WEIGHT
    arguments: tuple[str, ...]  # of `longreel train`, without those that depend on the start
    config: TrainConfig
    evaluations: tuple[Evaluation, ...]

    @property
    def name(self) -> str:
        """Its name in the file, which is that of its folder."""
        return self.data.name


def training_stages(
    file: CurriculumFile, *, packed: Location, out: Path, init_from: Location | None = None
) -> list[TrainingStage]:
    """Return the stages in order, with their options checked. Datasets by name are in the folder `packed`.

    Raises UsageError with file, stage and key for what is wrong.
    """
    options = {option.name: option for option in file_options(Train)}
    names = {stage.data.name for stage in file.stages}
    shared = _values(file.train, options, where=f"{file.name}, [train]")
    found: list[TrainingStage] = []
    for table in file.stages:
        values = shared | _values(table.training.get("train", {}), options, where=f"{table.where}, [stage.train]")
        previous = located(out / found[-1].name) if found else init_from
        if previous is not None and "init-from" not in values:
            values["init-from"] = str(previous)
        values["steps"] = values.get("steps") or _STEPS
        if isinstance(place := values.get("copy-to"), str):  # that of the curriculum
            values["copy-to"] = str(Location.parse(place) / table.data.name)
        found.append(_stage(table, values, list(options.values()), names=names, packed=packed, out=out))
    return found


def _stage(
    table: StageTable,
    values: Mapping[str, Value],
    options: Sequence[Option],
    *,
    names: set[str],
    packed: Location,
    out: Path,
) -> TrainingStage:
    datasets = _datasets(table, names=names, packed=packed)
    given = ["--dataset", *datasets, "--out", str(out / table.data.name)]
    arguments = with_values(options, {}, values, given)
    train = build(Train, arguments, table.where)
    return TrainingStage(
        data=table.data,
        datasets=datasets,
        arguments=tuple(arguments),
        config=train.training,
        evaluations=_evaluations(table),
    )


def _datasets(table: StageTable, *, names: set[str], packed: Location) -> tuple[str, ...]:
    """Return what --dataset gets: the dataset of the stage, or those that it names with their weights."""
    weights = table.training.get("datasets", {})
    if not isinstance(weights, dict) or not all(type(weight) in (int, float) for weight in weights.values()):
        raise UsageError(f"{table.where}: `datasets` must map names or directories to weights, got {weights!r}")
    if not weights:
        return (str(packed / table.data.name),)
    return tuple(f"{packed / key if key in names else key}:{weight}" for key, weight in weights.items())


def _evaluations(table: StageTable) -> tuple[Evaluation, ...]:
    tables = table.training.get("evaluate", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise UsageError(f"{table.where}: `evaluate` must be tables [[stage.evaluate]], got {tables!r}")
    found = tuple(_evaluation(one, where=f"{table.where}, [[stage.evaluate]]") for one in tables)
    names = [one.name for one in found]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{table.where} has two evaluations named {duplicates[0]!r}; give each a different `name`")
    return found


def _evaluation(table: Mapping[str, Any], *, where: str) -> Evaluation:
    rest = dict(table)
    suite = rest.pop("suite", None)
    suites = {name.split()[1] for name in SUBCOMMANDS if name.startswith("eval ")} - _NOT_AFTER_A_STAGE
    if suite not in suites:
        raise UsageError(f"{where}: `suite` must be one of {', '.join(sorted(suites))}, got {suite!r}")
    name = rest.pop("name", suite)
    if not isinstance(name, str) or not is_name(name):
        raise UsageError(f"{where}: `name` becomes a folder name: letters, digits, `.`, `_` and `-`, got {name!r}")
    options = [o for o in file_options(SUBCOMMANDS[f"eval {suite}"].load()) if o.name not in _OWN_OF_EVALUATION]
    values = option_values(rest, options, where=where)
    return Evaluation(name=name, suite=str(suite), arguments=tuple(with_values(options, {}, values, [])))


def _values(tables: object, options: Mapping[str, Option], *, where: str) -> dict[str, Value]:
    if not isinstance(tables, dict):
        raise UsageError(f"{where} must be a table of options, got {tables!r}")
    values = option_values(tables, options.values(), where=where)
    if own := sorted(_OWN & values.keys()):
        raise UsageError(f"{where}: {own[0]!r} cannot be set in a curriculum; give it on the command line if it has it")
    return values
