"""Images: documents of one frame."""

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
    endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
    has_duration = False

    def similarity(self) -> Similarity:
        """See ItemKind."""
        return ImageSimilarity()

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """See ItemKind."""
        return tokenize_frames(path, row, tools)


IMAGE = _Image()
