from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.errors import ConfigError, JobError, LeaseHeld, StorageError
from schemas.storage.lease import lease
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer
from tests.support.training.stored_checkpoints import write_checkpoint
from trainer.run.copies import copying as module
from trainer.run.copies.copying import copying, restore_run
from trainer.run.copies.run_copy import RunCopy
from trainer.run.retention import Retention


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    monkeypatch.setattr(module, "_LEASE_S", 0.1)


def copied(run: Path, place: Location) -> list[int]:
    return [found.step for found in RunCopy(run, place).checkpoints()]


def copy_run(run: Path, place: Location, *, keep: Retention | None = None, start: int | None = None) -> list[str]:
    """Copy what a run has, as training does; return the messages."""
    with copying(run, place, keep=keep or Retention(), goes_back=False) as copies:
        assert copies is not None
        copies.start(start)
        assert copies.finish() is None
        return copies.messages()


def test_the_checkpoints_that_the_rules_keep_are_copied(tmp_path: Path) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    for step in range(1, 7):
        write_checkpoint(run, step, hour=step)
    assert copy_run(run, place, keep=Retention(newest=2, every=3)) == []
    assert copied(run, place) == [3, 5, 6]
    write_checkpoint(run, 7)
    shutil.rmtree(run / "checkpoints" / "3")  # only the copy has it
    copy_run(run, place, keep=Retention(newest=2, every=3), start=6)
    assert copied(run, place) == [3, 6, 7]


def test_a_checkpoint_is_copied_while_the_run_continues(tmp_path: Path) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    with copying(run, place, keep=Retention(), goes_back=False) as copies:
        assert copies is not None
        copies.start(None)
        write_checkpoint(run, 4)
        until = time.monotonic() + 30
        while copies.latest != 4:
            assert time.monotonic() < until
            time.sleep(0.01)


def blocked_copy(folder: Path) -> tuple[Path, Location]:
    """Return a run with a checkpoint, and a place where a file is in the way of its copy."""
    run, place = folder / "run", located(folder / "copy")
    write_checkpoint(run, 4)
    place.local().mkdir()
    (place.local() / "checkpoints").write_text("in the way")
    return run, place


def test_a_failed_copy_is_named_and_tried_again(tmp_path: Path) -> None:
    run, place = blocked_copy(tmp_path)
    with copying(run, place, keep=Retention(), goes_back=False) as copies:
        assert copies is not None
        copies.start(None)
        until, told = time.monotonic() + 30, []
        while not told:
            assert time.monotonic() < until
            told = copies.messages()
        assert "the checkpoint of step 4 is not copied to" in told[0]
        (place.local() / "checkpoints").unlink()
        assert copies.finish() is None
    assert copied(run, place) == [4]


def test_what_cannot_be_copied_is_told_at_the_end(tmp_path: Path) -> None:
    run, place = blocked_copy(tmp_path)
    with copying(run, place, keep=Retention(), goes_back=False) as copies:
        assert copies is not None
        copies.start(None)
        assert "the checkpoints of the steps 4 are not copied to" in (copies.finish() or "")


def test_a_second_run_is_refused_while_the_first_copies(s3: ObjectServer, tmp_path: Path) -> None:
    place = s3.bucket() / "run"
    with copying(tmp_path / "run", place, keep=Retention(), goes_back=False):
        with (
            pytest.raises(LeaseHeld, match="is in use by another longreel command"),
            copying(tmp_path / "run", place, keep=Retention(), goes_back=False),
        ):
            pass
        with pytest.raises(LeaseHeld):
            restore_run(tmp_path / "other", place)


def _diverge_during_a_copy(run: Path, place: Location) -> None:
    with copying(run, place, keep=Retention(), goes_back=False) as copies:
        assert copies is not None
        copies.start(None)
        until = time.monotonic() + 30
        while not (place / "checkpoints" / "4").is_folder():
            assert time.monotonic() < until
            time.sleep(0.01)
        raise JobError("diverged")


def test_an_error_of_the_run_ends_a_copy_after_the_present_file(tmp_path: Path) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    folder = write_checkpoint(run, 4)
    for i in range(300):
        (folder / "params" / f"part-{i:04}").write_bytes(b"values")
    with pytest.raises(JobError, match="diverged"):
        _diverge_during_a_copy(run, place)
    assert copied(run, place) == []
    assert sum(1 for _ in place.walk()) < 300
    copy_run(run, place)
    assert copied(run, place) == [4]


def test_a_lease_of_a_lost_machine_is_waited_for(
    s3: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = s3.bucket() / "run"
    monkeypatch.setattr(module, "_LEASE_S", 30.0)
    monkeypatch.setattr(module, "_LEASE_RETRY_S", 0.1)
    RunCopy(tmp_path / "run", place).claim()
    with ExitStack() as stack:
        stack.enter_context(lease(place / "run.json", owner="a machine"))
        threading.Timer(0.5, stack.pop_all().close).start()
        restore_run(tmp_path / "run", place)


def test_a_run_that_was_continued_elsewhere_is_refused_unless_it_goes_back(tmp_path: Path) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    for step in (4, 8):
        write_checkpoint(run, step)
    copy_run(run, place)
    shutil.rmtree(run / "checkpoints" / "8")
    with (
        pytest.raises(ConfigError, match=r"has a checkpoint of step 8, .* has none after step 4: .* elsewhere"),
        copying(run, place, keep=Retention(), goes_back=False),
    ):
        pass
    with copying(run, place, keep=Retention(), goes_back=True) as copies:
        assert copies is not None
        copies.start(4)
        assert copies.messages() == [f"marked the copies of later steps as set aside, in {place}: 8"]
    assert copied(run, place) == [4]


def test_a_run_without_a_checkpoint_is_restored_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    write_checkpoint(run, 4)
    copy_run(run, place)
    with pytest.raises(ConfigError, match="has no checkpoint of step 5; it has: 4"):
        restore_run(tmp_path / "other", place, step=5)
    restore_run(run, place)  # does nothing, as it has checkpoints
    assert capsys.readouterr().err == ""
    restore_run(tmp_path / "other", place)
    assert f"other has no checkpoint, so that of step 4 was copied from {place}" in capsys.readouterr().err


def test_a_copy_without_an_intact_checkpoint_is_an_error(tmp_path: Path) -> None:
    run, place = tmp_path / "run", located(tmp_path / "copy")
    write_checkpoint(run, 4)
    copy_run(run, place)
    (place / "checkpoints" / "4" / "params" / "d" / "values").delete()
    with pytest.raises(StorageError, match=r"no checkpoint in .* is intact: .*values is missing"):
        restore_run(tmp_path / "other", place)
