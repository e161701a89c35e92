from __future__ import annotations

import hashlib
from pathlib import Path

from schemas.files import write_json
from tests.support.published.runs import write_ledger, write_run
from tests.support.training.training_dataset import write_dataset
from trainer.published.run_facts import RunFacts


def test_facts_of_a_run_come_from_its_files(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    write_ledger(dataset, {"CC0": 7, "MIT": 30})
    facts = RunFacts.of(write_run(tmp_path / "run", datasets=(dataset,)))
    assert facts.configuration["config"]["steps"] == 10
    assert (facts.train_loss, facts.eval_losses) == (2.25, (5.0, 3.0))
    (data,) = facts.datasets
    assert data.card is not None
    assert list((data.licenses or {}).items()) == [("MIT", 30), ("CC0", 7)]
    assert facts.frame_grid == list(data.card.frame_grid)
    assert (facts.began_from, facts.imported) == (None, None)


def test_the_history_leads_to_the_imported_model_and_its_tokenizer(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    (imported / "text_tokenizer").mkdir(parents=True)
    (imported / "text_tokenizer" / "tokenizer.json").write_text("{}")
    (imported / "text_tokenizer" / "generation_config.json").write_text("{}")
    write_json(imported / "import.json", {"format": "gguf"})
    first = write_run(tmp_path / "first", init_from=imported)
    second = write_run(tmp_path / "second", init_from=first)
    (second / "text_tokenizer").mkdir()
    (second / "text_tokenizer" / "tokenizer.json").write_text("{}")
    facts = RunFacts.of(second)
    assert [each.run.name for each in facts.history] == ["second", "first", "imported"]
    assert facts.history[-1].imported == {"format": "gguf"}
    files = {path.name: path.parts[-3] for path in facts.tokenizer_files(hashlib.sha256(b"{}").hexdigest())}
    assert files == {"tokenizer.json": "second", "generation_config.json": "imported"}
    assert facts.tokenizer_files("0" * 64) == []


def test_files_that_are_gone_or_damaged_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", datasets=(tmp_path / "gone",), init_from=tmp_path / "also-gone")
    (run / "config-from-5.json").write_text("{cut")
    (run / "import.json").write_text("{cut")
    facts = RunFacts.of(run)
    assert (facts.configuration, facts.datasets, facts.imported) == ({}, (), None)
    (run / "config-from-5.json").unlink()
    (data,) = RunFacts.of(run).datasets
    assert (data.card, data.licenses) == (None, None)


def test_a_run_that_began_from_itself_ends(tmp_path: Path) -> None:
    assert len(RunFacts.of(write_run(tmp_path / "run", init_from=tmp_path / "run")).history) < 50
