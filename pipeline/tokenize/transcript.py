"""The transcript of an item on the clock of its frames.

    embedded      FFmpeg gives the times of a subtitle stream on the clock of the video stream
    a file        its times count from the start of the container, as players show it: the first time of any stream. A
                  video stream can start later (edit lists, audio that begins earlier, broadcast streams)

Frames are counted from the first one, so a file's times are shifted by the time of the first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import local_file, require_same
from pipeline.text.transcripts.cues import Transcript
from pipeline.text.transcripts.reading import embedded_transcript, read_transcript
from pipeline.tokenize.config import TokenizeConfig
from pipeline.video.decoder import Decoder
from schemas.errors import InputError, Reason
from schemas.rows import EMBEDDED, SurveyRow

_MAX_BYTES = 1 << 30
_NO_CUES = Transcript(())


class ItemTranscript(NamedTuple):
    """The cues that a video shows, and what was left out or changed, in words."""

    transcript: Transcript
    note: str


def item_transcript(
    path: Path, row: SurveyRow, decoder: Decoder, config: TokenizeConfig, access: AccessConfig = STRICT
) -> ItemTranscript:
    """Return the cues that overlap the frames that `decoder` has decoded of a file, with times from the first frame.

    Raises InputError: BAD_TRANSCRIPT, MISSING or CHANGED. A transcript of a copy that cannot be read is only noted.
    """
    if not row.transcript:
        return ItemTranscript(_NO_CUES, "")
    report = decoder.report
    assert report is not None  # of the frames
    try:
        found = _read(path, row, decoder, config, access, first_frame_s=report.start_s)
    except InputError as e:
        if row.transcript_shift_s is None:
            raise
        return ItemTranscript(_NO_CUES, f"the transcript of its copy is not used: {e}")  # the item is not at fault
    shown = found.within(report.duration_s or 1 / config.decode.fps)  # a picture has no duration
    return ItemTranscript(shown, f"transcript: {shown.summary}" if shown.summary else "")


def _read(
    path: Path,
    row: SurveyRow,
    decoder: Decoder,
    config: TokenizeConfig,
    access: AccessConfig,
    *,
    first_frame_s: float,
) -> Transcript:
    assert row.transcript is not None
    if row.transcript == EMBEDDED:
        return embedded_transcript(decoder.subtitles(path))
    shift_s = -first_frame_s if row.transcript_shift_s is None else row.transcript_shift_s
    try:
        with local_file(row.transcript, max_bytes=_MAX_BYTES, access=access) as sidecar:
            require_same(sidecar, row.transcript_sha256, row.transcript)
            return read_transcript(sidecar, config.transcripts).shifted(shift_s)
    except OSError as e:
        raise InputError(Reason.BAD_TRANSCRIPT, f"transcript {row.transcript} cannot be read: {e}") from e
