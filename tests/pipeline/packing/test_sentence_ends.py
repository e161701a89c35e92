from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.config import PackConfig
from pipeline.packing.sentence_ends import SentenceEnds
from pipeline.runtime.token_store import TokenStore, write_unit
from schemas.fingerprint import fingerprint
from schemas.records import TOKENS
from schemas.storage.location import located
from schemas.vocab import TEXT, Vocabulary
from tests.support.packing.local_packing import make_jobs, unit_tables
from tests.support.token_stores import StoredDocument, video
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

WORDS = [
    f"{first}{last}" for first in ("wha", "shi", "cap", "mor", "ni", "sto") for last in ("le", "p", "tain", "ning")
]


def prose(seed: int, sentences: int) -> str:
    """Return random sentences of 3 to 9 words in paragraphs of about ten sentences."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(sentences):
        words = rng.choice(WORDS, rng.integers(3, 10))
        parts.append(" ".join(words).capitalize() + str(rng.choice([".", "!", "?", '."'])))
        parts.append("\n\n" if rng.random() < 0.1 else " ")
    return "".join(parts)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    out = tmp_path_factory.mktemp("model") / "text.model"
    return TextTokenizer.load(train_text_tokenizer([prose(0, 4000)], out, TextTrainConfig(vocab_size=512)))


@pytest.mark.parametrize(
    ("prefix", "kept"),
    [
        ("He saw the ship. The man", "He saw the ship."),
        ("the sea! Who saw the", "the sea!"),
        ('said the man." The old', 'said the man."'),
        (
            "A night. The end.\n\nThe old. Ship",
            "A night. The end.\n\n",
        ),  # the end of a paragraph is preferred to a nearer end of a sentence
        ("it is 3.14 in all", "it is 3.14 in all"),  # no end of a sentence: the cut does not move
        ("no end in sight", "no end in sight"),
    ],
)
def test_a_cut_moves_back_to_the_end_of_the_sentence(text: TextTokenizer, prefix: str, kept: str) -> None:
    before, behind = text.encode_parts([prefix, " x"])
    moved = SentenceEnds(text).tokens_to_move(np.concatenate([before, behind[:1]]))
    assert text.decode(before[: len(before) - moved]) == kept


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_cut_stays_within_the_window(text: TextTokenizer, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 30))
    ids = data.draw(st.lists(st.integers(0, text.size - 1), min_size=size, max_size=size))
    assert 0 <= SentenceEnds(text).tokens_to_move(np.array(ids, np.uint32)) <= size - 2


def test_books_are_cut_at_sentence_ends_without_losing_tokens(text: TextTokenizer, tmp_path: Path) -> None:
    vocabulary = Vocabulary(
        text_size=text.size,
        codebook_size=20,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256="b" * 64,
    )
    documents = []
    for i in range(6):
        ids = np.concatenate([[text.bos_id], text.encode(prose(i + 1, 150 + 40 * i)), [text.eos_id]])
        documents.append(StoredDocument(f"book {i}", "book", [(TEXT, ids, None, None)]))
    write_unit(
        located(tmp_path), 0, [(d.entry(), d.tokens.astype(vocabulary.dtype)) for d in documents], vocabulary.dtype
    )
    store, context = TokenStore(located(tmp_path)), 512
    cuts = {}
    for reach in (0.0, 0.08):
        config = PackConfig(sentence_reach=reach)
        made, jobs = make_jobs(
            unit_tables(tmp_path),
            config,
            context=context,
            vocabulary=vocabulary,
            store=store,
            sentences=SentenceEnds(text),
        )
        by_id = {d.id: d.tokens for d in documents}
        ends: list[bool] = []
        tokens = 0
        for job in jobs:
            ids = job.documents["document_id"].to_pylist()
            filled = np.bincount(job.chunks.sequence, job.chunks.length)
            assert filled.max() <= context
            for document, start, length in zip(
                job.chunks.document.tolist(), job.chunks.start.tolist(), job.chunks.length.tolist(), strict=True
            ):
                tokens += length
                whole = by_id[ids[document]]
                if start + length < len(whole):
                    kept = text.decode(whole[start : start + length])
                    ends.append(kept.rstrip(' "').endswith((".", "!", "?", "\n")))
        assert tokens == sum(map(len, by_id.values())) == made.splits["train"].tokens
        cuts[reach] = np.mean(ends)
        assert len(ends) >= 10
        assert made.fill("train") >= (1 - reach) * made.best_fill("train") - 1 / made.splits["train"].sequences
    assert cuts[0.08] == 1.0  # sentences of at most nine words have fewer than 40 tokens
    assert cuts[0.0] < 0.5


def test_cuts_in_videos_do_not_depend_on_the_reach() -> None:
    rows = pa.Table.from_pylist([video(fingerprint("v"), [90]).row()], TOKENS)
    one, other = (make_jobs([rows], PackConfig(sentence_reach=reach)) for reach in (0.0, 0.2))
    assert one[1][0].chunks.length.tolist() == other[1][0].chunks.length.tolist()
