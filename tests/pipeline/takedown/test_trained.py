"""What was trained on items that are taken down."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.runtime.workspace import Workspace
from pipeline.takedown.journal import Journal
from pipeline.takedown.trained import clear_tokenizer_run, tokenizer_runs, trained_models
from pipeline.tokenizer_jobs.training_set import write_training_table
from schemas.files import write_json
from schemas.storage.location import located
from tests.pipeline.takedown.test_journal import REQUEST
from tests.support.signatures import scene, signature


@pytest.mark.parametrize(
    ("fingerprint", "dataset", "said"),
    [("f", "/elsewhere", "was trained on /data/64"), ("g", "/data/64", "another version of /data/64"), ("g", "/x", "")],
)
def test_a_model_is_found_by_the_fingerprint_or_the_folder_of_its_dataset(
    tmp_path: Path, fingerprint: str, dataset: str, said: str
) -> None:
    workspace, run = Workspace.open(tmp_path / "a" / "out", units=1), tmp_path / "models" / "one"
    for step in ("20", "100"):
        (run / "checkpoints" / step).mkdir(parents=True)
    facts = {"config": {"dataset": [dataset]}, "dataset_fingerprint": fingerprint}
    (run / "config-from-0.json").write_text(json.dumps(facts))
    (run / "config-from-1.json").write_text("not of a run")
    found = trained_models(workspace, [located(tmp_path / "models")], {"/data/64": "f"})
    assert [said in str(model) and "checkpoints 20, 100" in str(model) for model in found] == ([True] if said else [])


def test_a_folder_of_train_tokenizer_loses_frames_pictures_and_rows(tmp_path: Path) -> None:
    workspace, run = Workspace.open(tmp_path / "out", units=1), tmp_path / "tokenizer"
    journal, table = Journal(workspace, "id"), run / "tokenizer.trained-on.parquet"
    journal.begin(REQUEST)
    for name in ("frames/frames.u8", "pictures/000250.png"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_bytes(b"frames")
    write_json(run / "frames" / "frames.json", {"videos": [{"uri": "/v/a.mp4", "sha256": "d"}]})
    write_training_table(table, [(f"/v/{name}.mp4", signature(name, scene(1, 2))) for name in "ab"])
    assert tokenizer_runs(workspace, [located(run), located(tmp_path)]) == [located(run)]
    said = clear_tokenizer_run(located(run), REQUEST, journal)
    assert said == f"the weights of the tokenizer in {run} were trained on them"
    assert [path.name for path in run.iterdir()] == [table.name]
    assert pq.read_table(table)["uri"].to_pylist() == ["/v/b.mp4"]
    assert clear_tokenizer_run(located(run), REQUEST, journal) is None
