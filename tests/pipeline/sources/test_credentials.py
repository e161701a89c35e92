from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from pipeline.cli.jobs import Survey
from pipeline.cli.place import Place
from pipeline.cli.run import Run
from pipeline.sources.credentials import credentials_in, without_credentials
from pipeline.sources.manifest import read_manifest
from schemas.errors import ConfigError
from schemas.storage.location import located

SECRET = "hunter2"
WITH = {
    f"https://me:{SECRET}@host/a.mp4": "a user name or password",
    f"ftp://{SECRET}@host/a.mp4": "a user name or password",
    f"s3://key:{SECRET}@bucket/a.mp4": "a user name or password",
    f"zip://a.mp4::https://me:{SECRET}@host/a.zip": "a user name or password",
    f"https://b.s3.amazonaws.com/a.mp4?X-Amz-Expires=60&X-Amz-Signature={SECRET}": "the parameter X-Amz-Signature",
    f"https://storage.googleapis.com/b/a.mp4?x-goog-signature={SECRET}#t=1": "the parameter x-goog-signature",
    f"https://a.blob.core.windows.net/c/a.mp4?sv=2022&sig={SECRET}": "the parameter sig",
    f"https://host/a.mp4?access_token={SECRET}": "the parameter access_token",
}
WITHOUT = (
    "/a@b/c?sig=1.mp4",
    "https://host/@me/a.mp4?id=1",
    "s3://bucket/a@b.mp4",
    "https://host/a.mp4#sig=1",
    "a.mp4",
)


@pytest.mark.parametrize(("address", "found"), WITH.items())
def test_credentials_are_found_and_left_out_of_what_is_shown(address: str, found: str) -> None:
    assert credentials_in(address) == found
    assert SECRET not in without_credentials(address)


@pytest.mark.parametrize("address", WITHOUT)
def test_other_addresses_have_none(address: str) -> None:
    assert credentials_in(address) is None


def test_a_row_with_credentials_is_rejected_and_they_are_not_kept(tmp_path: Path) -> None:
    rows: list[dict[str, str]] = [{"uri": address, "kind": "video"} for address in WITH]
    rows += [{"uri": "a.mp4", "caption_file": address} for address in WITH]
    rows += [{"uri": "b.mp4", "transcript": f"https://me:{SECRET}@host/a.srt"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = read_manifest([str(tmp_path / "m.jsonl")]).items
    assert {item.reason for item in items} <= {"not_allowed", "invalid_row"}
    assert any("credentials are not part of an address" in (item.detail or "") for item in items)
    assert SECRET not in repr(items)


def test_an_input_with_credentials_is_refused_before_it_is_recorded(tmp_path: Path) -> None:
    place = Place(out=located(tmp_path / "out"))
    for address in WITH:
        for command in (partial(Survey), partial(Run, context=(64,))):
            with pytest.raises(ConfigError, match="credentials are not part of an address") as refused:
                command(inputs=(address,), place=place)
            assert SECRET not in str(refused.value)
