"""What a worker of the survey hands to an item kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.dedup.block_list import BlockList
from pipeline.filters.scores import Score
from pipeline.survey.config import SurveyConfig
from pipeline.text.options import TextOptions
from pipeline.video.decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class SurveyTools:
    """Options, and the decoder and scores that a worker opened. A driver, which computes fingerprints, has neither."""

    config: SurveyConfig
    text: TextOptions
    decoder: Decoder | None = None
    scores: Sequence[Score] = ()
    block_list: BlockList = field(default_factory=BlockList)

    @property
    def open_decoder(self) -> Decoder:
        """The decoder; raises RuntimeError outside a worker."""
        if self.decoder is None:
            raise RuntimeError("the decoder is open in workers only")
        return self.decoder
