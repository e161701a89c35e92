"""Pictures and videos come from the request or one folder; no other file is read, and nothing is fetched."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path

import pytest

from pipeline.language_models.chat import Media
from pipeline.serving.attachments import Attachments
from pipeline.serving.bodies import ChatMessage
from pipeline.serving.errors import ApiError


def message(url: str, kind: str = "image_url") -> ChatMessage:
    parts = [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "What?"}]
    return ChatMessage.model_validate({"role": "user", "content": parts})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a b.png").write_bytes(b"inside")
    (tmp_path / "root2").mkdir()
    for outside in (tmp_path / "secret.png", tmp_path / "root2" / "secret.png"):
        outside.write_bytes(b"outside")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path / "root2")
    (root / "good.png").symlink_to("in/a b.png")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket.png"))
    return root


def path_of(root: Path | None, url: str, scratch: Path) -> Path:
    [found] = Attachments(root, can_see=True).messages([message(url)], scratch)
    assert isinstance(found.parts[0], Media)
    return found.parts[0].path


def test_files_in_the_folder_are_read_also_through_links_within_it(root: Path, tmp_path: Path) -> None:
    for url in (f"file://{root}/in/a%20b.png", f"file://localhost{root}/good.png", f"FILE:{root}/in/../in/a%20b.png"):
        assert path_of(root, url, tmp_path).read_bytes() == b"inside"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://{root}/../secret.png",
        "file://{root}/%2e%2e/secret.png",
        "file://{root}/..%2fsecret.png",
        "file://{root}/%252e%252e/secret.png",
        "file://{root}2/secret.png",
        "file://{root}/link.png",
        "file://{root}/folder/secret.png",
        "file://{root}/in",
        "file://{root}/pipe.png",
        "file://{root}/socket.png",
        "file://{root}/missing.png",
        "file://{root}/in/a%20b.png%00",
        "file://{root}/in/a%20b.png?x",
        "file://{root}/%ff",
        "file://other-host{root}/in/a%20b.png",
        "file:in/a b.png",
        "file:",
        "file://[",
        "file:///proc/self/environ",
        "file:///dev/zero",
        "http://127.0.0.1:9/a.png",
        "https://example.org/a.png",
        "HTTP://example.org/a.png",
        "ftp://example.org/a.png",
        "//example.org/a.png",
        "/etc/passwd",
        "concat:a|b",
        "",
        "s3://bucket/a.png",
    ],
)
def test_no_other_file_and_no_other_host_is_read(root: Path, tmp_path: Path, url: str) -> None:
    with pytest.raises(ApiError) as found:
        path_of(root, url.format(root=root), tmp_path)
    assert found.value.status == 400
    with pytest.raises(ApiError, match="--media-root|data:"):
        path_of(None, url.format(root=root), tmp_path)


def test_the_message_is_the_same_for_files_that_exist_elsewhere_and_those_that_do_not(
    root: Path, tmp_path: Path
) -> None:
    def told(name: str) -> str:
        with pytest.raises(ApiError) as found:
            path_of(root, f"file://{root}/../{name}", tmp_path)
        return str(found.value).replace(name, "")

    assert told("secret.png") == told("missing.png")


def test_the_content_of_a_data_url_is_written_to_the_folder_of_the_request(tmp_path: Path) -> None:
    content = base64.b64encode(b"picture").decode()
    path = path_of(None, f"data:image/png;base64,{content}", tmp_path)
    assert (path.parent, path.read_bytes()) == (tmp_path, b"picture")


@pytest.mark.parametrize(
    "url",
    ["data:", "data:image/png,abc", "data:text/html;base64,YQ==", "data:image/png;base64,a", "data:image/png;base64,é"],
)
def test_a_malformed_data_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ApiError):
        path_of(None, url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_text_refuses_pictures_and_the_number_of_pictures_is_limited(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="--vision"):
        Attachments(None, can_see=False).messages([message("data:,")], tmp_path)
    with pytest.raises(ApiError, match="64 pictures and videos, got 65"):
        Attachments(None, can_see=True).messages([message("data:,")] * 65, tmp_path)
