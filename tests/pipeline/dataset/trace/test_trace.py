from __future__ import annotations

import dataclasses
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import longreel
import tokenizer.codec
from pipeline.dataset.forget.forget import forget
from pipeline.dataset.reader import Sequences
from pipeline.dataset.trace.text_place import TextPlace, mark, place_in_text, place_in_tokens
from pipeline.dataset.trace.trace import document_rows, frame_place, read_traced, row_at, rows_of
from pipeline.text.transcripts import Cue
from pipeline.tokenize.interleave import Document, InterleaveConfig, book_document, video_document
from schemas.dataset import DatasetCard, read_card
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from schemas.vocab import VISION, Vocabulary
from tests.pipeline.dataset.verify.test_verify import reseal
from tests.support.packed_datasets import make_dataset
from tests.support.token_stores import StoredDocument
from tokenizer.codec import FrameCodec
from tokenizer.text.sentencepiece import TextTokenizer, TextTrainConfig, train_text_tokenizer

CONTEXT, GRID, RATE = 256, (8, 8), 2.0
WEIGHTS = Path(tokenizer.codec.__file__).parent / "weights" / "small-128.safetensors"
PAGES = [
    "".join(f"This is sentence {n} on page {p}. Its étude is “ß{n}”!\nIt goes on; 🎞 rolls.\n\n" for n in range(6))
    for p in range(4)
]
BOOK = "\f".join(PAGES)
CUES = [Cue(3.0, 4.0, "Look at that dog. It runs!"), Cue(6.0, 7.5, "Where to?")]
FRAMES = 20


@pytest.fixture(scope="module", params=["own", "llama"])
def any_text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A model of ours, and one that spells `<vision>` and puts a space before the first word."""
    path = tmp_path_factory.mktemp("models") / "text.model"
    if request.param == "own":
        return TextTokenizer.load(train_text_tokenizer([BOOK], path, TextTrainConfig(vocab_size=512)))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(BOOK.replace("\f", "\n").splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return TextTokenizer.load(path)


@dataclasses.dataclass(frozen=True)
class Made:
    """A dataset in a workspace's folders, and what went in."""

    dataset: Path
    text: TextTokenizer
    card: DatasetCard
    codes: NDArray[Any]

    @property
    def model(self) -> Path:
        return self.dataset.parents[1] / "tokenizers" / "text.model"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("out")
    text = TextTokenizer.load(
        train_text_tokenizer([BOOK], out / "tokenizers" / "text.model", TextTrainConfig(vocab_size=512))
    )
    vocabulary = Vocabulary(
        text_size=text.size,
        codebook_size=1024,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256=sha256_file(WEIGHTS),
    )
    codes = np.random.default_rng(0).integers(0, 1024, (FRAMES, 64))
    film = video_document(
        codes,
        frame_rate=RATE,
        captions=["A dog in a field."],
        cues=CUES,
        vocabulary=vocabulary,
        text=text,
        config=InterleaveConfig(caption_first=1),
        seed_identity="film",
    )
    book = book_document(text.encode(BOOK), vocabulary=vocabulary)
    documents = [
        stored("book", "book", book, title="A \x1b[31mred\x1b[0m book", source="a shelf"),
        stored("film", "video", film, license="CC-BY-4.0"),
        stored("short", "book", book_document(text.encode("Short. "), vocabulary=vocabulary)),
        stored("held out", "book", book_document(text.encode("Held out."), vocabulary=vocabulary), split="val"),
    ]
    dataset = make_dataset(out, documents, context=CONTEXT, vocabulary=vocabulary, grid=GRID, shard_bytes=10_000)
    card = read_card(dataset)
    assert len(list(dataset.glob("train-*.tar"))) >= 3
    return Made(dataset, text, card, codes)


def stored(name: str, kind: str, document: Document, *, split: str = "train", **facts: Any) -> StoredDocument:
    runs = [
        (span.modality, document.tokens[span.start : span.start + span.length], span.start_s, span.end_s)
        for span in document.spans
    ]
    return StoredDocument(name, kind, runs, frame_tokens=document.frame_tokens, split=split, facts=facts)


