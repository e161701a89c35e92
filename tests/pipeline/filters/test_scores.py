"""Scores: registration, numbers, and their use in survey and select."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from pipeline.filters import scores
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.scores import Score, load_scores, rate, versions_of
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.job import select_items
from pipeline.select.selection import read_selection
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.worker import SurveyWorker
from schemas.errors import ConfigError
from tests.support.inputs.media import make_audio, make_video
from tests.support.survey_rows import select_config

pytestmark = pytest.mark.slow

REDNESS = """
def make():
    def rate(frames):
        assert frames.dtype == "uint8" and frames.shape[1:] == (256, 384, 3), frames.shape
        return {"redness": frames[..., 0].mean((1, 2)) / 255, "pictures": len(frames)}
    return rate

def broken():
    return lambda frames: {"redness": [0.0] * 99}
"""


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that registers scores."""
    folder = tmp_path / "site"
    facts = folder / "redness-1.5.dist-info"
    facts.mkdir(parents=True)
    (folder / "redness_plugin.py").write_text(REDNESS)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: redness\nVersion: 1.5\n")
    points = ("redness = redness_plugin:make", "gone = no_such_module:make", "broken = redness_plugin:broken")
    (facts / "entry_points.txt").write_text("[longreel.scores]\n" + "\n".join(points))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "redness_plugin", raising=False)
    versions_of.cache_clear()


def colored(path: Path, color: tuple[int, int, int]) -> Path:
    page = np.full((64, 96, 3), color, np.uint8)
    page[16:48, 20:40] = 90
    return make_video(path, picture=lambda i: np.roll(page, 2 * i, 1), frames=50)


@pytest.mark.usefixtures("registered")
def test_a_registered_score_is_measured_and_can_be_limited(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    colored(folder / "red.mp4", (220, 40, 40))
    colored(folder / "blue.mp4", (40, 40, 220))
    make_audio(folder / "sound.mp4")
    workspace = Workspace.open(tmp_path / "out", units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(scores=("redness",)))
    assert survey_items([str(folder)], workspace, worker, Runner()).rejected == {"no_video": 1}
    found = {Path(row.uri).name: row.measures for row in read_survey_unit(workspace, 0)}
    assert found["red.mp4"]["redness"] == pytest.approx(0.8, abs=0.1)
    assert found["red.mp4"]["redness_mean"] <= found["red.mp4"]["redness"]
    assert found["blue.mp4"]["redness"] == pytest.approx(0.2, abs=0.1)
    assert found["blue.mp4"]["pictures"] >= 2
    assert found["sound.mp4"] == {}
    select_items(workspace, select_config("redness=:0.5"), Runner())
    judged = {Path(row["uri"]).name: row for row in read_selection(workspace).rows.to_pylist()}
    assert (judged["red.mp4"]["reason"], judged["blue.mp4"]["reason"]) == ("score", None)
    assert "redness is 0.8" in judged["red.mp4"]["detail"]
    plain = SurveyWorker(workspace=workspace, config=SurveyConfig())
    assert survey_items([str(folder)], workspace, plain, Runner()).new == 3  # rows without the score differ
    assert survey_items([str(folder)], workspace, plain, Runner()).new == 0


@pytest.mark.usefixtures("registered")
def test_an_unknown_or_broken_score_raises_before_anything_is_surveyed(tmp_path: Path) -> None:
    assert versions_of(("redness",)) == (("redness", "redness", "1.5"),)
    with pytest.raises(ConfigError, match=r"no installed package registers 'reddness'; .*redness"):
        versions_of(("reddness",))
    with pytest.raises(ConfigError, match="gone: no_such_module:make cannot be loaded"):
        load_scores(["gone"])
    make_video(tmp_path / "a.mp4", frames=5)
    workspace = Workspace.open(tmp_path / "out", units=1)
    for name, message in (
        ("nowhere", "no installed package registers"),
        ("gone", "cannot be loaded"),
        ("broken", "for 1 frame,"),
    ):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(scores=(name,)))
        with pytest.raises(ConfigError, match=message):
            survey_items([str(tmp_path / "a.mp4")], workspace, worker, Runner())
        assert not list(workspace.survey.local().glob("*"))


def test_invalid_numbers_raise() -> None:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    for value, message in (([1.0, 2.0, 3.0], "for 2 frames"), (float("nan"), "finite"), ([0, np.inf], "finite")):
        with pytest.raises(ConfigError, match=message):
            rate(frames, [Score("x", lambda frames, value=value: {"x": value})])  # type: ignore[misc]
    with pytest.raises(ConfigError, match="the name motion is already in use"):
        rate(frames, [Score("x", lambda frames: {"motion": 1.0})], taken={"motion": 0.0})


def test_the_included_scores_load_and_have_a_default_limit() -> None:
    project = tomllib.loads((Path(scores.__file__).parents[2] / "pyproject.toml").read_text())
    included = project["project"]["entry-points"][scores.GROUP]
    assert set(included) == {"nsfw", "text"}
    for name, value in included.items():
        EntryPoint(name, value, scores.GROUP).load()
    assert {"nsfw", "text_share"} <= set(DEFAULTS)
