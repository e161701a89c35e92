"""A published tokenizer through the commands: run, verify and trace, with more than 65,536 ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel
from pipeline.dataset.reader import Sequences
from schemas.dataset import read_card
from schemas.storage.location import located
from tests.support.texts import story
from tests.support.tokenizer_json import save, tokenizer_json, with_added
from tokenizer.text.tokenizer import TextTokenizer

pytestmark = pytest.mark.slow

SPELLED = "The kettle said <|im_start|> and <vision>, then </vision> and <|im_end|>. "


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a published model whose last id is 70,000."""
    library = with_added(tokenizer_json("qwen2", [story(0, 60), SPELLED * 3], size=600), ["<|late|>"], special=True)
    folder = save(library, tmp_path_factory.mktemp("published"), config={"chat_template": "{{ messages }}"})
    values = json.loads((folder / "tokenizer.json").read_text())
    values["added_tokens"][-1]["id"] = 70_000
    (folder / "tokenizer.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def workspace(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books")
    for n, split in enumerate(("train", "val")):
        (folder / f"{split}.txt").write_text(story(n, 40) + SPELLED)
    out = folder / "out"
    command = ["run", str(folder), "--out", str(out), "--context", "256", "--text-tokenizer", str(published)]
    assert longreel.main([*command, "--units", "2", "--select.val-fraction", "0"]) == 0
    return out


def test_the_dataset_is_complete_and_has_the_tokenizer(workspace: Path, published: Path) -> None:
    dataset = workspace / "packed" / "256"
    assert longreel.main(["verify", str(dataset), "--tokens", str(workspace / "tokens")]) == 0
    card = read_card(dataset)
    folder = card.text_tokenizer_folder(located(dataset))
    assert folder is not None
    text = TextTokenizer.load(folder.local())
    assert text.files == TextTokenizer.load(published).files
    assert (card.vocabulary.text_size, card.vocabulary.text_sha256) == (70_001, text.sha256)
    assert card.vocabulary.dtype == "uint32"
    tokens = Sequences(located(dataset), card).tokens(card.shards[0].name, "train-000000000", 0, 256)
    assert tokens.dtype == "uint32"
    assert "kettle" in text.decode(tokens) or len(text.decode(tokens)) > 200
    assert not set(tokens.tolist()) & (set(text.control.values()) - {text.bos_id, text.eos_id})


def test_trace_shows_the_sentence_with_the_tokenizer_of_the_dataset(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["trace", str(workspace / "packed" / "256"), "--key", "train-000000000", "--token", "9"]) == 0
    assert "⟦" in capsys.readouterr().out
