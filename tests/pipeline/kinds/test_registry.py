"""The registry of item kinds, and a kind of another package that passes through every job."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from pipeline.dataset.verify.verify import verify
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.kinds import registry
from pipeline.kinds.registry import kind_of, kind_of_file, kinds, names_of_splittable_kinds, names_of_text_kinds
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.runtime.beam import Runner
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.text_tokenizer import text_tokenizer_of
from schemas.errors import ConfigError
from tests.support.survey_rows import select_config
from tests.support.texts import story

PLUGIN = EntryPoint("subtitles", "tests.support.inputs.subtitle_kind:SUBTITLES", registry.GROUP)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the kind of tests.support.inputs.subtitle_kind as an installed package would."""
    _register(monkeypatch, PLUGIN)
    yield
    _forget_kinds()


def _register(monkeypatch: pytest.MonkeyPatch, entry: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    _forget_kinds()


def _forget_kinds() -> None:
    registry.kinds.cache_clear()
    registry._by_ending.cache_clear()


def test_the_built_in_kinds_have_distinct_endings() -> None:
    assert list(kinds()) == ["video", "image", "book", "qa"]
    endings = [ending for kind in kinds().values() for ending in kind.endings]
    assert len(set(endings)) == len(endings)
    assert all(kind.name == name for name, kind in kinds().items())


def test_traits_of_the_built_in_kinds() -> None:
    assert names_of_text_kinds() == ("book", "qa")
    assert names_of_splittable_kinds() == ("book",)
    assert [name for name, kind in kinds().items() if kind.takes_captions] == ["video", "image"]
    assert [name for name, kind in kinds().items() if kind.takes_transcripts] == ["video"]
    assert [name for name, kind in kinds().items() if kind.similarity()] == ["video", "image", "book"]
    assert {name: kind.position_unit for name, kind in kinds().items()} == {
        "video": "s",
        "image": "s",
        "book": "characters",
        "qa": "characters",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.MP4", "video"),
        ("s3://bucket/b.tar.mkv", "video"),
        ("https://host/a.mp4?token=b.c#d.e", "video"),
        ("a?b.mp4", "video"),
        ("c.webp", "image"),
        ("d.txt", "book"),
        ("d.XHTML", "book"),
        ("e.qa.json", "qa"),
        ("f.json", None),
        ("g", None),
    ],
)
def test_the_extension_determines_the_kind(name: str, kind: str | None) -> None:
    found = kind_of_file(name)
    assert (found and found.name) == kind


def test_an_unknown_kind_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown item kind 'film'; known are video, image, book, qa"):
        kind_of("film")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tests.support.nowhere:KIND", "cannot be loaded"),
        ("pipeline.kinds.video:VIDEO", "takes the name or a file ending of another kind"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    _register(monkeypatch, EntryPoint("bad", value, registry.GROUP))
    with pytest.raises(ConfigError, match=message):
        kinds()
    _forget_kinds()


@pytest.mark.slow
@pytest.mark.usefixtures("register")
def test_a_kind_of_another_package_goes_through_every_job(tmp_path: Path) -> None:
    folder, workspace = tmp_path / "in", Workspace.open(tmp_path / "out", units=2)
    folder.mkdir()
    for number in range(3):
        lines = story(number, 60).split(". ")
        cues = (f"{i + 1}\n00:00:{i % 60:02d},000 --> 00:00:{i % 60:02d},900\n{line}\n" for i, line in enumerate(lines))
        (folder / f"{number}.srt").write_text("\n".join(cues))
    (folder / "bad.srt").write_bytes(b"\xff\xfe\x00")
    runner, config = Runner(), TokenizeConfig()
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    surveyed = survey_items([str(folder)], workspace, worker, runner)
    assert (surveyed.items, surveyed.kept) == (4, 3)
    dedup_items(workspace, DedupConfig(), runner)
    assert select_items(workspace, select_config("words=60:", val_fraction=0), runner).kept == 3
    text_tokenizer = text_tokenizer_of(workspace, None, config)
    assert tokenize_items(workspace, config, text_tokenizer, runner).kept == 3
    stage = Stage(name="8192", context_length=8192, config=PackConfig())
    packed = pack(workspace, stage, runner)
    assert (packed.items, packed.kept) == (3, 3)
    report = verify(workspace.packed(8192).local(), store=TokenStore(workspace.tokens))
    assert report.problems == ()
    assert set(TokenStore(workspace.tokens).table()["kind"].to_pylist()) == {"subtitles"}
