"""What a worker of tokenize hands to an item kind: the decoder, both tokenizers and their common vocabulary."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.video.decoder import Decoder
from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from tokenizer.text.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from tokenizer.codec import FrameCodec


@functools.lru_cache(maxsize=4)
def load_codec(vision: str) -> FrameCodec:
    """Load a VQGAN once per process: worker threads share the weights and the compiled functions."""
    from tokenizer.codec import FrameCodec  # imports JAX and Flax, a third of the start of commands that do not encode

    return FrameCodec.load(vision)


def make_vocabulary(text: TextTokenizer, codec: FrameCodec) -> Vocabulary:
    """Join both tokenizers in one id space."""
    return Vocabulary(
        text_size=text.size,
        codebook_size=codec.codebook_size,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256=codec.sha256,
    )


class TokenizeTools:
    """The options, and what they open. Raises ConfigError if the decoder's frame size is not the VQGAN's."""

    def __init__(
        self, decoder: Decoder, text: TextTokenizer, config: TokenizeConfig, access: AccessConfig = STRICT
    ) -> None:
        self.access, self.config, self.decoder, self.text = access, config, decoder, text
        self.codec = load_codec(config.vision)
        if config.decode.size != self.codec.frame_size:
            raise ConfigError(
                f"decode.size is {config.decode.size}, but the VQGAN {config.vision!r} encodes frames of "
                f"{self.codec.frame_size} pixels: use --decode.size {self.codec.frame_size}"
            )
        self.vocabulary = make_vocabulary(text, self.codec)
