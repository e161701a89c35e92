"""The vocabulary of an imported model: the dataset's, or else the source's."""

from __future__ import annotations

from dataclasses import replace

from schemas.dataset import read_card
from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from trainer.published import names
from trainer.published.import_config import ImportConfig
from trainer.published.source import Published
from trainer.published.source_tokenizer import SourceTokenizer

LWM_SPARE = 256  # LWM's vision tables have a multiple of this many rows
_LWM_VISION, _LWM_CODES = 8448, 8192  # rows of LWM's vision tables, of which 254 are spare
_NOT_IDENTIFIED = ""  # the hash of a tokenizer that is not in the source


def vocabulary_of_import(published: Published, tokenizer: SourceTokenizer, config: ImportConfig) -> Vocabulary:
    """Return the vocabulary of the dataset, or else the one that the source has.

    Raises ConfigError if the dataset was encoded with another text tokenizer than the source's, or the number of vision
    codes does not follow from the source.
    """
    if config.dataset is not None:
        found = read_card(config.dataset).vocabulary
        if tokenizer.sha256 and found.text_sha256 not in tokenizer.hashes and not config.other_tokenizer:
            raise ConfigError(
                f"{config.dataset} was encoded with the text tokenizer {found.text_sha256[:12]}…, the source has "
                f"{tokenizer.sha256[:12]}…: its text ids would stand for other pieces. Tokenize and pack with the "
                "source's tokenizer, or give --other-tokenizer to train new meanings"
            )
        return found
    if published.vocabulary is not None and config.vision_size is None:
        converted = published.kind == "gguf" and tokenizer.sha256
        return replace(published.vocabulary, text_sha256=tokenizer.sha256) if converted else published.vocabulary
    return _vocabulary_of_source(published, tokenizer, config.vision_size)


def _vocabulary_of_source(published: Published, tokenizer: SourceTokenizer, codes: int | None) -> Vocabulary:
    text_size, rows = published.table_rows(names.TEXT_EMBEDDING), published.table_rows(names.VISION_EMBEDDING)
    if codes is None:
        codes = _codes_of(published, rows)
    bos, eos = published.bos_id, published.eos_id
    ends = [i for i in (bos, eos) if i is not None and i < text_size] or [0]
    return Vocabulary(
        text_size=text_size,
        codebook_size=codes,
        bos_id=ends[0],
        eos_id=ends[-1],
        begin_vision=(),
        end_vision=(),
        text_sha256=tokenizer.sha256,
        vision_sha256=_NOT_IDENTIFIED,
    )


def _codes_of(published: Published, rows: int) -> int:
    """Return the number of codes in vision tables of `rows`; raises ConfigError if LWM's spare rows hide it."""
    if rows == _LWM_VISION:
        return _LWM_CODES
    if published.kind == "lwm" and rows and rows % LWM_SPARE == 0:
        raise ConfigError(
            f"{published.path}: of the {rows} rows of the vision tables some may be spare, so the number of codes does "
            "not follow: give --vision-size, or --dataset"
        )
    return max(rows - 2, 0)
