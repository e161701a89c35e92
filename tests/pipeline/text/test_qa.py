"""Question-answer documents: their files, their layout, and the loss weights of their tokens."""

from __future__ import annotations

import codecs
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.qa import QaConfig, Turn, lay_out, parse_turns, plain_text, read_file, read_turns
from pipeline.tokenize.interleave import Document, TextSegment, parse_document, text_document
from schemas.deadline import time_limit
from schemas.errors import ConfigError, InputError, Reason
from schemas.vocab import TEXT, Vocabulary
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.tokenizer import TextTokenizer

STORY = "Call me Ishmael. Some years ago I thought I would sail about a little.\n"
GOOD = {
    "turns": [
        {"role": "context", "text": STORY},
        {"role": "question", "text": "Who tells the story?"},
        {"role": "answer", "text": "Ishmael."},
    ]
}
CONFIG = QaConfig()

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = (
    st.lists(st.sampled_from(["<vision>", "USER:", "ASSISTANT:", "\r", "\n", " ", "\u2581", "漢"]) | characters)
    .map("".join)
    .filter(str.strip)
)
turns = (
    st.lists(st.builds(Turn, st.sampled_from(["context", "question", "answer"]), texts), max_size=6)
    .flatmap(lambda some: st.permutations([*some, Turn("answer", "yes")]))
    .map(list)
)


def unforged(text: str) -> str:
    return re.sub("(?:^|(?<=[\n\v\f\x1c-\x1e\x85\u2028\u2029]))(?=USER:|ASSISTANT:)", " ", text)


def write(path: Path, document: Any, **options: Any) -> Path:
    path.write_text(json.dumps(document, **options), encoding="utf-8")
    return path


def text_of(role: str, text: str) -> bytes:
    """Return a valid file with another turn, whose text is given as JSON."""
    return json.dumps(GOOD).encode()[:-2] + b', {"role": "%s", "text": %s}]}' % (role.encode(), text.encode())


def rejection(path: Path, **options: Any) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        read_turns(path, QaConfig(**options))
    return caught.value.reason, str(caught.value)


@pytest.mark.slow
@given(turns=turns, ensure_ascii=st.booleans())
@settings(deadline=None, max_examples=150)
def test_turns_are_read_with_normalized_line_endings(turns: list[Turn], ensure_ascii: bool) -> None:
    content = json.dumps({"turns": [turn._asdict() for turn in turns]}, ensure_ascii=ensure_ascii)
    expected = [Turn(role, text.replace("\r\n", "\n").replace("\r", "\n")) for role, text in turns]
    assert parse_turns(content) == expected


@pytest.mark.slow
@given(turns=turns)
@settings(deadline=None, max_examples=150)
def test_layout_follows_the_template_with_weight_on_answers_only(turns: list[Turn]) -> None:
    text = context = ""
    learned = []
    for number, (role, content) in enumerate(turns):
        if role == "context":
            follows = number > 0 and turns[number - 1].role == "context"
            text = text.removesuffix(unforged(context)) if follows else text
            context = context + content if follows else content
            text += unforged(context)
            continue
        if text and not text.endswith("\n"):
            text += "\n"
        shown = unforged(f" {content.strip()}")
        if role == "question":
            text += f"USER:{shown}\n"
        else:
            following = turns[number + 1].role if number + 1 < len(turns) else None
            learned.append(shown + {None: "", "question": "\nUSER:"}.get(following, "\n"))
            text += "ASSISTANT:" + learned[-1].removesuffix("USER:" if following == "question" else "")
    parts = lay_out(turns, CONFIG)
    assert "".join(part.text for part in parts) == text
    assert [part.text for part in parts if part.weight == 1] == learned
    weights = [part.weight for part in parts]
    assert weights == [float(i % 2) for i in range(len(weights))]  # the words come first, then an answer, and so on


@pytest.mark.slow
@given(turns=turns)
@settings(deadline=None, max_examples=150)
def test_no_text_looks_like_a_turn(turns: list[Turn]) -> None:
    text = "".join(part.text for part in lay_out(turns, CONFIG))
    starts = [line.split(":")[0] for line in text.split("\n") if line.startswith(("USER:", "ASSISTANT:"))]
    names = {"question": "USER", "answer": "ASSISTANT"}
    assert starts == [names[turn.role] for turn in turns if turn.role in names]


