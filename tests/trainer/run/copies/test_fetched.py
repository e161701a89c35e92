from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.storage.location import located
from tests.support.servers.object_servers import ObjectServer
from tests.support.training.stored_checkpoints import write_checkpoint
from trainer.run.copies.fetched import local_run
from trainer.run.copies.run_copy import RunCopy


def test_a_local_run_is_its_own_folder(tmp_path: Path) -> None:
    assert local_run(located(tmp_path)) == tmp_path


def test_a_run_in_a_bucket_is_fetched_without_its_optimizer(s3: ObjectServer, tmp_path: Path) -> None:
    place = s3.bucket() / "run"
    for step in (4, 8):
        write_checkpoint(tmp_path, step)
        RunCopy(tmp_path, place).send(step)
    (place / "import.json").write(b"{}")
    for step, found in ((8, local_run(place)), (4, local_run(place, step=4))):
        folder = found / "checkpoints" / str(step)
        assert [path.name for path in (found / "checkpoints").iterdir()] == [str(step)]
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["description", "params"]
        values = tmp_path / "checkpoints" / str(step) / "params" / "d" / "values"
        assert (folder / "params" / "d" / "values").read_bytes() == values.read_bytes()
        assert (found / "metrics.jsonl").exists()
        assert (found / "import.json").read_text() == "{}"
    assert local_run(place) == local_run(place)


def test_a_place_without_a_checkpoint_is_named(s3: ObjectServer, tmp_path: Path) -> None:
    place = s3.bucket() / "run"
    with pytest.raises(ConfigError, match="is not the copy of a run: it has no finished checkpoint"):
        local_run(place)
    write_checkpoint(tmp_path, 4)
    RunCopy(tmp_path, place).send(4)
    with pytest.raises(ConfigError, match="has no checkpoint of step 5; it has: 4"):
        local_run(place, step=5)
