"""What a manifest that somebody else wrote may reach with the user's credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.sources.access import AccessConfig
from pipeline.sources.given_buckets import is_in_bucket
from pipeline.sources.manifest import read_manifest
from schemas.rows import ManifestItem
from tests.support.servers.object_servers import ObjectServer


def listed(tmp_path: Path, row: dict[str, object], *more: str, **access: object) -> ManifestItem:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row) + "\n")
    items = read_manifest([str(path), *more], access=AccessConfig(**access)).items  # type: ignore[arg-type]
    return next(item for item in items if item.uri not in more)


@pytest.mark.parametrize("address", ["s3://private/a.txt", "S3://private/a.txt", "gs://private/a.txt"])
def test_a_row_may_not_name_a_bucket_that_was_not_given(tmp_path: Path, address: str) -> None:
    item = listed(tmp_path, {"uri": address})
    bucket = address.lower().rpartition("/")[0]
    assert item.reason == "not_allowed"
    assert (item.detail or "").endswith(
        f"the bucket {bucket} is not that of an input; --allow-buckets {bucket} allows it"
    )
    assert listed(tmp_path, {"uri": address}, allow_buckets=(bucket,)).reason is None
    assert listed(tmp_path, {"uri": address}, allow_buckets=(f"{bucket[:5]}*",)).reason is None
    assert listed(tmp_path, {"uri": address}, allow_buckets=(f"{bucket}2",)).reason == "not_allowed"


def test_captions_transcripts_and_parts_of_chained_addresses_are_checked(tmp_path: Path) -> None:
    secret = "s3://private/a.srt"
    rows: tuple[dict[str, object], ...] = (
        {"uri": "a.mp4", "caption_file": secret},
        {"uri": "a.mp4", "transcript": secret},
        {"uri": f"zip://a.mp4::{secret}", "kind": "video"},
        {"uri": "s3://private/books.jsonl#byte=000000000000", "kind": "book"},
    )
    for row in rows:
        assert listed(tmp_path, row, allow_schemes=("zip",)).reason == "not_allowed"


def test_a_row_may_name_the_bucket_of_an_input(tmp_path: Path) -> None:
    assert listed(tmp_path, {"uri": "s3://given/a.mp4"}, "s3://given/b.mp4").reason is None
    assert listed(tmp_path, {"uri": "s3://given/a.mp4"}, "gs://given/b.mp4").reason == "not_allowed"


def test_an_address_with_a_password_is_rejected(tmp_path: Path) -> None:
    item = listed(tmp_path, {"uri": "s3://key:password@bucket/a.mp4"}, allow_buckets=("s3://*",))
    assert item.reason == "not_allowed"
    assert "credentials are not part of an address" in (item.detail or "")


def test_a_manifest_in_a_bucket_may_not_name_local_files(s3: ObjectServer, tmp_path: Path) -> None:
    bucket = s3.bucket()
    (tmp_path / "secret.txt").write_text("secret")
    rows = [{"uri": f"{tmp_path}/secret.txt"}, {"uri": "s3://other/b.txt"}, {"uri": "c.txt"}]
    rows += [
        {"uri": "d.txt", "title": "x", "caption_file": f"{tmp_path}/secret.txt"},
        {"uri": f"file://{tmp_path}/e.txt"},
    ]
    (bucket / "m.jsonl").write("".join(json.dumps(row) + "\n" for row in rows).encode())
    found = {item.uri: item.reason for item in read_manifest([f"{bucket}/m.jsonl"]).items}
    assert found == {
        f"{tmp_path}/secret.txt": "not_allowed",
        "s3://other/b.txt": "not_allowed",
        f"{bucket}/c.txt": None,
        f"{bucket}/d.txt": "not_allowed",
        f"file://{tmp_path}/e.txt": None,  # the scheme is checked when it is read
    }
    allowed = AccessConfig(allow_schemes=("file",), allow_buckets=("s3://*",))
    assert {item.reason for item in read_manifest([f"{bucket}/m.jsonl"], access=allowed).items} == {None}


def test_addresses_in_buckets_are_told_from_others() -> None:
    assert [
        is_in_bucket(text) for text in ("s3://a/b", "GS://a", "https://a/b", "/a/b", "s3:/a", "zip://a::s3://b")
    ] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
