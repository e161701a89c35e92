from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from schemas.storage.location import Location
from schemas.storage.s3 import S3Client, _etag_of_file
from tests.support.servers.object_servers import ObjectServer


def test_without_the_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"pip install 'longreel\[s3\]'"):
        Location.parse(f"s3://bucket-{uuid.uuid4().hex}/x").read()


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="credentials are not part of an address") as e:
        Location.parse("s3://key:password@bucket/x")
    assert "password" not in str(e.value)


def test_the_hash_of_an_upload_in_parts_is_the_one_of_the_store(s3: ObjectServer, tmp_path: Path) -> None:
    bucket = s3.bucket()
    path = tmp_path / "x"
    for size in (0, 1, 8 << 20, (8 << 20) + 1):
        path.write_bytes(os.urandom(size))
        assert S3Client(bucket.bucket).upload("x", path).is_intact
    assert _etag_of_file(path, 100 << 20) == hashlib.md5(path.read_bytes()).hexdigest()


def test_keys_of_a_profile_are_used(s3: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text("[other]\naws_access_key_id = from-profile\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "other")
    (bucket / "x").write(b"data")
    assert (bucket / "x").read() == b"data"
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(ConfigError, match="the AWS profile cannot be used: .*missing"):
        s3.bucket().list()


def test_a_name_that_the_client_does_not_accept_is_an_error_that_shows_it(s3: ObjectServer) -> None:
    bucket = s3.bucket()
    with pytest.raises(StorageError, match=r"object name 'a/\.\./b' has an empty part"):
        (bucket / "a" / ".." / "b").read()
    request = urllib.request.Request(f"{s3.endpoint}/{bucket.bucket}/films//a.mp4", b"film", method="PUT")
    urllib.request.urlopen(request).close()
    with pytest.raises(StorageError, match=r"object name 'films//a\.mp4' has an empty part"):
        list((bucket / "films").walk())
