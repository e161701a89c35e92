from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.storage.location import Location


def test_without_the_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'longreel\[gcs\]'"):
        Location.parse(f"gs://bucket-{uuid.uuid4().hex}/x").read()


def test_without_credentials_the_error_says_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match="no credentials found. Check the credentials .*gcloud auth"):
        Location.parse(f"gs://bucket-{uuid.uuid4().hex}/x").read()
