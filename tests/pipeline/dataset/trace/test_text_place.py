from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.trace.text_place import mark, place_in_tokens
from schemas.printable import printable
from schemas.vocab import VISION
from tests.support.datasets.trace_dataset import BOOK, CUES, PAGES, TraceDataset, place, traced
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.tokenizer import TextTokenizer


@pytest.fixture(scope="module", params=["own", "llama"])
def any_text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Return a tokenizer with Longreel's options, and one with SentencePiece's, which adds a space before the text."""
    return text_tokenizer(request.param, [BOOK], tmp_path_factory.mktemp("models") / "text.model")


def expected_place(text: str, before: bytes, token: bytes) -> tuple[int, int, int]:
    """Return the character, line and page after the bytes `before` of a text, from the decoded text."""
    character = len(before.decode(errors="ignore"))  # a token within a character is at its start
    assert text.encode().startswith(before + token)
    return character, 1 + text[:character].count("\n"), 1 + text[:character].count("\f")


@pytest.mark.slow
def test_character_line_and_page_of_every_token_of_a_book_in_several_chunks(trace_dataset: TraceDataset) -> None:
    ids, chunks, seen = trace_dataset.text.encode(BOOK), 0, 0
    for row, sample in traced(trace_dataset, "files/book"):
        chunks += 1
        for offset in range(0, row.length, 5):
            at = row.document_start + offset - 1  # the text follows bos
            if not 0 <= at < len(ids):
                continue
            assert sample.tokens[row.start + offset] == ids[at]
            found = place(trace_dataset, row, offset)
            before, token = trace_dataset.text.surface(ids[:at]), trace_dataset.text.surface(ids[at : at + 1])
            assert (found.character, found.line, found.page) == expected_place(BOOK, before, token)
            assert found.pages == len(PAGES)
            plain = re.sub("[⟦⟧]", "", found.sentence)
            assert re.sub(r"\s+|\\n|\\u000c", "", plain) in re.sub(r"\s+", "", BOOK)
            assert len(plain) < 80
            seen += 1
    assert chunks > 2
    assert seen > 100


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_place_of_every_token_of_any_text(any_text: TextTokenizer, data: st.DataObject) -> None:
    alphabet = st.sampled_from([*"ab. !?\n\f\t", "é", "ß", "漢", "🎞", " ", "<vision>", "▁", "This is "])
    text = "".join(data.draw(st.lists(alphabet, min_size=1, max_size=30)))
    ids = any_text.encode(text)
    prefix = any_text.prefix.encode()
    for at in range(len(ids)):
        found = place_in_tokens(ids, at, any_text)
        before, token = any_text.surface(ids[:at]), any_text.surface(ids[at : at + 1])
        token = token.removeprefix(prefix) if not before else token
        before = before.removeprefix(prefix)
        assert (found.character, found.line, found.page) == expected_place(text, before, token)
        assert found.pages == 1 + text.count("\f")
        shown = found.sentence[found.sentence.index("⟦") + 1 : found.sentence.index("⟧")]
        end = len((before + token).decode(errors="ignore"))
        end += (before + token).decode(errors="ignore").encode() != before + token  # the rest of a character
        assert shown == printable(text[found.character or 0 : end])


@pytest.mark.parametrize(
    ("left", "token", "right", "expected"),
    [
        ("One. Two is", " here", ". Three.", "Two is⟦ here⟧."),
        ("One. ", "Two", " ends", "⟦Two⟧ ends"),
        ("One.", " Two", "! Three", "⟦ Two⟧!"),
        ("One", ".", " Two", "One⟦.⟧"),
        ("One.\n", "\n", "Two.", "One. ⟦\\n⟧"),
        ("a\n\nTitle", " of", "\n\nText", "Title⟦ of⟧"),
        ("", "", "", "⟦⟧"),
        ("“Stop!” he", " said", ".", "he⟦ said⟧."),
        ("x " * 400, "y", " z" * 400, "… " + "x " * 150 + "⟦y⟧" + " z" * 150 + " …"),
    ],
)
def test_mark_returns_the_sentence_around_the_token(left: str, token: str, right: str, expected: str) -> None:
    assert mark(left.encode(), token.encode(), right.encode()) == expected


def test_mark_includes_the_whole_character_of_a_partial_token() -> None:
    data = "aé漢b".encode()
    for at, expected in ((1, "é"), (2, "é"), (3, "漢"), (5, "漢")):
        assert f"⟦{expected}⟧" in mark(data[:at], data[at : at + 1], data[at + 1 :])
    assert mark(data[2:3], b"x", data[3:4]) == "⟦x⟧\ufffd"  # the window begins and ends within a character


def test_a_cue_is_a_text_with_its_own_characters(trace_dataset: TraceDataset) -> None:
    row = next(r for r, _ in traced(trace_dataset, "files/film") if r.modality != VISION and r.start_s == 3)
    last = row.length - len(trace_dataset.card.vocabulary.begin_vision) - 1
    found = place(trace_dataset, row, last)
    assert re.sub("[⟦⟧]", "", found.sentence) == "It runs!"
    assert found.character is not None
    assert CUES[0].text[found.character :] == found.sentence[found.sentence.index("⟦") + 1 : -1]
    assert (found.line, found.page, found.pages) == (1, 1, 1)


def test_structural_tokens_are_named(trace_dataset: TraceDataset) -> None:
    output = {}
    for uri in ("files/book", "files/film"):
        for row, sample in traced(trace_dataset, uri):
            for offset in range(row.length if row.modality != VISION else 0):
                found = place(trace_dataset, row, offset) if offset in (0, row.length - 1) else None
                if found and found.character is None:
                    output[found.sentence] = int(sample.tokens[row.start + offset])
    vocabulary = trace_dataset.card.vocabulary
    assert output == {
        "start of the document": vocabulary.bos_id,
        "end of the document": vocabulary.eos_id,
        "<vision>, the marker before frames": vocabulary.begin_vision[0],
        "</vision>, the marker after frames": vocabulary.end_vision[0],
    }
