from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.files import read_json
from schemas.vocab import Vocabulary
from tests.support.published.models import TEXT_SIZE, random_state, tiny, write_hf
from tests.support.training.training_dataset import VOCABULARY
from trainer.published.account import account_of
from trainer.published.import_config import ImportConfig
from trainer.published.importing import import_model
from trainer.published.source import open_source
from trainer.published.source_tokenizer import SourceTokenizer


@pytest.mark.parametrize(
    ("text_size", "codes", "lines"),
    [
        (TEXT_SIZE, 0, ["text tables: all 37 rows of the source"]),
        (
            TEXT_SIZE + 3,
            8,
            [
                "text tables: 37 rows of the source; rows 37 to 39 are new",
                "vision tables: the source has none; 10 rows",
            ],
        ),
        (TEXT_SIZE - 7, 0, ["text tables: rows 0 to 29 of the source; its 7 others are dropped"]),
    ],
)
def test_the_account_says_what_becomes_of_the_tables(
    text_size: int, codes: int, lines: list[str], tmp_path: Path
) -> None:
    source = open_source(str(write_hf(tmp_path, tiny(), random_state(tiny()))))
    first, *found = account_of(source, SourceTokenizer(sha256=VOCABULARY.text_sha256), _vocabulary(text_size, codes))
    assert first == "21 tensors of huggingface (21 F32) converted to float32"
    assert all(a.startswith(b) for a, b in zip(found[: len(lines)], lines, strict=True))


def test_the_account_says_if_the_text_tokenizer_is_missing_or_another_one(tmp_path: Path) -> None:
    source, vocabulary = open_source(str(write_hf(tmp_path, tiny(), random_state(tiny())))), _vocabulary(TEXT_SIZE, 0)
    unknown = replace(vocabulary, text_sha256="")
    assert "no text tokenizer" in account_of(source, SourceTokenizer(missing="it has none"), unknown)[-1]
    other = SourceTokenizer(sha256="ab" * 32)
    assert "is not the source's abababababab…" in account_of(source, other, vocabulary)[-1]


@pytest.mark.slow
def test_the_record_has_the_account(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    result = import_model(str(source), ImportConfig(out=tmp_path / "a"))
    assert read_json(tmp_path / "a" / "import.json")["account"] == list(result.account)


def _vocabulary(text_size: int, codes: int) -> Vocabulary:
    return replace(VOCABULARY, text_size=text_size, codebook_size=codes)
