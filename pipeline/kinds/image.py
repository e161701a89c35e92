"""Images: documents of one frame.

The ending of a name decides only what is listed. The survey finds whether the content is one picture, and makes an
animation or video that is named like an image a video, and the reverse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dedup.image_similarity import ImageSimilarity
from pipeline.dedup.similarity import Similarity
from pipeline.kinds.kind import TokenizedDocument
from pipeline.kinds.visual import VisualKind, tokenize_frames
from schemas.rows import SurveyRow

if TYPE_CHECKING:
    from pipeline.tokenize.tools import TokenizeTools


class _Image(VisualKind):
    name = "image"
    endings = (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".tif", ".tiff", ".ico", ".avif"),
        *(".heic", ".heif"),  # not readable: rejected with this reason
    )

    def similarity(self) -> Similarity:
        """See ItemKind."""
        return ImageSimilarity()

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """See ItemKind."""
        return tokenize_frames(path, row, tools)


IMAGE = _Image()
