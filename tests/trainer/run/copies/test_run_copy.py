from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer
from tests.support.training.stored_checkpoints import write_checkpoint
from trainer.run.copies.run_copy import RunCopy


@pytest.fixture(params=["folder", "s3", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return located(tmp_path / "copy")
    server: ObjectServer = request.getfixturevalue(request.param)
    return server.bucket() / "runs" / "one"


def steps(copy: RunCopy) -> list[int]:
    return [found.step for found in copy.checkpoints()]


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of the checkpoints in a folder."""
    paths = (path for path in (folder / "checkpoints").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_copied_run_is_restored_with_the_same_bytes(place: Location, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    write_checkpoint(run, 4)
    (run / "text_tokenizer").mkdir()
    (run / "text_tokenizer" / "tokenizer.json").write_text("{}")
    copy = RunCopy(run, place)
    copy.claim()
    assert steps(copy) == []
    copy.send(4)
    assert steps(copy) == [4]
    restored = RunCopy(other, place)
    restored.claim()
    assert restored.restore() == (4, [])
    assert files(other) == files(run)
    assert (other / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert (other / "text_tokenizer" / "tokenizer.json").read_text() == "{}"
    assert not list(other.glob("*being-copied*"))


def test_a_half_copy_is_not_a_checkpoint_and_is_deleted(place: Location, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run", 4)
    write_checkpoint(tmp_path / "run", 8)
    copy = RunCopy(tmp_path / "run", place)
    copy.send(4)
    copy.send(8)
    (place / "checkpoints" / "8" / "checksums.json").delete()
    assert steps(copy) == [4]
    assert RunCopy(tmp_path / "other", place).restore() == (4, [])
    copy.delete_half_copies()
    assert [found.name for found in (place / "checkpoints").list()] == ["4"]


def test_a_damaged_copy_costs_the_steps_since_the_one_before(place: Location, tmp_path: Path) -> None:
    for step in (4, 8):
        write_checkpoint(tmp_path / "run", step)
        RunCopy(tmp_path / "run", place).send(step)
    (place / "checkpoints" / "8" / "optimizer" / "d" / "values").write(b"damaged" * 50)
    step, [problem] = RunCopy(tmp_path / "other", place).restore()
    assert step == 4
    assert "optimizer/d/values has 350 bytes, expected 1000" in problem
    assert [path.name for path in (tmp_path / "other" / "checkpoints").iterdir()] == ["4"]


def test_the_copy_of_another_run_is_refused(place: Location, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_checkpoint(tmp_path / name, 4)
    RunCopy(tmp_path / "one", place).claim()
    RunCopy(tmp_path / "one", place).claim()  # again, as on resuming
    with pytest.raises(ConfigError, match="has the copy of another run than .*two"):
        RunCopy(tmp_path / "two", place).claim()


def test_a_copy_in_the_folder_of_the_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "run", tmp_path / "run" / "copy", tmp_path):
        with pytest.raises(ConfigError, match="copy_to must be a folder apart from out"):
            RunCopy(tmp_path / "run", located(place))


def test_a_damaged_name_of_the_run_is_named(tmp_path: Path) -> None:
    place = located(tmp_path / "copy")
    (place / "run.json").write(b"[]")
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        RunCopy(tmp_path / "run", place).claim()


def test_checkpoints_that_a_run_goes_back_from_are_set_aside_until_they_are_written_again(tmp_path: Path) -> None:
    copy = RunCopy(tmp_path / "run", located(tmp_path / "copy"))
    for step in (4, 8):
        write_checkpoint(tmp_path / "run", step)
        copy.send(step)
    assert copy.set_aside_after(4) == [8]
    assert steps(copy) == [4]
    assert (tmp_path / "copy" / "checkpoints" / "8" / "params" / "d" / "values").exists()
    copy.send(8)
    assert steps(copy) == [4, 8]


_COPY = """
import sys
from pathlib import Path
from schemas.storage.location import Location
from trainer.run.copies.run_copy import RunCopy
copy = RunCopy(Path(sys.argv[1]), Location.parse(sys.argv[2]))
copy.send(4)
print("copied", flush=True)
copy.send(8)
"""


def test_a_kill_during_a_copy_leaves_the_copy_before_it(s3: ObjectServer, tmp_path: Path) -> None:
    place = s3.bucket() / "run"
    write_checkpoint(tmp_path / "run", 4)
    write_checkpoint(tmp_path / "run", 8)
    for i in range(2000):  # takes seconds
        (tmp_path / "run" / "checkpoints" / "8" / "params" / f"part-{i:04}").write_bytes(b"values")
    command = [sys.executable, "-c", _COPY, str(tmp_path / "run"), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copied\n"
        until = time.monotonic() + 60
        while not (place / "checkpoints" / "8" / "params" / "part-0000").stat():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
    assert (place / "checkpoints" / "8").is_folder()
    copy = RunCopy(tmp_path / "other", place)
    assert steps(copy) == [4]
    assert copy.restore() == (4, [])
    copy.delete_half_copies()
    assert not (place / "checkpoints" / "8").is_folder()
