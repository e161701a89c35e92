"""The tools that a worker of tokenize gives to item kinds."""

from __future__ import annotations

import pytest

from pipeline.tokenize.tools import TokenizeTools, load_codec, make_vocabulary
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError
from tests.support.stages import Models
from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.text.tokenizer import TextTokenizer


def test_a_codec_is_loaded_once_per_process(models: Models) -> None:
    assert load_codec(models.vision) is load_codec(models.vision)


def test_the_vocabulary_joins_both_tokenizers(models: Models) -> None:
    text, codec = TextTokenizer.load(models.text), load_codec(models.vision)
    vocabulary = make_vocabulary(text, codec)
    assert (vocabulary.text_size, vocabulary.codebook_size) == (text.size, TINY.codebook_size)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (text.bos_id, text.eos_id)
    assert (vocabulary.text_sha256, vocabulary.vision_sha256) == (text.sha256, codec.sha256)


def test_frames_of_another_size_than_that_of_the_vqgan_are_an_error_that_names_the_option(models: Models) -> None:
    text, config = TextTokenizer.load(models.text), models.config()
    with Decoder(config.decode) as decoder:
        assert TokenizeTools(decoder, text, config).vocabulary.codebook_size == TINY.codebook_size
        other = type(config)(vision=models.vision, decode=DecodeConfig(size=32))
        with pytest.raises(ConfigError, match="decode.size is 32, .* use --decode.size 16"):
            TokenizeTools(decoder, text, other)
