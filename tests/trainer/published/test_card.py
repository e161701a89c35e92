from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.published.checkpoints import imported
from tests.support.published.models import random_state, tiny, write_hf
from tests.support.published.runs import write_ledger, write_run
from tests.support.training.training_dataset import write_dataset
from trainer.published.exporting import ExportConfig, export_model

pytestmark = pytest.mark.slow


def test_a_card_tells_the_data_the_losses_the_origin_and_the_hashes(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    model = imported(source, tmp_path / "imported", vision_size=8)
    dataset = write_dataset(tmp_path / "books | <b>")
    write_ledger(dataset, {"CC-BY-4.0 | x": 30, None: 5})
    run = write_run(tmp_path / "run", init_from=model, datasets=(dataset,), checkpoint_of=model)
    result = export_model(run, ExportConfig(out=tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "| vision ids | 37 to 44 codes, 45 end of a frame, 46 end of a video; tokenizer SHA-256 unknown |",
        "## Training run run",
        "| training loss of the last step | 2.2500 nats per target |",
        "| held-out loss, first and last | 5.0000, 3.0000 nats per target |",
        "### Dataset books \\| &lt;b>",
        "| license: CC-BY-4.0 \\| x | 30 tokens |",
        "| license: not stated | 5 tokens |",
        "## Imported from huggingface",
        "- vision tables: the source has none; 10 rows are new",
        f"| model.safetensors | {result.files[0].size_bytes:,} bytes, SHA-256 {result.files[0].sha256} |",
    ):
        assert part in card, card


def test_a_dataset_that_is_gone_is_named(tmp_path: Path) -> None:
    model = imported(write_hf(tmp_path / "hf", tiny(), random_state(tiny())), tmp_path / "imported")
    run = write_run(tmp_path / "run", datasets=(tmp_path / "gone",), checkpoint_of=model)
    export_model(run, ExportConfig(out=tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "### Dataset gone\n\nIts card could not be read when the model was exported." in card
    assert "| vision ids |" not in card
