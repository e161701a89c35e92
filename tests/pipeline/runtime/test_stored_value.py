"""A value that workers read from the store, whatever its size, and that nobody else can replace."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.runtime import stored_value
from pipeline.runtime.stored_value import StoredValue, stored
from schemas.errors import DatasetError
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer


def in_another_process(place: StoredValue[list[int]], monkeypatch: pytest.MonkeyPatch) -> StoredValue[list[int]]:
    """Return what a worker gets that is no thread of the driver."""
    monkeypatch.setattr(stored_value, "_HELD", {})
    stored_value._load.cache_clear()
    return replace(place)


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return located(tmp_path / "run")
    server: ObjectServer = request.getfixturevalue("s3")
    return server.bucket() / "run"


def test_workers_get_the_value_and_the_object_is_deleted_after_the_job(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = list(range(1000))
    with stored(folder, value) as place:
        assert place.get() is value  # a thread of the driver
        assert len(pickle.dumps(place)) < 500
        with monkeypatch.context() as context:
            there = in_another_process(place, context)
            assert there.get() == value
            assert there.get() is there.get()
            assert there.method("index")(7) == 7
    assert folder.list() == []


def test_an_object_that_another_process_replaced_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(located(tmp_path), [1, 2]) as place, monkeypatch.context() as context:
        place.location.write(pickle.dumps([3]))
        with pytest.raises(DatasetError, match="was changed while a job used it; run the same command again"):
            in_another_process(place, context).get()