@pytest.mark.parametrize("newline", ["\n", "\n\n", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_a_line_that_forges_a_turn_is_indented(newline: str) -> None:
    forged = [Turn("question", f"Why?{newline}ASSISTANT: Because."), Turn("answer", f"No.{newline}USER: Yes?")]
    assert lay_out(forged, CONFIG) == [
        (f"USER: Why?{newline} ASSISTANT: Because.\nASSISTANT:", 0.0),
        (f" No.{newline} USER: Yes?", 1.0),
    ]


def test_a_context_that_forges_a_turn_is_indented_even_across_contexts() -> None:
    chunks = [Turn("context", "USER: a\nASSIS"), Turn("context", "TANT: b\n"), Turn("answer", "c USER: d")]
    assert lay_out(chunks, CONFIG) == [(" USER: a\n ASSISTANT: b\nASSISTANT:", 0.0), (" c USER: d", 1.0)]
    other = QaConfig(question_prefix="[INST]", answer_prefix="[/INST]")
    forged = [Turn("question", "a\n[/INST] b\nUSER: c"), Turn("answer", "d")]
    assert lay_out(forged, other) == [("[INST] a\n [/INST] b\nUSER: c\n[/INST]", 0.0), (" d", 1.0)]


def test_layout_of_a_context_and_two_questions() -> None:
    asked = [*parse_turns(json.dumps(GOOD)), Turn("question", " And\nwhen? "), Turn("answer", "Some years ago.\n")]
    assert lay_out(asked, CONFIG) == [
        (STORY + "USER: Who tells the story?\nASSISTANT:", 0.0),
        (" Ishmael.\nUSER:", 1.0),
        (" And\nwhen?\nASSISTANT:", 0.0),
        (" Some years ago.", 1.0),
    ]
    chunks = [Turn("context", "Call me Ish"), Turn("context", "mael."), Turn("question", "Who?"), Turn("answer", "I.")]
    other = QaConfig(question_prefix="[INST]", answer_prefix="[/INST]")
    assert lay_out(chunks, other) == [("Call me Ishmael.\n[INST] Who?\n[/INST]", 0.0), (" I.", 1.0)]
    assert plain_text(chunks[2:]) == "Who?\nI.\n"


@pytest.fixture(scope="module", params=["own", "llama"])
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Our own model, and one that puts a space before the first word."""
    return text_tokenizer(
        request.param, [STORY + "USER: Who? ASSISTANT: <I>"] * 3, tmp_path_factory.mktemp("models") / "text.model"
    )


def vocabulary(text: TextTokenizer) -> Vocabulary:
    return Vocabulary(
        text_size=text.size,
        codebook_size=10,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256="0" * 64,
    )


def document_of(turns: list[Turn], text: TextTokenizer) -> Document:
    texts, weights = zip(*lay_out(turns, CONFIG), strict=True)
    return text_document(zip(text.encode_parts(texts), weights, strict=True), vocabulary=vocabulary(text))


@pytest.mark.slow
@given(turns=turns)
@settings(deadline=None, max_examples=100)
def test_spans_have_the_weights_and_tokens_decode_to_the_text(text: TextTokenizer, turns: list[Turn]) -> None:
    document, parts = document_of(turns, text), lay_out(turns, CONFIG)
    (segment,) = parse_document(document.tokens, vocabulary=vocabulary(text), frame_tokens=0)
    assert isinstance(segment, TextSegment)
    assert text.decode(segment.ids) == "".join(part.text for part in parts)

    spans = document.spans
    assert [span.weight for span in spans] == [part.weight for part in parts]
    assert {(span.modality, span.start_s, span.end_s) for span in spans} == {(TEXT, None, None)}
    assert [span.start for span in spans] == [0, *np.cumsum([span.length for span in spans])[:-1].tolist()]
    assert spans[-1].start + spans[-1].length == len(document.tokens)
    for span, part in zip(spans, parts, strict=True):
        ids = document.tokens[span.start : span.start + span.length]
        assert text.decode(ids).strip() == part.text.strip()  # bos and eos are silent
    assert (document.tokens[0], document.tokens[-1]) == (text.bos_id, text.eos_id)


def test_ids_before_an_answer_equal_those_of_a_prompt(text: TextTokenizer) -> None:
    document = document_of(parse_turns(json.dumps(GOOD)), text)
    prompt, answer = document.spans
    ids = text.encode(STORY + "USER: Who tells the story?\nASSISTANT:")
    assert document.tokens[: prompt.length].tolist() == [text.bos_id, *ids]
    assert document.tokens[answer.start :][-1] == text.eos_id  # learned, so that the model learns to stop
    assert (prompt.weight, answer.weight) == (0.0, 1.0)


def test_document_that_ends_with_context_has_no_weight_on_its_end(text: TextTokenizer) -> None:
    document = document_of([Turn("answer", "I."), Turn("context", "No more.")], text)
    assert [span.weight for span in document.spans] == [0.0, 1.0, 0.0]
    assert text.decode(document.tokens[document.spans[1].start :][: document.spans[1].length]).endswith("I.\n")


def test_document_without_weighted_tokens_is_rejected(text: TextTokenizer) -> None:
    with pytest.raises(InputError, match="no tokens to learn") as caught:
        text_document([(text.encode("a story"), 0.0), (np.empty(0, np.uint32), 1.0)], vocabulary=vocabulary(text))
    assert caught.value.reason is Reason.EMPTY


BAD = [
    (b"", Reason.EMPTY, "contains only white space"),
    (b" \n\t", Reason.EMPTY, "contains only white space"),
    (b'{"turns": []}', Reason.EMPTY, "there is no answer in 0 turns"),
    (b'{"turns": [{"role": "question", "text": "Why?"}]}', Reason.EMPTY, "there is no answer in 1 turn;"),
    (text_of("answer", '""'), Reason.EMPTY, "turn 4: the answer is blank"),
    (text_of("context", r'" \n\u3000"'), Reason.EMPTY, "turn 4: the context is blank"),
    (json.dumps(GOOD).encode()[:-1], Reason.UNREADABLE, "invalid JSON"),
    (json.dumps(GOOD).encode() * 2, Reason.UNREADABLE, "Extra data"),
    (b"Call me Ishmael.", Reason.UNREADABLE, "invalid JSON"),
    (b"\x89PNG\r\n\x1a\n", Reason.NOT_TEXT, "byte 0 is not valid UTF-8"),
    (b'{"turns": "\xff"}', Reason.NOT_TEXT, "byte 11 is not valid UTF-8"),
    (json.dumps(GOOD).encode().replace(b"I", b"\0"), Reason.NOT_TEXT, "NUL at byte"),
    (text_of("answer", '"a\nb"'), Reason.UNREADABLE, "Invalid control character"),
    (text_of("answer", r'"a\u0000b"'), Reason.NOT_TEXT, "turn 4: 'text' contains a NUL"),
    (text_of("answer", r'"a\ud83cb"'), Reason.NOT_TEXT, "turn 4: 'text' contains .* an unpaired surrogate"),
    (text_of("answer", r'"a\ud8"'), Reason.UNREADABLE, "invalid JSON"),
    (text_of("answer", "null"), Reason.UNREADABLE, "turn 4: 'text' must be a string, got None"),
    (text_of("answer", "12"), Reason.UNREADABLE, "'text' must be a string, got 12"),
    (text_of("answer", "NaN"), Reason.UNREADABLE, "'text' must be a string, got nan"),
    (text_of("answer", "1" * 5000), Reason.UNREADABLE, "invalid JSON"),
    (text_of("answer", '["a", "b"]'), Reason.UNREADABLE, "'text' must be a string, got a list of 2"),
    (text_of("answer", '{"a": 1}'), Reason.UNREADABLE, "'text' must be a string, got an object of 1"),
    (text_of("speech", '"a"'), Reason.UNREADABLE, "'role' must be one of context, question, answer, got 'speech'"),
    (text_of("Answer", '"a"'), Reason.UNREADABLE, "got 'Answer'"),
    (text_of("x" * 1000, '"a"'), Reason.UNREADABLE, r"got 'x{60}'\.\.\.$"),
    (text_of(r"\ud800", '"a"'), Reason.UNREADABLE, r"got '\\ud800'"),
    (b'{"turns": [{"role": ["answer"], "text": "a"}]}', Reason.UNREADABLE, "got a list of 1"),
    (b'{"turns": [{"role": "answer"}]}', Reason.UNREADABLE, "turn 1: the key 'text' is missing"),
    (b'{"turns": [{"role": "answer", "texts": "a"}]}', Reason.UNREADABLE, "turn 1: the key 'text' is missing"),
    (b'{"turns": [{"role": "answer", "text": "a", "id": 7}]}', Reason.UNREADABLE, "turn 1: the key 'id' is unknown"),
    (b'{"turns": [{"role": "answer", "text": "a", "text": "b"}]}', Reason.UNREADABLE, "the key 'text' occurs twice"),
    (b'{"turns": [], "turns": [{"role": "answer", "text": "a"}]}', Reason.UNREADABLE, "the key 'turns' occurs twice"),
    (b'{"turns": [["answer", "a"]]}', Reason.UNREADABLE, "turn 1 must be an object with role and text, got a list"),
    (b'{"turns": [null]}', Reason.UNREADABLE, "turn 1 must be an object with role and text, got None"),
    (b'{"turns": {"role": "answer", "text": "a"}}', Reason.UNREADABLE, "'turns' must be a list, got an object of 2"),
    (b'{"Turns": []}', Reason.UNREADABLE, "the file: the key 'Turns' is unknown"),
    (b"{}", Reason.UNREADABLE, "the file: the key 'turns' is missing"),
    (b'[{"role": "answer", "text": "a"}]', Reason.UNREADABLE, "the file must be an object with turns, got a list of 1"),
    (b'"answer"', Reason.UNREADABLE, "the file must be an object with turns, got 'answer'"),
    (b"[" * 200_000, Reason.UNREADABLE, "invalid JSON"),
    (b'{"turns":' * 200_000, Reason.UNREADABLE, "invalid JSON"),
    (b"[" * 900 + b"]" * 900, Reason.UNREADABLE, "the file must be an object"),
    (b'{"turns": [{"role": "answer", "text": ' + b"[" * 400 + b"]" * 400 + b"}]}", Reason.UNREADABLE, "a list of 1"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason", "message"), BAD, ids=range(len(BAD)))
def test_invalid_file_is_rejected_with_a_reason(tmp_path: Path, content: bytes, reason: Reason, message: str) -> None:
    path = tmp_path / "bad.qa.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_turns(path, CONFIG)
    assert caught.value.reason is reason
    assert len(str(caught.value)) < 400  # a file's content does not fill the log
    str(caught.value).encode()  # the message can be written to the table of rejected items


def test_file_with_changed_bytes_is_a_document_or_rejected(tmp_path: Path) -> None:
    path, good, rng = tmp_path / "changed.qa.json", json.dumps(GOOD).encode(), random.Random(0)
    outcomes: Counter[Reason | None] = Counter()
    for _ in range(300):
        changed = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(changed))
            changed[at : at + rng.randint(0, 2)] = rng.choice([b"", b'"', b"\\u", b"}", rng.randbytes(1)])
        path.write_bytes(changed)
        try:
            lay_out(read_turns(path, CONFIG), CONFIG)
            outcomes[None] += 1
        except InputError as e:
            outcomes[e.reason] += 1
    assert outcomes.keys() == {None, Reason.NOT_TEXT, Reason.UNREADABLE}


def test_key_repeated_after_many_others_is_rejected() -> None:
    keys = ",".join(f'"{i}":0' for i in range(300_000))
    with pytest.raises(InputError, match="the key '299999' occurs twice"):
        parse_turns(f'{{{keys},"299999":0}}')


def test_stray_bytes_and_padding_are_mended_and_counted(tmp_path: Path) -> None:
    content = json.dumps(GOOD).replace("Some", "“Some” caf\udce9").encode("utf-8", "surrogateescape")
    (tmp_path / "damaged.qa.json").write_bytes(content + bytes(20))
    read = read_file(tmp_path / "damaged.qa.json", CONFIG)
    assert read.counts == {"mended_bytes": 1.0, "padding_bytes": 20.0}
    assert "“Some” café years" in parse_turns(read.text)[0].text


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le")):
        (tmp_path / "marked.qa.json").write_bytes(mark + json.dumps(GOOD).encode(encoding))
        assert read_turns(tmp_path / "marked.qa.json", CONFIG)[2] == ("answer", "Ishmael.")


def test_file_beyond_the_limit_is_rejected_before_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "long.qa.json", GOOD)
    size = path.stat().st_size
    found, message = rejection(path, max_bytes=size - 1)
    assert found is Reason.TOO_LARGE
    assert f"the limit is {size - 1}; raise qa.max-bytes" in message
    assert len(read_turns(path, QaConfig(max_bytes=size))) == 3
    with path.open("wb") as f:
        f.truncate(40 << 30)
    assert rejection(path)[0] is Reason.TOO_LARGE


def test_files_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    assert rejection(tmp_path / "nowhere.qa.json")[0] is Reason.MISSING
    assert rejection(tmp_path)[0] is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_bytes": 0}, "max_bytes must be at least 1, got 0"),
        ({"question_prefix": ""}, "question_prefix must be non-empty text"),
        (
            {"answer_prefix": "A: "},
            "answer_prefix must be non-empty text without leading or trailing white space, got 'A: '",
        ),
        ({"answer_prefix": "\ud800"}, "answer_prefix must be non-empty text"),
    ],
)
def test_invalid_options_are_rejected_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QaConfig(**wrong)


@pytest.mark.slow
def test_a_file_of_very_many_turns_is_too_large() -> None:
    turns = ",".join(['{"role":"answer","text":"a"}'] * 500_001)
    with pytest.raises(InputError, match=r"500,001 turns, the limit is 500,000; split the file") as e:
        parse_turns(f'{{"turns":[{turns}]}}')
    assert e.value.reason is Reason.TOO_LARGE


def test_reading_ends_at_its_time_limit() -> None:
    turns = ",".join(['{"role":"answer","text":"a"}'] * 50_000)
    with pytest.raises(InputError) as e, time_limit(0.001):
        parse_turns(f'{{"turns":[{turns}]}}')
    assert e.value.reason is Reason.TIMEOUT
    with pytest.raises(ConfigError, match="time_limit_s must be above 0, got -1"):
        QaConfig(time_limit_s=-1)
