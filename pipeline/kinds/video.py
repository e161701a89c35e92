"""Videos: one document each, or one per shot or time range (`--clips`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dedup.similarity import Similarity
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.kinds.kind import TokenizedDocument
from pipeline.kinds.visual import VisualKind, tokenize_frames
from pipeline.video.shots.detector import shots_fingerprint_fields
from schemas.rows import SurveyRow

if TYPE_CHECKING:
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.tools import TokenizeTools


class _Video(VisualKind):
    name = "video"
    takes_transcripts = True
    endings = (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".vob"),
        *(".ts", ".m2ts", ".mts", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".mxf", ".nut", ".dv", ".rm", ".rmvb"),
        *(".m1v", ".m2v", ".h264", ".264", ".hevc", ".h265", ".265", ".obu", ".ivf", ".y4m", ".mjpg", ".mjpeg"),
        ".gif",
    )

    def similarity(self) -> Similarity:
        """See ItemKind."""
        return VideoSimilarity()

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """See ItemKind."""
        clips = shots_fingerprint_fields(config.shots), config.cutting.fingerprint_fields
        return super().token_fingerprint(row, config), clips

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """See ItemKind."""
        return tokenize_frames(path, row, tools, clipping=tools.config.cutting, shots=tools.config.shots)


VIDEO = _Video()
