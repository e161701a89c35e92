"""The tokens of documents of every kind, which change only with a version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.kinds.registry import kind_of
from pipeline.runtime.beam import Runner
from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.tokenize import worker as tokenize
from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.interleave import VisionSegment, parse_document
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.worker import document_fingerprint, read_selected
from schemas.fingerprint import fingerprint
from schemas.rows import Crop, SurveyRow, VisualFacts
from tests.support.golden import check_golden, check_golden_codes
from tests.support.inputs.media import make_video, numbered
from tests.support.stages import Models, run_stages
from tests.support.survey_rows import select_config
from tests.support.texts import story
from tests.support.token_stores import VOCABULARY
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow

MIN_EQUAL = 0.98  # of the codes: rounding differs between processors


@pytest.fixture
def config(models: Models) -> TokenizeConfig:
    return models.config(fps=2)


@pytest.fixture
def workspace(config: TokenizeConfig, tmp_path: Path) -> Workspace:
    """A video with caption and transcript, an image, a book and questions, tokenized in one unit."""
    folder = tmp_path / "in"
    folder.mkdir()
    make_video(folder / "film.mp4", frames=50)
    (folder / "film.txt").write_text("a caption")
    (folder / "film.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nsomebody speaks\n")
    Image.fromarray(numbered(7, (128, 96))).save(folder / "picture.png")
    (folder / "book.txt").write_text(story(0, 4))
    (folder / "some.qa.json").write_text(
        '{"turns": [{"role": "question", "text": "Why?"}, {"role": "answer", "text": "Because."}]}'
    )
    words = "a caption that somebody speaks twice\n"
    model = train_text_tokenizer([words], tmp_path / "m.model", TextTrainConfig(vocab_size=512))
    workspace, runner = Workspace.open(tmp_path / "out", units=1), Runner()
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=config.decode)
    survey_items([str(folder)], workspace, worker, runner)
    select_items(workspace, select_config("frozen_share=:", val_fraction=0), runner)
    tokenize_items(workspace, config, model, runner)
    return workspace


def test_tokens_change_only_with_a_version(workspace: Workspace, config: TokenizeConfig) -> None:
    store, vocabulary = TokenStore(workspace.tokens), StoreFacts.read(workspace.tokens).vocabulary
    documents: dict[str, Any] = {}
    codes: list[int] = []
    for row in store.table().to_pylist():
        tokens = store.read(row["unit"], row["batch"], row["row"])
        found = documents[Path(row["uri"]).name] = {
            name: row[name] for name in ("kind", "frames", "frame_tokens", "length", "spans")
        }
        found["segments"] = []
        for segment in parse_document(tokens, vocabulary=vocabulary, frame_tokens=row["frame_tokens"]):
            if isinstance(segment, VisionSegment):
                found["segments"].append(f"codes {segment.codes.shape}")
                codes += segment.codes.ravel().tolist()
            else:
                found["segments"].append(fingerprint(list(map(int, segment.ids))))
    settings = {row.kind: _settings(row, config) for row in read_selected(workspace, 0)}
    version = [tokenize._VERSION, fingerprint(vocabulary), settings]
    assert sorted(found["kind"] for found in documents.values()) == ["book", "image", "qa", "video"]
    check_golden("document_tokens", version, documents)
    check_golden_codes("vision_codes", version, codes, min_equal=MIN_EQUAL)


def _settings(row: SurveyRow, config: TokenizeConfig) -> str:
    """Return the hash of the versions and settings that the tokens of an item depend on."""
    return fingerprint(kind_of(row.kind).token_fingerprint(row, config))


def test_a_fingerprint_contains_only_what_the_kind_depends_on() -> None:
    row = SurveyRow(uri="a.mp4", document_id="a" * 64, kind="video")
    plain, by_shots = TokenizeConfig(), TokenizeConfig(cutting=ClipConfig(clips="shots"))
    differ = {
        "cut": (row, by_shots),
        "shots": (row, TokenizeConfig(shots="none")),
        "crop": (replace(row, visual=VisualFacts(crop=Crop(0, 1, 2, 3))), plain),
        "length": (row, TokenizeConfig(cutting=ClipConfig(clips="shots", max_clip_s=9))),
        "plain": (row, plain),
        "image": (replace(row, kind="image"), plain),
    }
    prints = {name: document_fingerprint(of, config, VOCABULARY) for name, (of, config) in differ.items()}
    assert len(set(prints.values())) == len(differ)
    image = replace(row, kind="image")
    assert document_fingerprint(image, by_shots, VOCABULARY) == prints["image"]
    without_bars = replace(row, visual=VisualFacts(crop=Crop(0, 0, 64, 48), width=64, height=48))
    assert document_fingerprint(without_bars, plain, VOCABULARY) == prints["plain"]
    irrelevant = TokenizeConfig(cutting=ClipConfig(min_clip_s=3, max_clip_s=9))
    assert document_fingerprint(row, irrelevant, VOCABULARY) == prints["plain"]


def test_every_commit_interval_adds_at_least_one_document(
    books: Path, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "_COMMIT_EVERY_S", 0.0)
    assert run_stages(books, tmp_path / "out", models.text, models.config())["tokenize"].kept == 3
