"""What the survey finds about a book: language, rules on passages and the whole, contamination."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.text_rules import TextCounts
from pipeline.select.config import SelectConfig
from pipeline.select.rules import judge
from pipeline.survey.book_analysis import book_fingerprint, survey_book
from pipeline.survey.config import BookSurveyConfig
from pipeline.text.books import BookConfig, load_book, read_book
from pipeline.text.language import identify_language, majority_language
from pipeline.text.passages import split_passages
from pipeline.text.words import shingles, split_words
from schemas.errors import InputError, Reason
from schemas.rows import SurveyRow
from schemas.storage.location import Location
from tests.support.survey_rows import select_config
from tests.support.texts import sentences, story, wrapped

GERMAN = """der die das und nicht aber obwohl weil damit Müller Schäfer Bäcker Förster Pfarrer Krämer Brücke Straße
Glocke Mühle Kerze Schüssel kaufte verlor bewunderte vergaß zählte suchte schöne müde reiche fremde stille junge über
unter hinter zwischen während gestern morgen niemals immer wieder Häuser Kinder Wälder Flüsse Gärten ging stand lag
wollte konnte mußte sollte eine keine meine unsere jeder dieser""".split()  # noqa: SIM905


def surveyed(folder: Path, text: str, config: BookSurveyConfig | None = None) -> dict[str, Any]:
    path = folder / "book.txt"
    path.write_text(text)
    found = survey_book(path, BookConfig(), config or BookSurveyConfig())
    assert found.signature is not None
    row = SurveyRow(uri=str(path), kind="book", document_id="d", content_id=found.content_id, container=found.container)
    return replace(row, text=found.text, measures=found.measures, cuts=found.cuts).to_row()


def german(count: int) -> str:
    rng = random.Random(count)
    return "\n\n".join(" ".join(rng.choices(GERMAN, k=12)) + "." for _ in range(count)) + "\n"


def test_a_proper_book_is_kept_with_its_measures(tmp_path: Path) -> None:
    row = surveyed(tmp_path, wrapped(story(1, 100)))
    assert judge(SurveyRow.from_row(row), SelectConfig()) is None
    assert (row["language"], row["encoding"], row["container"], row["cuts"]) == ("en", "utf-8", "text", None)
    measures = row["measures"]
    assert measures["words"] == len(split_words(story(1, 100)).hashes)
    assert measures["characters"] == len(story(1, 100))
    assert measures["passages"] >= 3
    assert measures.keys() <= DEFAULTS.keys()  # which has their descriptions
    assert measures["lines_joined"] > 300
    assert set(measures) - {"characters", "passages", "repaired_lines", "boilerplate_share"} >= {"gopher_top_2gram"}
    short = surveyed(tmp_path, sentences(1, 3)[0] + "\n")
    verdict = judge(SurveyRow.from_row(short), SelectConfig())
    assert verdict is not None
    assert verdict[0] is Reason.TOO_SHORT


def test_the_identity_of_a_book_is_its_clean_text(tmp_path: Path) -> None:
    one, other = surveyed(tmp_path, story(1)), surveyed(tmp_path, wrapped(story(1)).replace("\n", "\r\n"))
    assert one["content_id"] == other["content_id"]
    assert surveyed(tmp_path, story(2))["content_id"] != one["content_id"]


NONSENSE = "The clocks were striking thirteen on a cold day that had been bright. " * 200


def test_word_rules_do_not_apply_to_scripts_without_spaces(tmp_path: Path) -> None:
    lines = (
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。\n"
    )
    row = surveyed(tmp_path, lines * 1 + "彼は山へ行った。川には大きな魚がいた。\n")
    assert row["language"] == "ja"
    assert judge(SurveyRow.from_row(row), SelectConfig()) is None
    assert "gopher_word_length" not in row["measures"]


@pytest.mark.slow
def test_passages_of_nonsense_or_another_language_are_cut_and_the_rest_is_kept(tmp_path: Path) -> None:
    bad, foreign = NONSENSE * 3, german(600)
    text = "\n".join([story(1, 120), bad, story(2, 120), foreign, story(3, 120)])
    row = surveyed(tmp_path, text)
    assert judge(SurveyRow.from_row(row), SelectConfig()) is None
    assert {cut["reason"] for cut in row["cuts"]} == {"quality", "language"}
    assert 0.05 < row["measures"]["cut_share"] < 0.5
    kept = "".join(
        read_book(tmp_path / "book.txt", BookConfig(), cuts=[(cut["start"], cut["end"]) for cut in row["cuts"]])
    )
    assert "striking thirteen" not in kept[100:] or kept.count("striking thirteen") < 20
    assert kept.count("Müller") < 0.3 * foreign.count("Müller")
    assert len(kept.split()) > 0.8 * len((story(1, 120) + story(2, 120) + story(3, 120)).split())
    assert surveyed(tmp_path, text, BookSurveyConfig(cut_passages=False))["cuts"] is None


def test_a_book_that_is_mostly_nonsense_is_rejected(tmp_path: Path) -> None:
    row = surveyed(tmp_path, story(1, 40) + NONSENSE * 6)
    verdict = judge(SurveyRow.from_row(row), SelectConfig())
    assert verdict is not None
    assert verdict[0] is Reason.QUALITY
    assert row["measures"]["cut_share"] > 0.5


def test_only_books_in_selected_languages_are_kept(tmp_path: Path) -> None:
    row = surveyed(tmp_path, german(60))
    assert row["language"] == "de"
    assert judge(SurveyRow.from_row(row), SelectConfig()) is None
    assert judge(SurveyRow.from_row(row), select_config(languages=("EN", "de"))) is None
    verdict = judge(SurveyRow.from_row(row), select_config(languages=("en", "fr")))
    assert verdict == (Reason.LANGUAGE, "language de is not one of en, fr (--languages)")
    assert (
        judge(
            SurveyRow.from_row({**row, "kind": "qa", "language": None, "encoding": None}),
            select_config(languages=("en",)),
        )
        is None
    )


def test_the_language_of_most_passages_wins() -> None:
    assert identify_language(story(1))[0] == "en"
    assert majority_language([("en", 0.99, 10), ("de", 0.99, 30), ("fr", 0.4, 900)]) == ("de", 0.75)
    assert majority_language([("fr", 0.4, 9)]) == ("fr", 1.0)
    assert majority_language([]) == (None, 0.0)


def test_passages_cover_the_text_and_their_ends_depend_on_content() -> None:
    text = story(1, 400)
    passages = split_passages(text)
    assert [p.start for p in passages] == [0, *(p.end for p in passages[:-1])]
    assert passages[-1].end == len(text)
    assert all(1000 <= p.words <= 4500 for p in passages[:-1])
    ends = {text[p.end - 40 : p.end] for p in passages}
    changed = "A new preface by another hand.\n\n" + text.replace("kettle", "teapot", 3)
    others = {changed[p.end - 40 : p.end] for p in split_passages(changed)}
    assert len(ends & others) >= len(ends) - 3
    one_line = text.replace("\n", " ")
    assert all(p.words <= 4500 for p in split_passages(one_line))
    assert split_passages("") == []


@given(st.text(max_size=300))
@settings(deadline=None)
def test_passages_of_any_text_have_no_gaps(text: str) -> None:
    passages = split_passages(text)
    assert "".join(text[p.start : p.end] for p in passages) == text
    words = split_words(text)
    assert all(text[a:b].isalnum() for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True))
    assert TextCounts.of(text).words == len(words.hashes)


def test_words_are_compared_without_case_and_punctuation() -> None:
    one, other = split_words("“Don’t,” said THE_Old man"), split_words('"Don\'t" said the old _Man_!')
    assert np.array_equal(one.hashes, other.hashes)
    assert int(split_words("man").hashes[0]) == int.from_bytes(
        hashlib.blake2b(b"man", digest_size=8).digest(), "little"
    )
    assert len(shingles(one.hashes, 5)) == 2
    assert len(shingles(one.hashes, 7)) == 0


def evaluation_set(folder: Path, texts: list[str]) -> Location:
    path = folder / "set.jsonl"
    path.write_text("\n".join(json.dumps({"id": i, "q": [{"text": t}]}) for i, t in enumerate(texts)))
    return Location.parse(path)


def test_passages_from_an_evaluation_set_are_cut(tmp_path: Path) -> None:
    text = story(1, 400)
    paragraph = text.split("\n\n")[150]
    asked = " ".join(paragraph.split()[:20])
    path = evaluation_set(tmp_path, [asked.upper().replace(" ", " – ").replace(",", ""), "a short one"])
    row = surveyed(tmp_path, wrapped(text), BookSurveyConfig(decontaminate=(path,)))
    (cut,) = row["cuts"]
    assert cut["reason"] == "contaminated"
    assert cut["detail"] == "shares 8 13-grams of words with an evaluation set"
    assert cut["start"] < text.index(asked[:50]) < cut["end"]
    assert 0 < row["measures"]["contaminated_share"] == row["measures"]["cut_share"] < 0.1
    assert judge(SurveyRow.from_row(row), SelectConfig()) is None
    whole = surveyed(
        tmp_path, story(1, 20), BookSurveyConfig(decontaminate=(path, evaluation_set(tmp_path, [story(1, 20)])))
    )
    verdict = judge(SurveyRow.from_row(whole), SelectConfig())
    assert verdict is not None
    assert verdict[0] is Reason.CONTAMINATED
    clean = surveyed(tmp_path, story(5, 60), BookSurveyConfig(decontaminate=(path,)))
    assert (clean["cuts"], clean["measures"]["contaminated_share"]) == (None, 0)


def test_every_option_that_affects_a_row_changes_its_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(story(1, 1))
    (tmp_path / "b.txt").write_text(story(2, 1))
    book_configs = [
        BookSurveyConfig(),
        BookSurveyConfig(cut_passages=False),
        *(BookSurveyConfig(decontaminate=(Location.parse(tmp_path / n),)) for n in ("a.txt", "b.txt")),
    ]
    configs = [BookConfig(), BookConfig(mask_pii=True), BookConfig(join_lines=False)]
    found = [json.dumps(book_fingerprint(books, survey)) for books in configs for survey in book_configs]
    assert len(set(found)) == len(found)
    assert book_fingerprint(BookConfig(max_bytes=5), BookSurveyConfig()) == book_fingerprint(
        BookConfig(), BookSurveyConfig()
    )


def test_masking_is_part_of_the_clean_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(story(1).replace(".", ". Write to me@example.org.", 1))
    assert "me@example.org" in load_book(path, BookConfig()).text
    book = load_book(path, BookConfig(mask_pii=True))
    assert "Write to [email]." in book.text
    assert book.counts["pii_email"] == 1
    assert "".join(read_book(path, BookConfig(mask_pii=True))) == book.text


def test_a_book_of_too_many_words_for_its_limit_of_memory_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b c d e f g " * 4000)  # 28,000 words take 1.5 MB
    with pytest.raises(InputError, match=r"takes more than 1 MiB of memory; raise books.max-memory-mb") as e:
        survey_book(tmp_path / "a.txt", BookConfig(max_memory_mb=1), BookSurveyConfig())
    assert e.value.reason is Reason.MEMORY
    survey_book(tmp_path / "a.txt", BookConfig(max_memory_mb=3), BookSurveyConfig())
