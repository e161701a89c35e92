"""The registry of decoder backends, with a backend from outside the package that runs in a real decoder process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.backends import registry
from pipeline.video.backends.registry import Backend, register_backend, require_backend
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, InputError, JobError, Reason
from tests.support.inputs.media import make_video, numbered, read_number

ARRAYS = Backend("arrays", "tests.support.array_backend:ArraySource")
PICTURES = np.stack([numbered(n, (64, 64)) for n in range(50)])


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    monkeypatch.setattr(registry, "_backends", dict(registry._backends))
    register_backend(ARRAYS)
    with Decoder(DecodeConfig(size=64, fps=5, backend="arrays")) as decoder:
        yield decoder


@pytest.mark.slow
def test_registered_backend_gives_the_frames_of_the_reference_in_the_decoder_process(
    arrays: Decoder, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", PICTURES)
    lossless = make_video(
        tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", size=(64, 64), picture=lambda i: PICTURES[i]
    )
    with Decoder(DecodeConfig(size=64, fps=5)) as reference:
        expected = list(reference.frames(lossless))
    found = list(arrays.frames(tmp_path / "a.npy"))
    assert len(found) == len(expected)
    for (frames, times_s), (expected_frames, expected_times_s) in zip(found, expected, strict=True):
        assert np.array_equal(frames, expected_frames)
        assert np.array_equal(times_s, expected_times_s)
    assert [read_number(frame) for frames, _ in found for frame in frames] == list(range(0, 50, 5))
    assert arrays.report is not None
    assert (arrays.report.frames, arrays.report.source_frames, arrays.report.shortfall) == (10, 50, 0)


def test_registered_backend_reports_its_own_errors(arrays: Decoder, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"not an array")
    with pytest.raises(InputError, match="not an array of frames") as e:
        list(arrays.frames(tmp_path / "a.npy"))
    assert e.value.reason is Reason.UNREADABLE


def test_backend_whose_library_is_missing_is_a_job_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_backends", dict(registry._backends))
    register_backend(Backend("missing", "no_such_decoder:Source"))
    with Decoder(DecodeConfig(backend="missing")) as decoder, pytest.raises(JobError, match="no_such_decoder"):
        list(decoder.frames(make_video(tmp_path / "a.mp4", frames=2)))


def test_name_of_another_backend_cannot_be_registered_again() -> None:
    register_backend(require_backend("pyav"))  # the same backend twice has no effect
    with pytest.raises(ConfigError, match="'pyav' is already registered"):
        register_backend(Backend("pyav", "tests.support.array_backend:ArraySource"))


def test_unknown_backend_is_rejected_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="backend must be one of pyav, decord; got 'opencv'"):
        require_backend("opencv")


@pytest.mark.parametrize("name", ["pyav", "decord"])
def test_built_in_backends_can_be_loaded(name: str) -> None:
    assert require_backend(name).load().__name__.endswith("Source")
