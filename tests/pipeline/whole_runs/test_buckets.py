"""All jobs with the workspace in a bucket: the same bytes as in a local folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longreel
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from schemas.errors import LeaseHeld
from schemas.storage.location import Location, located
from tests.support.inputs.media import make_video
from tests.support.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers.object_servers import ObjectServer, enter
from tests.support.stages import Models, save_models
from tests.support.texts import story
from tests.support.token_stores import VOCABULARY, book, write_store

MADE = (
    "manifest.parquet",
    "pairs.parquet",
    "quarantine.parquet",
    "survey",
    "signatures",
    "selection",
    "tokens",
    "packed",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with caption and transcript, its copy, an image, books and questions."""
    folder = tmp_path_factory.mktemp("samples")
    for name in ("film.mp4", "copy.mp4"):
        make_video(folder / name, frames=50)
    (folder / "film.txt").write_text("a caption")
    (folder / "film.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nsomebody speaks\n")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)).save(folder / "picture.png")
    for number in range(3):
        (folder / f"book{number}.txt").write_text(story(number, 40))
    turns = [{"role": "question", "text": "Why?"}, {"role": "answer", "text": "Because."}]
    (folder / "some.qa.json").write_text(json.dumps({"turns": turns}))
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def run(samples: Path, models: Models, out: Location | Path) -> None:
    command = ["run", str(samples), "--out", str(out), "--context", "512", "--text-tokenizer", str(models.text)]
    command += ["--vision", models.vision, "--decode.fps", "2", "--decode.size", "16", "--pack.shard-bytes", "65536"]
    assert longreel.main([*command, "--units", "2", "--select.limit", "frozen_share=:"]) == 0


def made(out: Location) -> dict[str, bytes]:
    return {name: place.read() for place in out.walk() if (name := place.relative_to(out)).startswith(MADE)}


@pytest.fixture(scope="module")
def local(samples: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a local run."""
    out = tmp_path_factory.mktemp("local") / "out"
    run(samples, models, out)
    return out


@pytest.fixture(params=["s3", pytest.param("gcs", marks=pytest.mark.campaign)])
def server(request: pytest.FixtureRequest) -> ObjectServer:
    found: ObjectServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def faults(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy in front of the server, which lets one request in a hundred fail at random."""
    with faulty_proxy(server.endpoint, rate=0.01) as proxy:
        enter(server.behind(proxy.endpoint), monkeypatch)
        yield proxy


@pytest.mark.slow
def test_a_run_with_its_workspace_in_a_bucket_makes_the_bytes_of_a_local_one_though_requests_fail(
    faults: FaultyProxy,
    server: ObjectServer,
    samples: Path,
    models: Models,
    local: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = server.bucket() / "work" / "space"
    run(samples, models, out)
    expected = made(located(local))
    assert len(expected) > 15
    found = made(out)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    run(samples, models, out)  # nothing is left to do
    assert made(out) == expected
    assert faults.failed
    _check_reading(out, local, tmp_path, capsys)


def _check_reading(out: Location, local: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compare what the commands say that read a workspace."""
    for command in (["list"], ["explain", "film.mp4", "--workspace"], ["verify"]):
        told = []
        for place in (str(local), str(out)):
            capsys.readouterr()
            assert longreel.main([*command, place]) == 0
            told.append(capsys.readouterr().out.replace(place, "OUT"))
        assert told[0] == told[1]
    for page in (str(tmp_path / "page.html"), str(out / "page.html")):
        assert longreel.main(["report", str(out), "--out", page]) == 0
    assert Location.parse(page).read()[:15] == (tmp_path / "page.html").read_bytes()[:15]


def test_a_bucket_admits_one_command_at_a_time(s3: ObjectServer) -> None:
    workspace = Workspace.open(s3.bucket() / "out", units=1)
    refused = pytest.raises(LeaseHeld, match="is in use by another longreel command")
    with workspace.locked(), refused, workspace.locked():
        pass
    with workspace.locked():
        pass


def test_an_address_with_an_unknown_scheme_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["select", "--out", "azure://container/out"]) != 0
    assert "azure://" in capsys.readouterr().err


def test_tokens_in_a_bucket_are_read_by_ranges(s3: ObjectServer, tmp_path: Path) -> None:
    documents = [book(f"book {number}", 500) for number in range(4)]
    directory = s3.bucket() / "tokens" / "1"
    write_store(directory, documents, units=1)
    store = TokenStore(directory)
    for row in store.table().to_pylist():
        (document,) = (d for d in documents if d.id == row["document_id"])
        assert store.read(0, row["batch"], row["row"], 7, 30).tolist() == document.tokens[7:37].tolist()
        assert document.tokens.dtype == VOCABULARY.dtype
    assert store.check(0).name.endswith(".arrow")