def traced(made: Made, uri: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the ledger's rows of a document and its sequence, in the document's order."""
    sequences = Sequences(made.dataset, made.card)
    rows = pq.read_table(made.dataset / "documents.parquet", filters=[("uri", "=", uri)]).to_pylist()
    for row in sorted(rows, key=lambda r: r["document_start"]):
        yield row, read_traced(sequences, rows_of(made.dataset, row["sequence"]), made.card)


def place(made: Made, row: dict[str, Any], offset: int) -> TextPlace:
    sequences = Sequences(made.dataset, made.card)
    document = document_rows(made.dataset, row)
    return place_in_text(row, offset, document, sequences, made.card.vocabulary, made.text)


def expected_place(text: str, before: bytes, token: bytes) -> tuple[int, int, int]:
    """Return character, line and page of what follows the bytes `before` of a text: the slow, obvious way."""
    character = len(before.decode(errors="ignore"))  # an unfinished character is where the token stands
    assert text.encode().startswith(before + token)
    return character, 1 + text[:character].count("\n"), 1 + text[:character].count("\f")


def test_a_book_cut_into_chunks_gives_character_line_and_page_of_every_token(made: Made) -> None:
    ids, chunks, seen = made.text.encode(BOOK), 0, 0
    for row, sample in traced(made, "files/book"):
        chunks += 1
        for offset in range(0, row["length"], 5):
            at = row["document_start"] + offset - 1  # bos stands before the text
            if not 0 <= at < len(ids):
                continue
            assert sample.tokens[row["start"] + offset] == ids[at]
            found = place(made, row, offset)
            before, token = made.text.surface(ids[:at]), made.text.surface(ids[at : at + 1])
            assert (found.character, found.line, found.page) == expected_place(BOOK, before, token)
            assert found.pages == len(PAGES)
            plain = re.sub("[⟦⟧]", "", found.sentence)
            assert re.sub(r"\s+|\\n|\\x0c", "", plain) in re.sub(r"\s+", "", BOOK)
            assert len(plain) < 80
            seen += 1
    assert chunks > 2
    assert seen > 100


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_token_of_any_text_is_found_where_it_stands(any_text: TextTokenizer, data: st.DataObject) -> None:
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
        assert shown == "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[found.character or 0 : end]
        )


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
def test_the_sentence_around_a_token_is_shown(left: str, token: str, right: str, expected: str) -> None:
    assert mark(left.encode(), token.encode(), right.encode()) == expected


def test_a_character_in_several_tokens_is_marked_whole() -> None:
    data = "aé漢b".encode()
    for at, expected in ((1, "é"), (2, "é"), (3, "漢"), (5, "漢")):
        assert f"⟦{expected}⟧" in mark(data[:at], data[at : at + 1], data[at + 1 :])
    assert mark(data[2:3], b"x", data[3:4]) == "⟦x⟧\ufffd"  # the window begins and ends within a character


def test_frames_of_a_cut_video_are_found_with_their_number_and_time(made: Made) -> None:
    numbers, chunks = [], set()
    for row, sample in traced(made, "files/film"):
        if row["modality"] != VISION:
            continue
        chunks.add(row["sequence"])
        document = document_rows(made.dataset, row)
        for token in range(row["start"], row["start"] + row["length"], 13):
            found = frame_place(row, document, token, made.card)
            codes = sample.tokens[found.start : found.start + 64] - made.text.size
            assert found.start <= token < found.start + 65
            assert np.array_equal(codes, made.codes[found.number])
            assert found.time_s == pytest.approx(found.number / RATE)
            assert found.frames == FRAMES
            numbers.append(found.number)
    assert len(chunks) > 2
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(FRAMES))


def a_frame(made: Made) -> tuple[str, int, int]:
    """Return KEY, token and number of a frame in the middle of the film."""
    for row, _ in traced(made, "files/film"):
        if row["modality"] == VISION and row["start_s"] >= 3:
            return row["sequence"], row["start"] + 70, round(row["start_s"] * RATE) + 1
    raise AssertionError


def test_a_token_of_a_frame_writes_the_frame(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = FrameCodec.load("small-128")
    monkeypatch.setattr(FrameCodec, "load", {"small-128": codec}.__getitem__)  # compiled once, not twice
    key, token, number = a_frame(made)
    picture = tmp_path / "picture.png"
    command = ["trace", str(made.dataset), "--key", key, "--token", str(token)]
    assert longreel.main(command) == 0
    assert "--out picture.png writes the frame" in capsys.readouterr().out
    assert longreel.main([*command, "--out", str(picture)]) == 0
    told = capsys.readouterr().out
    assert f"{number} of 0..{FRAMES - 1}" in told
    assert f"{number / RATE:.2f} s" in told
    assert "CC-BY-4.0" in told
    assert "files/film" in told
    with Image.open(picture) as image:
        shown = np.asarray(image)
    expected = codec.decode(made.codes[number : number + 1].astype(np.uint16))[0]
    assert shown.shape == (128, 128, 3)
    assert np.abs(shown.astype(int) - expected).max() <= 1  # a step between numbers of threads


def test_a_token_of_text_shows_the_sentence_with_title_license_line_and_page(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = made.text.encode(BOOK)
    at = len(made.text.encode(BOOK[: BOOK.index("sentence 3 on page 2")])) + 2
    row = next(r for r, _ in traced(made, "files/book") if r["document_start"] + r["length"] > at + 1)
    token = at + 1 - row["document_start"] + row["start"]
    shard = row["shard"].removesuffix(".tar")
    command = ["trace", str(made.dataset), "--key", row["sequence"], "--token", str(token), "--shard", shard]
    assert longreel.main(command) == 0
    told = re.sub("[⟦⟧]", "", capsys.readouterr().out)
    assert "This is sentence 3 on page 2." in told
    assert re.search(r"page +3 of 4", told)
    character = len(made.text.decode(ids[:at]))
    assert re.search(rf"character +{character:,} *\n", told)
    assert re.search(rf"line +{1 + BOOK[:character].count(chr(10))} *\n", told)
    assert "CC0-1.0" in told
    assert "a shelf" in told
    assert "A \\x1b[31mred\\x1b[0m book" in told
    assert "\x1b" not in told


def test_a_cue_is_shown_with_its_time_and_counted_from_its_own_first_character(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(r for r, _ in traced(made, "files/film") if r["modality"] != VISION and r["start_s"] == 3)
    last = row["length"] - len(made.card.vocabulary.begin_vision) - 1
    found = place(made, row, last)
    assert re.sub("[⟦⟧]", "", found.sentence) == "It runs!"
    assert found.character is not None
    assert CUES[0].text[found.character :] == found.sentence[found.sentence.index("⟦") + 1 : -1]
    assert (found.line, found.page, found.pages) == (1, 1, 1)
    token = str(row["start"] + last)
    assert longreel.main(["trace", str(made.dataset), "--key", row["sequence"], "--token", token]) == 0
    assert "3.00..4.00 s" in capsys.readouterr().out


def test_marks_of_structure_are_told_as_such(made: Made) -> None:
    told = {}
    for uri in ("files/book", "files/film"):
        for row, sample in traced(made, uri):
            for offset in range(row["length"] if row["modality"] != VISION else 0):
                found = place(made, row, offset) if offset in (0, row["length"] - 1) else None
                if found and found.character is None:
                    told[found.sentence] = int(sample.tokens[row["start"] + offset])
    vocabulary = made.card.vocabulary
    assert told == {
        "the document begins here": vocabulary.bos_id,
        "the document ends here": vocabulary.eos_id,
        "the mark <vision>, which begins frames": vocabulary.begin_vision[0],
        "the mark </vision>, which ends frames": vocabulary.end_vision[0],
    }


def test_without_a_token_all_spans_are_listed(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    key, _, _ = a_frame(made)
    assert longreel.main(["trace", str(made.dataset), "--key", key]) == 0
    told = capsys.readouterr().out
    rows = rows_of(made.dataset, key)
    assert all(f"{row['start']}..{row['start'] + row['length'] - 1}" in told for row in rows)
    assert "CC-BY-4.0" in told
    assert "\x1b" not in told


KEY = "val-000000000"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--key", KEY, "--token", "200"], "token 200 of val-000000000 is padding: its documents end at token"),
        (["--key", KEY, "--token", "256"], "token 256 lies outside val-000000000, which has the tokens 0..255"),
        (["--key", KEY, "--token", "-1"], "token -1 lies outside"),
        (["--key", "val-000000009"], "no sequence 'val-000000009'"),
        (["--key", KEY, "--shard", "train-000000-of-000001.tar"], "lies in val-000000-of-000001.tar, not in train"),
        (["--key", KEY, "--shard", "../../etc/passwd"], "not in ../../etc/passwd"),
        (["--key", KEY, "--out", "x.png"], "--out needs --token"),
        (["--key", KEY, "--token", "1", "--out", "x.png"], "token 1 of val-000000000 is text: --out is for frames"),
        (["--key", KEY, "--token", "1", "--text-model", "nowhere.model"], "nowhere.model cannot be read"),
    ],
)
def test_what_cannot_be_shown_is_a_clear_error(
    made: Made, options: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["trace", str(made.dataset), *options]) == 1
    assert what in capsys.readouterr().err


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Made:
    """Return a copy of the dataset outside of a workspace."""
    return dataclasses.replace(made, dataset=Path(shutil.copytree(made.dataset, tmp_path / "copy")))


def test_a_text_model_is_needed_outside_a_workspace_and_must_be_the_datasets(
    made: Made, copy: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["trace", str(copy.dataset), "--key", KEY, "--token", "2"]
    assert longreel.main(command) == 0
    assert "--text-model FILE shows it" in capsys.readouterr().out
    assert longreel.main([*command, "--text-model", str(made.model)]) == 0
    assert "⟧" in capsys.readouterr().out
    other = train_text_tokenizer(["other words"], tmp_path / "other.model", TextTrainConfig(vocab_size=512))
    assert longreel.main([*command, "--text-model", str(other)]) == 1
    assert "give that model with --text-model" in capsys.readouterr().err


def test_another_vqgan_than_the_datasets_is_refused(copy: Made, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = dataclasses.replace(copy.card.vocabulary, vision_sha256="0" * 64)
    (copy.dataset / "dataset.json").write_text(dataclasses.replace(copy.card, vocabulary=vocabulary).to_json())
    key, token, _ = a_frame(copy)
    picture = copy.dataset / "picture.png"
    command = ["trace", str(copy.dataset), "--key", key, "--token", str(token), "--out", str(picture)]
    assert longreel.main(command) == 1
    told = capsys.readouterr().err
    assert f"frames were encoded with {'0' * 64}" in told
    assert "--vision" in told
    assert not picture.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"document_id": "f" * 64}, "document ids are not those of the json"),
        ({"start": 1}, "the ledger's start of span 0 is 1"),
        ({"shard": "train-000001-of-000099.tar"}, "no shard 'train-000001-of-000099.tar'"),
        ({"shard": "../../val-000000-of-000001.tar"}, "no shard '../../val"),
        ({"shard": "train-000000"}, "no shard"),
        ({"document_start": 7}, "the ledger's document_start of span 0"),
        ({"split": "train"}, "the ledger's split is not val"),
    ],
)
def test_a_ledger_that_lies_is_not_repeated(copy: Made, change: dict[str, Any], what: str) -> None:
    path = copy.dataset / "documents.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        if row["sequence"] == KEY:
            row.update(change)
    pq.write_table(table.from_pylist(rows, table.schema), path)
    reseal(copy.dataset)
    lying = rows_of(copy.dataset, KEY)
    with pytest.raises(DatasetError, match=what):
        read_traced(Sequences(copy.dataset, copy.card), lying, copy.card)


def test_chunks_of_a_document_that_do_not_join_are_named(copy: Made) -> None:
    path = copy.dataset / "documents.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    chunks = [i for i, row in enumerate(rows) if row["uri"] == "files/book"]
    key = rows[chunks[0]]["sequence"]
    del rows[chunks[-1]], rows[chunks[1] - (chunks[1] > chunks[-1])]
    pq.write_table(table.from_pylist(rows, table.schema), path)
    row = next(r for r in rows_of(copy.dataset, key) if r["uri"] == "files/book")
    with pytest.raises(DatasetError, match="do not join at its token"):
        document_rows(copy.dataset, row)


def test_a_shard_that_is_cut_short_or_gone_is_named(copy: Made) -> None:
    rows = rows_of(copy.dataset, KEY)
    shard = copy.dataset / rows[0]["shard"]
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(DatasetError, match="cut short"):
        Sequences(copy.dataset, copy.card).read(shard.name, KEY)
    shard.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        Sequences(copy.dataset, copy.card).read(shard.name, KEY)
    with pytest.raises(ConfigError, match="is no key of the split val"):
        Sequences(copy.dataset, copy.card).read(shard.name, "train-000000000")


def test_tokens_are_traced_after_other_documents_were_forgotten(copy: Made) -> None:
    forget(copy.dataset, ["files/book"])
    left = dataclasses.replace(copy, card=read_card(copy.dataset))
    found = [frame_place(row, document_rows(left.dataset, row), row["start"], left.card).number
             for row, _ in traced(left, "files/film") if row["modality"] == VISION]  # fmt: skip
    assert found[0] == 0
    assert found == sorted(found)
    row, _ = next(traced(left, "files/short"))
    assert row_at(rows_of(left.dataset, row["sequence"]), row["start"], left.card) == row
    assert place(left, row, 1).character == 0
