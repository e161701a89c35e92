"""What videos and images have in common: survey through the decoder, and tokens of frames, captions and cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.filters.scores import rate, versions_of
from pipeline.kinds.kind import BaseKind, Samples, Surveyed, TokenizedDocument
from pipeline.text.transcripts.cues import Cue
from pipeline.text.transcripts.reading import VERSION as TRANSCRIPT_VERSION
from pipeline.tokenize.clips import Clip, ClipConfig, cut, share_cues
from pipeline.tokenize.interleave import Document, video_document
from pipeline.tokenize.transcript import item_transcript
from pipeline.video.analysis.frame_signature import VERSION as SIGNATURE_VERSION
from pipeline.video.decoder import AnalysisConfig, DecodeReport
from pipeline.video.shots.detector import Shots
from schemas.deadline import checkpoint
from schemas.records import clip_id
from schemas.rows import EMBEDDED, Crop, SurveyRow, TimeRange, VisualFacts

if TYPE_CHECKING:
    from pipeline.survey.tools import SurveyTools
    from pipeline.text.options import TextOptions
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.tools import TokenizeTools

_WHOLE = ClipConfig()
_KIND_OF_CONTENT = {False: "video", True: "image"}  # by whether it is a still picture


class VisualKind(BaseKind):
    """The base of the kinds that are decoded into frames."""

    name: str
    takes_captions = True
    is_text = False
    position_unit = "s"

    def time_limit_s(self, options: TextOptions) -> None:
        """The decoder process has its own limit; encoding takes as long as the video."""

    def survey_fingerprint(self, tools: SurveyTools) -> Any:
        """See ItemKind."""
        config = tools.config
        return config.thumbnails, config.decode_below_s, versions_of(config.scores), SIGNATURE_VERSION

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        """Analyze sampled frames (pipeline.video.analysis); the content shows whether it is a video or an image."""
        config = AnalysisConfig(tools.config.thumbnails, tools.config.decode_below_s, frames=bool(tools.scores))
        stats = tools.open_decoder.analyze(path, config)
        info = stats.info
        return Surveyed(
            kind=_KIND_OF_CONTENT[info.is_picture] if self.name in _KIND_OF_CONTENT.values() else None,
            content_id=stats.content_id,
            container=info.container,
            visual=VisualFacts(
                codec=info.codec,
                width=info.width,
                height=info.height,
                duration_s=None if info.is_picture else info.duration_s,
                start_s=None if info.is_picture else info.start_s - info.container_start_s,
                frame_rate=info.frame_rate,
                bit_depth=info.bit_depth,
                interlaced=info.interlaced,
                crop=Crop(*stats.crop),
            ),
            measures={**stats.measures, **rate(stats.frames, tools.scores, taken=stats.measures)},
            signature=Samples(
                starts=stats.times_s.tolist(),
                lengths=stats.durations_s.tolist(),
                samples=stats.signatures,
                activity=stats.activity,
                thumbnail=stats.thumbnail,
            ),
        )

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """See ItemKind."""
        source = row.transcript == EMBEDDED, row.transcript_shift_s, config.transcripts.encoding
        transcript = (TRANSCRIPT_VERSION, *source) if row.transcript else (False, None)
        return transcript, config.decode.fingerprint_fields, config.interleave, crop_of(row, config)


def crop_of(row: SurveyRow, config: TokenizeConfig) -> Crop | None:
    """Return the part of the picture to encode, None for all of it."""
    if not config.crop_bars or row.visual is None or row.visual.crop is None:
        return None
    has_bars = row.visual.crop != (0, 0, row.visual.width, row.visual.height)
    return row.visual.crop if has_bars else None


def tokenize_frames(
    path: Path, row: SurveyRow, tools: TokenizeTools, *, clipping: ClipConfig = _WHOLE, shots: Shots = "none"
) -> list[TokenizedDocument]:
    """Decode and encode all frames, and return one document, or one per clip."""
    crop, fps = crop_of(row, tools.config), tools.config.decode.fps
    codes, report = _encode(path, tools, crop=crop, shots=shots)
    clips = cut(report.frames, report.shot_frames, clipping, fps=fps)
    transcript, note = item_transcript(path, row, tools.decoder, tools.config, tools.access)
    shares = share_cues(transcript.cues, clips, fps=fps)
    documents = []
    for number, (clip, cues) in enumerate(zip(clips, shares, strict=True)):
        clip_number = None if clipping.clips == "whole" else number
        document = _interleave(codes[clip.first : clip.end], row, clip, clip_number, cues, tools)
        made = _tokenized(document, clip, clip_number, report, fps=fps, crop=crop)
        documents.append(replace(made, cues=len(cues)))
    first = documents[0]
    detail = "; ".join(filter(None, [first.detail, note])) or None
    return [replace(first, cues_outside=transcript.outside, detail=detail), *documents[1:]]


def _encode(path: Path, tools: TokenizeTools, *, crop: Crop | None, shots: Shots) -> tuple[NDArray[Any], DecodeReport]:
    """Return the codes [T, P] of all frames, and what the decoder reports."""
    codes = []
    for frames, _ in tools.decoder.frames(path, crop=crop, shots=shots):
        checkpoint()
        codes.append(tools.codec.encode(frames))
    report = tools.decoder.report
    assert report is not None  # set when the last frame was delivered
    return np.concatenate(codes), report


def _interleave(
    codes: NDArray[Any],
    row: SurveyRow,
    clip: Clip,
    clip_number: int | None,
    cues: Sequence[Cue],
    tools: TokenizeTools,
) -> Document:
    assert row.document_id is not None  # of a selected item
    fps = tools.config.decode.fps
    return video_document(
        codes,
        frame_rate=fps,
        start_s=clip.first / fps,
        captions=row.captions,
        cues=cues,
        vocabulary=tools.vocabulary,
        text=tools.text,
        config=tools.config.interleave,
        seed_identity=row.document_id if clip_number is None else clip_id(row.document_id, clip_number),
    )


def _tokenized(
    document: Document,
    clip: Clip,
    clip_number: int | None,
    report: DecodeReport,
    *,
    fps: Any,
    crop: Crop | None,
) -> TokenizedDocument:
    """Return a clip's document with its facts. Frames missing at the end of a video are missing from its last clip."""
    frames, last = clip.end - clip.first, report.frames - 1
    starts = [min(first, last) for first in report.shot_frames]  # a shot may start after the last frame of the grid
    shots = [s for s, first in zip(report.shots, starts, strict=True) if clip.first <= first < clip.end]
    return TokenizedDocument(
        document=document,
        clip_number=clip_number,
        clip=None if clip_number is None else TimeRange(clip.first / fps, clip.end / fps),
        frames=frames,
        frames_promised=frames + (report.shortfall if clip.end > last else 0),
        shots=tuple(shots) or None,
        crop=crop,
        detail=report.detail or None,
    )
