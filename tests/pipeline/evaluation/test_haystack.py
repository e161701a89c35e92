"""Long texts are cut and filled at sentence boundaries, counted in the model's own ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.evaluation.haystack import Budget, Haystack
from schemas.errors import ConfigError
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer

TEXT = story(3, 30) + " Où est l’été? Là! " + story(4, 30)


@pytest.fixture(scope="module", params=["own", "llama"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer(request.param, [TEXT], tmp_path_factory.mktemp("tokenizer") / "t.model")


@pytest.fixture(scope="module")
def haystack(tokenizer: TextTokenizer) -> Haystack:
    return Haystack(TEXT, tokenizer)


def test_the_whole_text_is_found_again(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    assert len(haystack) == len(tokenizer.encode(TEXT))
    assert haystack.filled(0, len(haystack), {}).text.removeprefix(tokenizer.prefix) == TEXT


@pytest.mark.parametrize("share", [0.0, 0.3, 0.77, 1.0])
def test_a_part_begins_with_a_sentence_and_has_its_length(
    haystack: Haystack, tokenizer: TextTokenizer, share: float
) -> None:
    start = haystack.start(share, 200)
    text = haystack.filled(start, 200, {}).text
    assert text.strip() in TEXT
    before = TEXT[: TEXT.index(text.strip())].strip()
    assert before == "" or before[-1] in ".!?"
    assert len(tokenizer.encode(text)) == pytest.approx(200, abs=3)


def test_texts_are_inserted_between_sentences_at_their_depths(haystack: Haystack, tokenizer: TextTokenizer) -> None:
    filled = haystack.filled(0, len(haystack), {1.0: "[END]", 0.0: "[FIRST]", 0.5: "[HALF]"})
    assert filled.text.removeprefix(tokenizer.prefix).startswith("[FIRST]")
    assert filled.text.endswith("[END]")
    before, after = filled.text.split("[HALF]")
    assert before.rstrip()[-1] in ".!?"
    assert len(before) / (len(before) + len(after)) == pytest.approx(0.5, abs=0.05)
    assert filled.depths == pytest.approx((0, 0.5, 1), abs=0.05)
    plain = filled.text.replace("[FIRST]", "").replace("[HALF]", "").replace("[END]", "")
    assert plain.removeprefix(tokenizer.prefix) == TEXT


def test_a_text_that_is_too_short_says_how_long_it_is(haystack: Haystack) -> None:
    with pytest.raises(ConfigError, match=rf"has {len(haystack):,} tokens, 1,000,000 are needed"):
        haystack.start(0.5, 1_000_000)


def test_a_budget_leaves_room_for_reply_and_template(tokenizer: TextTokenizer) -> None:
    assert Budget(tokenizer, 100, 20, 30).prompt_tokens == 50
    assert Budget(tokenizer, 100, 20, 30).count("word") == len(tokenizer.encode("word"))
    with pytest.raises(ConfigError, match="leaves no room"):
        _ = Budget(tokenizer, 50, 20, 30).prompt_tokens


def test_a_text_without_sentences_is_one_sentence(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    haystack = Haystack("word " * 50, tokenizer)
    assert haystack.start(1.0, 10) == 0
