from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.text.transcripts.cues import Cue
from pipeline.tokenize.interleave import (
    Document,
    InterleaveConfig,
    TextSegment,
    VisionSegment,
    book_document,
    parse_document,
    video_document,
)
from schemas.errors import ConfigError, DatasetError, InputError, Reason, VocabularyMismatch
from schemas.vocab import TEXT, VISION, Vocabulary
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["A vision of two dogs <that> run over a wide green field, and of a cat that watches them."] * 3
FIRST, LAST = InterleaveConfig(caption_first=1), InterleaveConfig(caption_first=0)


@pytest.fixture(scope="module", params=["own", "llama"])
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A model with `<vision>` as one piece, and one that spells it and puts a space before the first word."""
    return text_tokenizer(request.param, CORPUS, tmp_path_factory.mktemp("models") / "text.model")


def vocabulary(text: TextTokenizer, codebook_size: int = 1000) -> Vocabulary:
    return Vocabulary(
        text_size=text.size,
        codebook_size=codebook_size,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256="0" * 64,
    )


def video(text: TextTokenizer, codes: Any, *, config: InterleaveConfig = FIRST, **options: Any) -> Document:
    """Make a document at 2 frames a second."""
    options = {"frame_rate": 2.0, "seed_identity": "a film", **options}
    return video_document(np.asarray(codes), vocabulary=vocabulary(text), text=text, config=config, **options)


def outline(document: Document, text: TextTokenizer) -> list[str | list[list[int]]]:
    """Read a document as texts and frames."""
    segments = parse_document(document.tokens, vocabulary=vocabulary(text), frame_tokens=document.frame_tokens)
    return [text.decode(s.ids) if isinstance(s, TextSegment) else s.codes.tolist() for s in segments]


words = st.lists(
    st.sampled_from(["<vision>", "</vision>", "<", "\n", " ", "\u2581", "dog", "漢"]) | st.text(max_size=4), max_size=5
).map("".join)
seconds = st.floats(-2, 12) | st.integers(0, 20).map(lambda n: n / 2)
cues = st.lists(st.tuples(seconds, seconds, words).map(lambda cue: Cue(min(cue[:2]), max(cue[:2]), cue[2])), max_size=8)
codes = hnp.arrays(
    st.sampled_from([np.uint16, np.uint32, np.int64]),
    st.tuples(st.integers(1, 12), st.integers(1, 5)),
    elements=st.integers(0, 999),
)


@pytest.mark.slow
@given(codes=codes, cues=cues, captions=st.lists(words, max_size=3), config=st.sampled_from([FIRST, LAST]))
@settings(deadline=None, max_examples=150)
def test_a_video_document_round_trips(
    text: TextTokenizer, codes: np.ndarray, cues: list[Cue], captions: list[str], config: InterleaveConfig
) -> None:
    document = video(text, codes, captions=captions, cues=cues, config=config)
    read = outline(document, text)

    frames = [frame for part in read if isinstance(part, list) for frame in part]
    assert frames == codes.tolist()

    times = np.arange(len(codes)) / 2
    expected: dict[int, list[str]] = {}
    for cue in sorted((c for c in cues if c.text.strip()), key=lambda c: (c.start_s, c.end_s)):
        expected.setdefault(int(np.sum(times < cue.start_s)), []).append(cue.text)
    if caption := [c for c in captions if c.strip()]:
        place = 0 if config is FIRST else len(codes)
        expected[place] = caption + expected.get(place, []) if config is FIRST else expected.get(place, []) + caption
    shown, found = 0, {}
    for part in read:
        if isinstance(part, list):
            shown += len(part)
        else:
            found[shown] = part
    assert found == {place: "\n".join(said) for place, said in expected.items()}


@pytest.mark.slow
@given(codes=codes, cues=cues, captions=st.lists(words, max_size=2))
@settings(deadline=None, max_examples=100)
def test_spans_cover_all_tokens_with_their_modality(
    text: TextTokenizer, codes: np.ndarray, cues: list[Cue], captions: list[str]
) -> None:
    document = video(text, codes, captions=captions, cues=cues)
    table, end, frame = vocabulary(text), 0, 0
    assert document.tokens.dtype == table.dtype
    assert document.frame_tokens == codes.shape[1] + 1
    assert document.tokens.max() < table.size
    for span, after in zip(document.spans, [*document.spans[1:], None], strict=True):
        assert span.start == end
        assert span.length > 0
        tokens = document.tokens[span.start : span.start + span.length]
        assert np.all(table.is_vision(tokens) == (span.modality == VISION))
        if span.modality == VISION:
            assert span.length % document.frame_tokens == 0
            frames = span.length // document.frame_tokens
            assert span.start_s == pytest.approx(frame / 2)
            assert span.end_s == pytest.approx((frame + frames) / 2)
            frame += frames
            assert after is not None
            assert after.modality == TEXT
        end += span.length
    assert end == len(document.tokens)
    assert frame == len(codes)


def test_a_cue_precedes_the_first_frame_at_or_after_its_start(text: TextTokenizer) -> None:
    cues = [Cue(-1, 0, "early"), Cue(0.5, 0.9, "on"), Cue(0.6, 2, "between"), Cue(1.0, 1.1, "too"), Cue(9, 10, "late")]
    document = video(text, [[1], [2], [3]], cues=cues[::-1])
    assert outline(document, text) == ["early", [[1]], "on", [[2]], "between\ntoo", [[3]], "late"]
    times = [(s.start_s, s.end_s) for s in document.spans if s.modality == TEXT]
    assert times == [(None, None), (-1, 0), (0.5, 0.9), (0.6, 2), (9, 10), (None, None)]


def test_times_are_relative_to_the_start_of_the_video(text: TextTokenizer) -> None:
    document = video(text, [[1], [2]], cues=[Cue(10.2, 11, "x")], start_s=10.0, frame_rate=4.0)
    assert [(s.start_s, s.end_s) for s in document.spans if s.modality == VISION] == [(10.0, 10.25), (10.25, 10.5)]


def test_a_document_has_the_specified_layout(text: TextTokenizer) -> None:
    table = vocabulary(text)
    document = video(text, [[1, 2], [3, 4]], captions=["two dogs"])
    vision = [1, 2, table.eof - table.text_size, 3, 4, table.eov - table.text_size]
    expected = [table.bos_id, *text.encode("two dogs"), *table.begin_vision]
    expected += [table.text_size + i for i in vision]
    expected += [*table.end_vision, table.eos_id]
    assert document.tokens.tolist() == expected
    assert [(s.modality, s.start_s, s.end_s) for s in document.spans] == [
        (TEXT, None, None),
        (VISION, 0.0, 1.0),
        (TEXT, None, None),
    ]


def test_an_image_is_a_video_of_one_frame(text: TextTokenizer) -> None:
    document = video(text, [[7, 8, 9]], captions=["a cat", " ", "that watches"], config=LAST)
    assert outline(document, text) == [[[7, 8, 9]], "a cat\nthat watches"]
    assert [s.length for s in document.spans if s.modality == VISION] == [4]


def test_the_side_of_a_caption_is_deterministic_and_has_the_requested_frequency(text: TextTokenizer) -> None:
    def is_first(identity: str, config: InterleaveConfig) -> bool:
        document = video(text, [[1]], captions=["a dog"], config=config, seed_identity=identity)
        return isinstance(outline(document, text)[0], str)

    names = [f"film {i}" for i in range(200)]
    firsts = [is_first(name, InterleaveConfig(caption_first=0.25)) for name in names]
    assert 25 <= sum(firsts) <= 75
    assert firsts == [is_first(name, InterleaveConfig(caption_first=0.25)) for name in names]
    assert firsts != [is_first(name, InterleaveConfig(caption_first=0.25, seed=1)) for name in names]


def test_a_book_is_text_between_bos_and_eos(text: TextTokenizer) -> None:
    story = "Two dogs run.\n\n  A <vision> of a cat.</vision>\n"
    document = book_document(text.encode(story), vocabulary=vocabulary(text))
    assert (document.tokens[0], document.tokens[-1]) == (text.bos_id, text.eos_id)
    assert document.frame_tokens == 0
    assert document.tokens.dtype == np.uint16
    assert [(s.start, s.length, s.modality, s.start_s) for s in document.spans] == [
        (0, len(document.tokens), TEXT, None)
    ]
    assert outline(document, text) == [story]


def test_a_large_vocabulary_has_wider_tokens(text: TextTokenizer) -> None:
    table = vocabulary(text, codebook_size=1 << 18)
    codes = np.array([[0, (1 << 18) - 1]], np.uint32)
    options: dict[str, Any] = {"vocabulary": table, "text": text, "config": FIRST, "seed_identity": "x"}
    document = video_document(codes, frame_rate=1.0, **options)
    assert document.tokens.dtype == np.uint32
    (segment,) = parse_document(document.tokens, vocabulary=table, frame_tokens=3)
    assert isinstance(segment, VisionSegment)
    assert segment.codes.tolist() == codes.tolist()


def test_an_empty_item_is_an_error(text: TextTokenizer) -> None:
    with pytest.raises(InputError) as caught:
        video(text, np.empty((0, 4), np.uint16), captions=["a dog"])
    assert caught.value.reason is Reason.EMPTY
    with pytest.raises(InputError) as caught:
        book_document(np.empty(0, np.uint32), vocabulary=vocabulary(text))
    assert caught.value.reason is Reason.EMPTY


def test_codes_and_text_of_another_vocabulary_are_errors(text: TextTokenizer) -> None:
    with pytest.raises(VocabularyMismatch, match=r"codes lie in 3\.\.1000, but the codebook has 1000"):
        video(text, [[3], [1000]])
    with pytest.raises(VocabularyMismatch, match=r"codes lie in -1\.\.3"):
        video(text, [[3], [-1]])
    other = Vocabulary(**vars(vocabulary(text)) | {"text_sha256": "f" * 64})
    with pytest.raises(VocabularyMismatch, match="ffffffffffff"):
        video_document(
            np.array([[1]]), frame_rate=1.0, vocabulary=other, text=text, config=FIRST, seed_identity="a film"
        )


def test_invalid_options_are_errors_that_name_them(text: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match=r"caption_first must lie in 0\.\.1, got 1\.5"):
        InterleaveConfig(caption_first=1.5)
    with pytest.raises(ConfigError, match="frame_rate must be above 0, got 0"):
        video(text, [[1]], frame_rate=0.0)
    with pytest.raises(ConfigError, match=r"codes must be integers \[T, P\], got float64 \[1, 1\]"):
        video(text, [[0.5]])


def test_a_malformed_document_is_an_error_that_names_the_token(text: TextTokenizer) -> None:
    table = vocabulary(text)
    tokens = video(text, [[1, 2], [3, 4]], captions=["two dogs"], cues=[Cue(0.5, 1, "run")]).tokens
    begin = int(np.argmax(table.is_vision(tokens)))  # [1, 2, eov], text, [3, 4, eov], </vision>, eos
    again = begin + 3 + int(np.argmax(table.is_vision(tokens[begin + 3 :])))
    before = len(table.begin_vision)

    def refused(at: int, broken: Any, frame_tokens: int = 3) -> None:
        with pytest.raises(DatasetError, match=rf"token {at} "):
            parse_document(np.asarray(broken, np.uint16), vocabulary=table, frame_tokens=frame_tokens)

    def with_token(at: int, token: int) -> np.ndarray:
        changed = tokens.copy()
        changed[at] = token
        return changed

    refused(0, [])
    refused(0, tokens[1:])
    refused(0, with_token(0, table.eos_id))
    refused(begin, with_token(begin, table.eof))
    refused(begin + 2, with_token(begin + 2, table.eof))
    refused(again + 2, with_token(again + 2, table.text_size))
    refused(begin + 3, with_token(begin + 3, table.bos_id))  # in the place of </vision>
    refused(begin - before, with_token(begin - 1, table.eos_id))  # in the place of <vision>
    refused(5, with_token(5, table.size))
    refused(len(tokens) - 2, tokens[:-1])
    refused(begin, tokens, frame_tokens=0)
    refused(begin, np.delete(tokens, begin))
    refused(begin + 3, np.insert(tokens, begin + 3, table.eov))
    refused(begin + 2, np.insert(tokens, begin + 3, table.eov), frame_tokens=4)
    refused(2, np.insert(tokens, 2, table.eos_id))
    refused(1, [table.bos_id, *table.begin_vision, table.eos_id], frame_tokens=0)
    refused(1, [table.bos_id, *table.end_vision, *tokens[1:]])
