from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.published import models
from tests.support.published.models import TEXT_SIZE, tiny
from trainer.published.import_config import ImportConfig
from trainer.published.import_vocabulary import vocabulary_of_import
from trainer.published.source import open_source
from trainer.published.source_tokenizer import SourceTokenizer

LWM = tiny(kv_heads=4, norm_eps=1e-6)


def lwm(folder: Path, vision_rows: int) -> str:
    """Write a model of LWM with vision tables of so many rows."""
    tree = models.lwm_tree(LWM, models.random_state(LWM), vision=False)
    tree["transformer/vte/embedding"] = np.zeros((vision_rows, LWM.dim), np.float32)
    tree["vision_head/kernel"] = np.zeros((LWM.dim, vision_rows), np.float32)
    return f"params::{models.write_stream(folder / 'params', tree)}"


@pytest.mark.parametrize(("rows", "codes"), [(8448, 8192), (10, 8)])
def test_the_codes_follow_from_the_rows_of_the_vision_tables(rows: int, codes: int, tmp_path: Path) -> None:
    source = open_source(lwm(tmp_path, rows), heads=4)
    found = vocabulary_of_import(source, SourceTokenizer(), ImportConfig(out=tmp_path / "out"))
    assert (found.text_size, found.codebook_size, found.begin_vision) == (TEXT_SIZE, codes, ())


def test_spare_rows_hide_the_number_of_codes(tmp_path: Path) -> None:
    source = open_source(lwm(tmp_path, 512), heads=4)
    with pytest.raises(ConfigError, match="of the 512 rows of the vision tables some may be spare"):
        vocabulary_of_import(source, SourceTokenizer(), ImportConfig(out=tmp_path / "out"))
    given = ImportConfig(out=tmp_path / "out", vision_size=300)
    assert vocabulary_of_import(source, SourceTokenizer(), given).codebook_size == 300


def test_a_model_of_text_has_no_codes_and_the_ends_of_its_configuration(tmp_path: Path) -> None:
    source = open_source(str(models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()))))
    found = vocabulary_of_import(source, SourceTokenizer(sha256="ab"), ImportConfig(out=tmp_path / "out"))
    assert (found.vision_size, found.bos_id, found.eos_id, found.text_sha256) == (0, 1, 2, "ab")
