"""Files that are damaged, missing, of another type, or crafted to mislead the reader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from schemas.errors import InputError, Reason
from tests.support.inputs.media import make_audio, make_video, numbered, read_number


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(size=64, fps=5)) as decoder:
        yield decoder


def rejection(decoder: Decoder, path: Path) -> InputError:
    """Return the error of every request for a file; all must have the same reason."""
    errors = []
    for request in (
        decoder.probe,
        decoder.subtitles,
        decoder.analyze,
        lambda path: list(decoder.frames(path)),
    ):
        with pytest.raises(InputError) as e:
            request(path)
        assert str(path) in str(e.value)
        errors.append(e.value)
    assert len({error.reason for error in errors}) == 1
    return errors[-1]


def numbers_and_report(decoder: Decoder, path: Path) -> tuple[list[int], DecodeReport]:
    numbers = [read_number(frame) for frames, _ in decoder.frames(path) for frame in frames]
    assert decoder.report is not None
    return numbers, decoder.report


def noisy(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A numbered picture with noise, so that its packets are large enough to be hit."""
    noise = np.random.default_rng(number).integers(-15, 15, (128, 192, 3))
    return (numbered(number, (192, 128)).astype(int) + noise).clip(0, 255).astype(np.uint8)


def test_missing_file_is_rejected(decoder: Decoder, tmp_path: Path) -> None:
    assert rejection(decoder, tmp_path / "no.mp4").reason is Reason.MISSING


def test_empty_file_is_rejected(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert rejection(decoder, tmp_path / "empty.mp4").reason is Reason.EMPTY


def test_folder_is_rejected(decoder: Decoder, tmp_path: Path) -> None:
    assert rejection(decoder, tmp_path).reason is Reason.UNREADABLE


@pytest.mark.parametrize("content", [b"just some words\n" * 100, bytes(5000), b"\xff\xd8\xff", b"BM", b"\x1aE\xdf\xa3"])
def test_file_that_is_not_a_video_is_unreadable(decoder: Decoder, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.mp4").write_bytes(content)
    assert rejection(decoder, tmp_path / "no.mp4").reason is Reason.UNREADABLE


@pytest.mark.parametrize("name", ["a.m4a", "a.mkv"])
def test_file_with_audio_only_has_no_video(decoder: Decoder, tmp_path: Path, name: str) -> None:
    error = rejection(decoder, make_audio(tmp_path / name))
    assert error.reason is Reason.NO_VIDEO
    assert "audio" in str(error)


def test_cover_art_is_not_a_video(decoder: Decoder, tmp_path: Path) -> None:
    make_audio(tmp_path / "sound.m4a")
    path = tmp_path / "song.m4a"
    with av.open(str(tmp_path / "sound.m4a")) as sound, av.open(str(path), "w", format="mp4") as out:
        audio = out.add_stream_from_template(sound.streams.audio[0])
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(numbered(1, (64, 64)), format="rgb24")
        out.mux(cover.encode(picture))
        out.mux(cover.encode(None))
        for packet in sound.demux(audio=0):
            if packet.size:
                packet.stream = audio
                out.mux(packet)
    assert rejection(decoder, path).reason is Reason.NO_VIDEO


def test_mp4_truncated_before_its_index_is_unreadable(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    assert rejection(decoder, path).reason is Reason.UNREADABLE


@pytest.mark.parametrize(("name", "container_options"), [("a.mkv", {}), ("a.mp4", {"movflags": "faststart"})])
def test_truncated_video_gives_its_frames_and_reports_the_loss(
    decoder: Decoder, tmp_path: Path, name: str, container_options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, size=(192, 128), picture=noisy, container_options=container_options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    numbers, report = numbers_and_report(decoder, path)
    assert 2 <= len(numbers) < 10
    assert numbers == list(range(0, 50, 5))[: len(numbers)]
    assert (report.frames, report.frames_promised) == (len(numbers), 10)
    assert report.shortfall == 10 - len(numbers)


def test_flipped_bits_are_counted_and_give_the_same_frames_every_time(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(192, 128), picture=noisy, container_options={"movflags": "faststart"})
    content, chance = bytearray(path.read_bytes()), random.Random(0)
    for _ in range(40):
        content[chance.randrange(len(content) // 4, len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    runs = []
    for _ in range(3):
        runs.append(b"".join(frames.tobytes() for frames, _ in decoder.frames(path)))
        assert decoder.report is not None
        assert decoder.report.corrupt_frames + decoder.report.decode_errors > 0
        assert decoder.report.frames == 10
    assert len(set(runs)) == 1, "damage must give the same frames every time"


def test_random_damage_never_crashes_the_decoder(decoder: Decoder, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mkv", size=(192, 128), picture=noisy, frames=25).read_bytes()
    chance = random.Random(1)
    ends = set()
    for _ in range(25):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 200)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "b.mkv").write_bytes(content)
        try:
            ends.add(sum(len(times) for _, times in decoder.frames(tmp_path / "b.mkv")) > 0)
        except InputError as e:
            ends.add(e.reason)
    assert True in ends
    assert Reason.CRASHED not in ends


def secret(folder: Path) -> Path:
    return make_video(folder / "secret.ts", frames=50)


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        "ffconcat version 1.0\nfile secret.ts\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        'mimeType="video/mp2t"><Representation id="1"><BaseURL>{path}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>",
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ffconcat"])
def test_playlists_of_other_files_are_not_followed(decoder: Decoder, tmp_path: Path, script: str, name: str) -> None:
    (tmp_path / name).write_text(script.format(path=secret(tmp_path)))
    assert rejection(decoder, tmp_path / name).reason is Reason.UNREADABLE


@pytest.mark.parametrize("name", ["a:b.mp4", "concat:x|y.mp4", "file:z.mp4", "http:a.mp4", "%03d.mp4", "ä ö.mp4"])
def test_special_characters_in_a_file_name_have_no_effect(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5).rename(tmp_path / name)
    assert numbers_and_report(decoder, path)[0] == [0]


def test_video_with_too_many_pixels_is_rejected(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(640, 480), frames=2)
    with Decoder(DecodeConfig(max_pixels=640 * 479)) as decoder:
        assert rejection(decoder, path).reason is Reason.TOO_LARGE


@pytest.mark.slow
def test_pixel_limit_applies_after_a_change_of_size(tmp_path: Path) -> None:
    small = make_video(tmp_path / "a.ts", size=(96, 64)).read_bytes()
    large = make_video(tmp_path / "b.ts", size=(640, 480), start=52).read_bytes()
    (tmp_path / "joined.ts").write_bytes(small + large)
    with Decoder(DecodeConfig(size=64, fps=5, max_pixels=100_000)) as decoder:
        numbers, report = numbers_and_report(decoder, tmp_path / "joined.ts")
    assert set(numbers) <= set(range(50))
    assert numbers[:10] == list(range(0, 50, 5))
    assert report.source_frames <= 50
    assert report.decode_errors > 0
