"""What was trained on items that are taken down: models and tokenizers, which keep what they learned.

Weights cannot be changed, so they are named in the receipt. Decoded frames and pictures next to a tokenizer are
deleted, and its table of the training set loses the rows of the items.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.settings import Settings
from pipeline.runtime.workspace import Workspace
from pipeline.takedown.journal import Journal, Request
from pipeline.tokenizer_jobs.frame_cache import FOLDER as FRAMES
from pipeline.tokenizer_jobs.training_set import TRAINING_TABLE
from schemas.errors import DatasetError, UsageError
from schemas.files import read_json
from schemas.storage.location import Location, located
from schemas.tables import read_table, write_table

_RUN = "config-from-*.json"  # what `longreel train` writes when it starts
_DEPTH = 2


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A training run that read a dataset with an item."""

    run: Location
    dataset: str
    is_certain: bool  # the dataset has not been packed again since
    checkpoints: Sequence[str]  # steps

    def __str__(self) -> str:
        how = "was trained on" if self.is_certain else "was trained on another version of"
        steps = f" (checkpoints {', '.join(self.checkpoints)})" if self.checkpoints else ""
        return f"model {self.run} {how} {self.dataset}{steps}"


def trained_models(
    workspace: Workspace, folders: Iterable[Location], datasets: Mapping[str, str]
) -> list[TrainedModel]:
    """Return the training runs in and next to the workspace and in `folders` that read one of the datasets.

    `datasets` has the fingerprints of the datasets with an item, by folder.
    """
    root = located(workspace.root)
    found: dict[Location, TrainedModel] = {}
    for place in sorted({place for folder in (*folders, root, root.parent) for place in _run_files(folder, _DEPTH)}):
        for model in _models(place, datasets):
            known = found.get(model.run)
            found[model.run] = model if known is None or model.is_certain else known
    return list(found.values())


def _run_files(folder: Location, depth: int) -> Iterator[Location]:
    """Yield the files that runs write when they start, in a folder and `depth` levels below."""
    if folder.is_local:
        folder = located(folder.local().resolve())
    yield from folder.list(_RUN)
    if depth:
        for below in folder.list():
            if below.stat() is None:
                yield from _run_files(below, depth - 1)


def _models(place: Location, datasets: Mapping[str, str]) -> Iterator[TrainedModel]:
    try:
        facts = json.loads(place.read())
        read = [_real(Location.parse(name)) for name in facts["config"]["dataset"]]
        fingerprint = facts["dataset_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # another file of this name
    for folder, before in datasets.items():
        if fingerprint == before or _real(Location.parse(folder)) in read:
            names = [step.name for step in (place.parent / "checkpoints").list("[0-9]*")]
            steps = sorted((name for name in names if name.isdigit()), key=int)
            yield TrainedModel(
                run=place.parent, dataset=folder, is_certain=fingerprint == before or len(read) > 1, checkpoints=steps
            )


def _real(place: Location) -> Location:
    """Return a location with links of the file system resolved."""
    return located(place.local().resolve()) if place.is_local else place


def tokenizer_runs(workspace: Workspace, folders: Iterable[Location]) -> list[Location]:
    """Return the folders of `train-tokenizer` among `folders`, and that of the workspace's own VQGAN."""
    places = list(folders)
    try:
        spelling = Settings.read(workspace.root, accept_edited=True).values.get(("vision",))
        if spelling is not None:
            places.append(Location.parse(str(tomllib.loads(f"value = {spelling}")["value"])).parent)
    except UsageError:
        pass
    return [
        place
        for place in dict.fromkeys(places)
        if place.list("*.trained-on.parquet") or (place / FRAMES / "frames.json").stat()
    ]


def clear_tokenizer_run(run: Location, request: Request, journal: Journal) -> str | None:
    """Remove the items from a folder of `train-tokenizer`; return what stays, None if it does not have them."""
    tables = [place for place in run.list("*.trained-on.parquet") if _drop_rows(place, request, journal)]
    in_cache = _is_in_cache(run / FRAMES / "frames.json", {*request.found.uris, *request.found.documents})
    if not tables and not in_cache:
        return None
    for name in (FRAMES, "pictures"):
        journal.before(run / name)
        (run / name).delete_folder()
    return f"the weights of the tokenizer in {run} were trained on them"


def _drop_rows(path: Location, request: Request, journal: Journal) -> bool:
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


def _is_in_cache(facts: Location, names: Collection[str]) -> bool:
    try:
        videos = read_json(facts)["videos"]
        return any(video["uri"] in names or video["sha256"] in names for video in videos)
    except FileNotFoundError:
        return False
    except (DatasetError, KeyError, TypeError):
        return True  # a cache that cannot be read may have them
