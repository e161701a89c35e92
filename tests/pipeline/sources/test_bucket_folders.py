"""Folders in buckets are listed like folders in the file system."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.manifest import Manifest, read_manifest
from pipeline.sources.sidecars import MAX_CAPTION_BYTES
from schemas.errors import ManifestError, StorageError
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer

_FILES = {
    "a.mp4": 10,
    "a.txt": 20,
    "a.en.srt": 5,
    "a.de.srt": 5,
    "B.MP4": 3,
    "b.Txt": 4,
    "films/a.mp4": 1,
    "films/a.txt": MAX_CAPTION_BYTES + 1,
    "films/a.b/c.jpg": 1,
    "films.zip": 1,
    "notes": 1,
    "books/é ü%20?.epub": 9,
    ".hidden.mp4": 1,
    ".cache/x.mp4": 1,
    "films/.cache/x.mp4": 1,
}


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest) -> Location:
    """A new bucket."""
    found: Location = request.getfixturevalue(request.param).bucket()
    return found


def _write(folder: Location) -> None:
    for name, size in _FILES.items():
        (folder / name).write(b"x" * size)


def _relative(manifest: Manifest, folder: Location) -> tuple[list[tuple[object, ...]], dict[str, int]]:
    def short(value: object) -> object:
        return value.removeprefix(f"{folder}/") if isinstance(value, str) else value

    return [tuple(map(short, astuple(item))) for item in manifest.items], dict(manifest.skipped)


def test_a_folder_in_a_bucket_has_the_items_of_the_same_local_folder(bucket: Location, tmp_path: Path) -> None:
    local = located(tmp_path / "in")
    _write(local)
    _write(bucket / "in")
    (bucket / "in2.mp4").write(b"")
    expected = _relative(read_manifest([str(local)]), local)
    assert _relative(read_manifest([f"{bucket}/in/"]), bucket / "in") == expected
    assert _relative(read_manifest([f"{bucket}/in"]), bucket / "in") == expected
    assert len(expected[0]) == 6
    assert {item.uri for item in read_manifest([str(bucket)]).items} >= {f"{bucket}/in2.mp4", f"{bucket}/in/a.mp4"}


def test_a_manifest_in_a_bucket_has_items_relative_to_it(bucket: Location) -> None:
    rows = [{"uri": "v/a.mp4", "title": "A"}, {"uri": "../b.mp4", "title": "B"}, {"uri": "../../c.mp4", "title": "C"}]
    (bucket / "lists" / "m.jsonl").write("".join(json.dumps(row) + "\n" for row in rows).encode())
    (bucket / "lists" / "m.csv").write(
        "uri,title\n{}".format("".join("{uri},{title}\n".format(**row) for row in rows)).encode()
    )
    with (bucket / "lists" / "m.parquet").writing() as path:
        pq.write_table(pa.Table.from_pylist(rows), path)
    for suffix in ("jsonl", "csv", "parquet"):
        found = {item.uri: item for item in read_manifest([f"{bucket}/lists/m.{suffix}"]).items}
        assert found[f"{bucket}/lists/v/a.mp4"].title == "A"
        assert found[f"{bucket}/b.mp4"].reason is None
        (invalid,) = (item for item in found.values() if item.reason)
        assert invalid.reason == "invalid_row"
        assert f"{bucket}/lists/m.{suffix}" in (invalid.detail or "")
        assert "expected a path inside the bucket" in (invalid.detail or "")


def test_a_manifest_in_a_bucket_that_is_damaged_or_absent_is_an_error_that_names_it(bucket: Location) -> None:
    (bucket / "m.parquet").write(b"PAR1")
    (bucket / "m.csv").write(b"title\nx\n")
    for name, message in (("m.parquet", "not a readable"), ("m.csv", "has no column"), ("n.csv", "no such manifest")):
        with pytest.raises(ManifestError, match=f"^{bucket}/{name}.*{message}"):
            read_manifest([f"{bucket}/{name}"])


def test_a_single_object_is_an_item(bucket: Location) -> None:
    (item,) = read_manifest([f"{bucket}/a/film.mkv"]).items
    assert (item.uri, item.kind) == (f"{bucket}/a/film.mkv", "video")


def test_an_empty_folder_and_a_missing_bucket_are_errors(s3: ObjectServer) -> None:
    with pytest.raises(ManifestError, match="no item found in s3://.*empty"):
        read_manifest([f"{s3.bucket()}/empty/"])
    with pytest.raises(StorageError, match="the bucket s3://no-such-bucket does not exist"):
        read_manifest(["s3://no-such-bucket/videos/"])


@pytest.mark.parametrize("given", ["hdfs2://host/videos/", "s4://bucket/videos", "gcp://bucket/a.mp4"])
def test_an_unknown_scheme_of_an_input_is_an_error_that_names_the_known_ones(given: str) -> None:
    with pytest.raises(ManifestError, match="unknown scheme .*; known are http, https, s3, gs"):
        read_manifest([given])


def test_objects_that_stand_for_folders_are_no_files(s3: ObjectServer) -> None:
    bucket = s3.bucket()
    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name="us-east-1")
    files = ["videos/sub-b.mp4", "videos/sub.mp4/a.mp4", "videos/sub/c.mp4"]  # "-" and "." come before "/"
    for key in ("videos/", "videos/sub/", "videos/sub.mp4/", *files):
        client.put_object(Bucket=bucket.bucket, Key=key, Body=b"")
    manifest = read_manifest([f"{bucket}/videos/"])
    assert sorted(item.uri for item in manifest.items) == [f"{bucket}/{key}" for key in files]
    assert manifest.skipped == {}
