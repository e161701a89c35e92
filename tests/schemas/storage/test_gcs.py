from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from schemas.storage.location import Location
from tests.support.servers.faulty_proxy import faulty_proxy
from tests.support.servers.object_servers import ObjectServer, enter


def test_without_the_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'longreel\[gcs\]'"):
        Location.parse(f"gs://bucket-{uuid.uuid4().hex}/x").read()


def test_an_answer_of_another_form_and_a_list_that_repeats_itself_are_errors(
    gcs: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_proxy(gcs.endpoint, rate=0.0) as proxy:
        enter(gcs.behind(proxy.endpoint), monkeypatch)
        folder = gcs.bucket() / "folder"
        (folder / "a").write(b"x")
        proxy.lie = lambda path, answer: (*answer[:2], answer[2][:-2] + b', "nextPageToken": "x"}')
        with pytest.raises(StorageError, match="continues where it has continued before"):
            folder.list()
        proxy.lie = lambda path, answer: (204, {}, b"")
        with pytest.raises(StorageError, match="an answer that it does not understand"):
            (folder / "a").stat()


def test_without_credentials_the_error_says_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match="no credentials found. Check the credentials .*gcloud auth"):
        Location.parse(f"gs://bucket-{uuid.uuid4().hex}/x").read()
