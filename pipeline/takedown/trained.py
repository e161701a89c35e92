"""What was trained on items that are taken down: models and tokenizers, which keep what they learned.

Weights cannot be changed, so they are named in the receipt. Decoded frames and pictures next to a tokenizer are
deleted, and its table of the training set loses the rows of the items.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.settings import Settings
from pipeline.runtime.workspace import Workspace
from pipeline.takedown.journal import Journal, Request
from pipeline.tokenizer_jobs.frame_cache import FOLDER as FRAMES
from pipeline.tokenizer_jobs.training_set import TRAINING_TABLE
from schemas.errors import DatasetError, UsageError, storage_errors
from schemas.files import read_json
from schemas.tables import read_table, write_table

_RUN = "config-from-*.json"  # what `longreel train` writes when it starts
_DEPTH = ("", "*/", "*/*/")


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A training run that read a dataset with an item."""

    run: Path
    dataset: str
    is_certain: bool  # the dataset has not been packed again since
    checkpoints: Sequence[str]  # steps

    def __str__(self) -> str:
        how = "was trained on" if self.is_certain else "was trained on another version of"
        steps = f" (checkpoints {', '.join(self.checkpoints)})" if self.checkpoints else ""
        return f"model {self.run} {how} {self.dataset}{steps}"


def trained_models(workspace: Workspace, folders: Iterable[Path], datasets: Mapping[str, str]) -> list[TrainedModel]:
    """Return the training runs in and next to the workspace and in `folders` that read one of the datasets.

    `datasets` has the fingerprints of the datasets with an item, by folder.
    """
    places = [*folders, workspace.root, workspace.root.parent]
    paths = {path.resolve() for place in places for depth in _DEPTH for path in place.glob(depth + _RUN)}
    found: dict[Path, TrainedModel] = {}
    for path in sorted(paths):
        for model in _models(path, datasets):
            known = found.get(model.run)
            found[model.run] = model if known is None or model.is_certain else known
    return list(found.values())


def _models(path: Path, datasets: Mapping[str, str]) -> Iterator[TrainedModel]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        read = [Path(name).resolve() for name in facts["config"]["dataset"]]
        fingerprint = facts["dataset_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # another file of this name
    for folder, before in datasets.items():
        if fingerprint == before or Path(folder).resolve() in read:
            steps = sorted((p.name for p in (path.parent / "checkpoints").glob("[0-9]*")), key=int)
            yield TrainedModel(
                run=path.parent, dataset=folder, is_certain=fingerprint == before or len(read) > 1, checkpoints=steps
            )


def tokenizer_runs(workspace: Workspace, folders: Iterable[Path]) -> list[Path]:
    """Return the folders of `train-tokenizer` among `folders`, and that of the workspace's own VQGAN."""
    places = [Path(folder) for folder in folders]
    try:
        spelling = Settings.read(workspace.root, accept_edited=True).values.get(("vision",))
        if spelling is not None:
            places.append(Path(str(tomllib.loads(f"value = {spelling}")["value"])).parent)
    except UsageError:
        pass
    tables = ((place, next(place.glob("*.trained-on.parquet"), None)) for place in dict.fromkeys(places))
    return [place for place, table in tables if table is not None or (place / FRAMES / "frames.json").is_file()]


def clear_tokenizer_run(run: Path, request: Request, journal: Journal) -> str | None:
    """Remove the items from a folder of `train-tokenizer`; return what stays, None if it does not have them."""
    tables = [path for path in sorted(run.glob("*.trained-on.parquet")) if _drop_rows(path, request, journal)]
    in_cache = _is_in_cache(run / FRAMES / "frames.json", {*request.found.uris, *request.found.documents})
    if not tables and not in_cache:
        return None
    for name in (FRAMES, "pictures"):
        if (run / name).is_dir():
            journal.before(run / name)
            with storage_errors(run):
                for path in sorted((run / name).iterdir()):
                    path.unlink()
                (run / name).rmdir()
    return f"the weights of the tokenizer in {run} were trained on them"


def _drop_rows(path: Path, request: Request, journal: Journal) -> bool:
    table = read_table(path)
    if not table.schema.equals(TRAINING_TABLE):
        raise DatasetError(f"{path} is not a table of a training set: its columns are {', '.join(table.column_names)}")
    uris, contents = (pa.array(sorted(names), pa.string()) for names in (request.found.uris, request.found.contents))
    is_target = pc.or_(pc.is_in(table["uri"], uris), pc.is_in(table["content_id"], contents))
    if not pc.any(is_target).as_py():
        return False
    journal.before(path)
    write_table(path, table.filter(pc.invert(is_target)))
    return True


def _is_in_cache(facts: Path, names: Collection[str]) -> bool:
    try:
        videos = read_json(facts)["videos"]
        return any(video["uri"] in names or video["sha256"] in names for video in videos)
    except FileNotFoundError:
        return False
    except (DatasetError, KeyError, TypeError):
        return True  # a cache that cannot be read may have them
