from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel
from pipeline.sources.credentials import credentials_in, without_credentials
from pipeline.sources.manifest import read_manifest

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


def test_an_input_with_credentials_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for command, address in zip((["survey"], ["run", "--context", "64"]), WITH, strict=False):
        assert longreel.main([*command, address, "--out", str(out)]) != 0
        printed = capsys.readouterr()
        assert "credentials are not part of an address" in " ".join(printed.err.replace("│", " ").split())
        assert SECRET not in printed.err + printed.out
    assert not out.exists()
