from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.verify.verify import MOST_PROBLEMS, VerifyReport, verify
from pipeline.packing.config import PackConfig
from pipeline.packing.mixture import Mixture
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import DatasetCard, read_card, read_index, write_index
from schemas.shards.npy import npy
from schemas.shards.tar import end_of_archive, member
from schemas.vocab import VISION
from tests.support.packed_datasets import reseal
from tests.support.packing_cases import pack
from tests.support.token_stores import VOCABULARY, book, image, video, write_store

DOCUMENTS = [
    *(book(f"book {i}", 11 * i + 30) for i in range(4)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(5)),
    image("image"),
    video("long", [40, 7]),
    book("held out", 90, split="val"),
]
KEY = "train-000000001"  # a sequence in the first shard, and not its first
SHARD = "train-000000-of-000003.tar"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    pack(root, PackConfig(shard_bytes=16_000, seed=4), DOCUMENTS)  # a seed that puts frames and text into KEY
    assert (root / "packed" / SHARD).exists()
    return root


@pytest.fixture
def dataset(root: Path, tmp_path: Path) -> Path:
    """Return a dataset of one's own to spoil."""
    return Path(shutil.copytree(root / "packed", tmp_path / "packed"))


def named(report: VerifyReport, file: str, key: str, what: str) -> bool:
    return any(p.file == file and p.key == key and what in p.what for p in report.problems)


Members = dict[str, bytes]


def rewrite(directory: Path, change: Callable[[Members], Members], key: str = KEY) -> None:
    """Change the members of one sequence and write its shard, offsets and hashes anew."""
    shards = read_index(directory)
    for n, shard in enumerate(shards):
        samples: dict[str, Members] = {}
        with tarfile.open(directory / shard.url) as tar:
            for m in tar:
                samples.setdefault(m.name.split(".")[0], {})[m.name] = tar.extractfile(m).read()  # type: ignore[union-attr]
        if key not in samples:
            continue
        samples[key] = change(samples[key])
        blocks = [b"".join(member(*m) for m in some.items()) for some in samples.values()]
        offsets = np.cumsum([0, *map(len, blocks)]).tolist()
        data = b"".join(blocks) + end_of_archive(offsets[-1])
        (directory / shard.url).write_bytes(data)
        shards[n] = dataclasses.replace(shard, offsets=tuple(offsets), filesize=len(data), nsamples=len(samples))
    write_index(directory, shards)
    reseal(directory)


def array(part: str, edit: Callable[[Any], Any]) -> Callable[[Members], Members]:
    """Return a change of one array of a sequence."""

    def change(members: Members) -> Members:
        values = np.load(io.BytesIO(members[f"{KEY}.{part}.npy"])).copy()
        return members | {f"{KEY}.{part}.npy": npy(edit(values))}

    return change


def put(field: str | None, at: int | slice, value: object) -> Callable[[Any], Any]:
    """Return an edit of an array: `values[field][at] = value`."""

    def edit(values: Any) -> Any:
        (values if field is None else values[field])[at] = value
        return values

    return edit


def listing(edit: Callable[[list[Any]], Any]) -> Callable[[Members], Members]:
    """Return a change of the documents in KEY.json, in place."""

    def change(members: Members) -> Members:
        documents = json.loads(members[f"{KEY}.json"])["documents"]
        edit(documents)
        return members | {f"{KEY}.json": json.dumps({"documents": documents}, separators=(",", ":")).encode()}

    return change


def raw(part: str, data: bytes) -> Callable[[Members], Members]:
    return lambda members: members | {f"{KEY}.{part}": data}


def test_a_whole_dataset_has_no_problem(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(root / "packed", store=TokenStore(root / "tokens"), progress=lambda *at: seen.append(at))
    assert report.problems == ()
    assert report.found == 0
    size = sum(p.stat().st_size for p in (root / "packed").glob("*.tar"))
    assert seen[-1] == (size, size)
    assert report.tokens == sum(len(d.tokens) for d in DOCUMENTS)
    assert "OK: dataset verified: 4 shards" in report.summary()


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_changed_byte_anywhere_is_noticed(
    root: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(root / "packed", tmp_path_factory.mktemp("flip") / "packed"))
    path = data.draw(st.sampled_from(sorted(directory.iterdir())))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3, unique=True)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    report = verify(directory)
    assert report.found
    assert any(problem.file == path.name for problem in report.problems)
    shutil.rmtree(directory)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_garbage_under_right_hashes_is_never_a_crash(
    root: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(root / "packed", tmp_path_factory.mktemp("junk") / "packed"))
    path = data.draw(st.sampled_from(sorted(directory.glob("*.tar"))))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + 200] = data.draw(st.binary(min_size=1, max_size=200))
    path.write_bytes(content)
    reseal(directory)
    report = verify(directory, store=TokenStore(root / "tokens"))
    changed = content != (root / "packed" / path.name).read_bytes()
    assert bool(report.found) == changed
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (array("tokens", put(None, 3, VOCABULARY.size)), "token 3 is 72, outside the vocabulary of 72"),
        (array("tokens", lambda t: t[:-1]), "tokens.npy is not an .npy file of uint16 [64]"),
        (array("tokens", lambda t: t.astype(np.uint32)), "tokens.npy is not an .npy file of uint16 [64]"),
        (array("spans", lambda s: s[:0]), "there is no span"),
        (array("spans", put("length", 0, 0)), "a span has no tokens"),
        (array("spans", put("start", -1, 1)), "overlap or leave a gap"),
        (array("spans", put("weight", 0, np.nan)), "weight is negative or not finite"),
        (array("spans", put("modality", 0, 7)), "unknown modality"),
        (array("spans", put("document", -1, 9)), "document numbers"),
        (array("spans", lambda s: s[["start", "length"]].copy()), "spans.npy is not an .npy file"),
        (listing(lambda d: d[0].update(length=d[0]["length"] + 1)), "json lists chunks of"),
        (listing(lambda d: d[0].update(start=-1)), "out of range"),
        (listing(lambda d: d[0].update(start=10**30)), "out of range"),
        (listing(lambda d: d[0].update(id=5)), "not a chunk of a document"),
        (listing(lambda d: d.append("x")), "not a listing"),
        (raw("json", b"[" * 100_000), "not a listing"),
        (raw("json", b'{"documents": []}'), "not written as Longreel writes it"),
        (raw("json", b"\xff\xfe"), "not a listing"),
        (raw("tokens.npy", pickle.dumps([1, 2])), "tokens.npy is not an .npy file"),
        (raw("extra", b""), "bytes follow"),
        (lambda m: dict(reversed(m.items())), f"expected the normalized tar header of {KEY}.tokens.npy"),
        (lambda m: dict(list(m.items())[:2]), f"expected the normalized tar header of {KEY}.json"),
        (lambda m: {k.replace("1.", "7."): v for k, v in m.items()}, "expected the normalized tar header"),
    ],
)
def test_what_is_wrong_in_a_sequence_is_named(dataset: Path, change: Callable[[Members], Members], what: str) -> None:
    rewrite(dataset, change)
    report = verify(dataset)
    assert named(report, SHARD, KEY, what), report.problems


def test_a_pickle_inside_an_array_is_not_loaded(dataset: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([os.mkdir, str(tmp_path / "executed")], object), allow_pickle=True)
    rewrite(dataset, raw("spans.npy", stream.getvalue()))
    assert named(verify(dataset), SHARD, KEY, "spans.npy is not an .npy file")
    assert not (tmp_path / "executed").exists()


def first_span(dataset: Path, modality: int) -> int:
    with tarfile.open(dataset / SHARD) as tar:
        spans = np.load(io.BytesIO(tar.extractfile(f"{KEY}.spans.npy").read()))  # type: ignore[union-attr]
    return int(spans["start"][np.argmax(spans["modality"] == modality)])


@pytest.mark.parametrize(("modality", "token", "kind"), [(VISION, 7, "vision"), (0, VOCABULARY.eof, "text")])
def test_a_token_in_a_span_of_the_other_modality_is_named(dataset: Path, modality: int, token: int, kind: str) -> None:
    at = first_span(dataset, modality)
    rewrite(dataset, array("tokens", put(None, at, token)))
    assert named(verify(dataset), SHARD, KEY, f"token {at} is {token}, which does not belong in a {kind} span")


def test_padding_that_is_not_zero_is_named(dataset: Path) -> None:
    shard = "val-000000-of-000001.tar"
    with tarfile.open(dataset / shard) as tar:
        arrays = [m for m in tar if m.name.endswith("tokens.npy")]
        padded = [m for m in arrays if not np.load(io.BytesIO(tar.extractfile(m).read()))[-1]]  # type: ignore[union-attr]
    key = padded[0].name.split(".")[0]

    def change(members: Members) -> Members:
        tokens = np.load(io.BytesIO(members[f"{key}.tokens.npy"])).copy()
        assert tokens[-1] == 0
        tokens[-1] = 1
        return members | {f"{key}.tokens.npy": npy(tokens)}

    rewrite(dataset, change, key)
    assert named(verify(dataset), shard, key, "padding: token 63")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"0000444\0", b"0000644\0"), (b"ustar\x0000", b"ustar  \0"), (b"00000000000\0", b"00000000001\0")],
)
def test_a_tar_header_that_is_not_normalized_is_named(dataset: Path, old: bytes, new: bytes) -> None:
    path = dataset / SHARD
    start = read_index(dataset)[0].offsets[1]
    data = path.read_bytes()
    path.write_bytes(data[:start] + data[start:].replace(old, new, 1))
    reseal(dataset)
    assert named(verify(dataset), SHARD, KEY, f"expected the normalized tar header of {KEY}.tokens.npy")


@pytest.mark.parametrize(("at", "key", "what"), [(-1, "", "does not end in zeros"), (1, KEY, "not padded with zeros")])
def test_a_byte_that_should_be_zero_is_named(dataset: Path, at: int, key: str, what: str) -> None:
    path = dataset / SHARD
    data = bytearray(path.read_bytes())
    data[-1 if at < 0 else read_index(dataset)[0].offsets[2] - 1] = 1
    path.write_bytes(data)
    reseal(dataset)
    assert named(verify(dataset), SHARD, key, what)


@pytest.mark.parametrize(
    ("old", "new"), [('"frame_rate": 1.0', '"frame_rate": 2.0'), ("\n  ", "\n "), ("aaaa", "aaab")]
)
def test_a_card_edited_by_hand_is_named(dataset: Path, old: str, new: str) -> None:
    path = dataset / "dataset.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert named(verify(dataset), "dataset.json", "", "it was altered")


def test_a_shard_cut_short_names_the_sequences_that_are_lost(dataset: Path) -> None:
    shard = read_index(dataset)[0]
    os.truncate(dataset / SHARD, shard.offsets[1] + 100)
    report = verify(dataset)
    assert named(report, SHARD, "", f"it has {shard.offsets[1] + 100} bytes, the index says {shard.filesize}")
    assert not named(report, SHARD, "train-000000000", "")
    assert named(report, SHARD, KEY, "the shard ends at byte")
    assert named(report, SHARD, f"train-{shard.nsamples - 1:09d}", "the shard ends at byte")


@pytest.mark.parametrize("content", [b"", b"\0" * 10240, b"not a tar at all" * 2000])
def test_a_shard_of_junk_is_named(dataset: Path, content: bytes) -> None:
    (dataset / SHARD).write_bytes(content)
    assert named(verify(dataset), SHARD, "", "it was altered")


@pytest.mark.parametrize("name", ["dataset.json", "index.json", "documents.parquet", SHARD])
def test_a_missing_file_is_named(dataset: Path, name: str) -> None:
    (dataset / name).unlink()
    assert verify(dataset).problems[0].file == name or named(verify(dataset), name, "", "missing")


def test_an_extra_shard_is_named(dataset: Path) -> None:
    shutil.copy(dataset / SHARD, dataset / "train-000003-of-000004.tar")
    assert named(verify(dataset), "train-000003-of-000004.tar", "", "not in the index")


def test_a_directory_that_is_not_there_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert "no such dataset directory" in verify(tmp_path / "nowhere").problems[0].what


Rows = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows, i: rows.pop(i), "the ledger has"),
        (lambda rows, i: rows.insert(i, rows[i]), "the ledger has"),
        (lambda rows, i: rows[i].update(weight=0.5), "the ledger's weight of span 0 is 0.5, it is 1.0"),
        (lambda rows, i: rows[i].update(length=1), "the ledger's length of span 0 is 1"),
        (lambda rows, i: rows[i].update(document_start=999), "the ledger's document_start of span 0 is 999"),
        (lambda rows, i: rows[i].update(document_id="f" * 64), "document ids are not those of the json"),
        (lambda rows, i: rows[i].update(split="val"), "the ledger's split is not train"),
        (lambda rows, i: rows[i].update(kind="song"), "or a kind none of"),
        (lambda rows, i: rows[i].update(span=7), "the ledger's span of span 0 is 7"),
        (lambda rows, i: rows.insert(0, rows[i]), "its rows are not together"),
        (lambda rows, i: rows[i].update(sequence="train-000000099"), "the ledger has"),
    ],
)
def test_a_ledger_that_says_something_else_than_the_spans_is_named(
    dataset: Path, change: Callable[[Rows, int], Any], what: str
) -> None:
    path = dataset / "documents.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows, next(i for i, row in enumerate(rows) if row["sequence"] == KEY))
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", KEY, what), verify(dataset).problems


def test_ledger_rows_of_shards_that_are_not_there_are_named(dataset: Path) -> None:
    path = dataset / "documents.parquet"
    table = pq.read_table(path)
    more = table.slice(0, 1).set_column(1, table.schema.field(1), pa.array(["train-000009-of-000009.tar"]))
    pq.write_table(pa.concat_tables([table, more]), path)
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", "", "rows of shards that the index does not list")


def test_a_ledger_without_a_column_is_named(dataset: Path) -> None:
    path = dataset / "documents.parquet"
    pq.write_table(pq.read_table(path).drop_columns("license"), path)
    reseal(dataset)
    assert named(verify(dataset), "documents.parquet", "", "its columns are not")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sequences", 1), ("documents", 3), ("tokens", 5), ("text_tokens", 5), ("vision_tokens", 5), ("shards", 9),
     ("fill", 0.5), ("best_fill", 0.1), ("best_fill", 1.5)],
)  # fmt: skip
def test_a_card_that_counts_otherwise_is_named(dataset: Path, field: str, value: float) -> None:
    card = read_card(dataset)
    change: dict[str, Any] = {field: value}
    splits = {**card.splits, "train": dataclasses.replace(card.splits["train"], **change)}
    changed = dataclasses.replace(card, splits=splits)
    write_croissant(dataset, changed, read_index(dataset))
    (dataset / "dataset.json").write_text(changed.to_json())
    report = verify(dataset)
    assert report.found
    assert all(p.file == "dataset.json" and p.what.startswith("train: ") for p in report.problems)


@pytest.mark.parametrize(
    "change",
    [{"context_length": 128}, {"context_length": "64"}, {"context_length": 4}, {"index_sha256": 7}, {"splits": {}},
     {"loss_weighting": "row"}, {"frame_grid": ("a", 2)}, {"context_length": 10**30}],
)  # fmt: skip
def test_a_card_that_cannot_be_right_is_named(dataset: Path, change: dict[str, Any]) -> None:
    card: DatasetCard = dataclasses.replace(read_card(dataset), **change)
    (dataset / "dataset.json").write_text(card.to_json())
    assert verify(dataset).found


def index_of(url: str) -> bytes:
    """Return an index of one shard without sequences."""
    split = {"split": "train", "dataset": "train"}
    row = {"url": url, **split, "nsamples": 0, "filesize": 0, "sha256": "", "offsets": [0]}
    return json.dumps({"shardlist": [row]}).encode()


@pytest.mark.parametrize(
    "junk",
    [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"shardlist": [3]}', b'{"shardlist": 3}',
     index_of("../a.tar"), index_of("\0"), index_of("a.tar").replace(b"[0]", b'["0"]')],
)  # fmt: skip
@pytest.mark.parametrize("name", ["dataset.json", "index.json"])
def test_junk_in_place_of_json_is_named(dataset: Path, name: str, junk: bytes) -> None:
    (dataset / name).write_bytes(junk)
    assert verify(dataset).problems[0].file == name


def test_a_document_that_lies_in_two_places_is_named(dataset: Path) -> None:
    """The chunks of one sequence are said to be those of another, in the ledger too."""
    with tarfile.open(dataset / SHARD) as tar:
        members = {m.name.replace("000000000", "000000001", 1): tar.extractfile(m).read() for m in list(tar)[:3]}  # type: ignore[union-attr]
    rewrite(dataset, lambda _: members)
    path = dataset / "documents.parquet"
    table = pq.read_table(path)
    keys = table["sequence"]
    first, second = (pc.equal(keys, f"train-00000000{i}") for i in (0, 1))
    copied = table.filter(first)
    copied = copied.set_column(0, table.schema.field(0), pa.array([KEY] * len(copied)))
    others = table.filter(pc.and_(pc.invert(first), pc.invert(second)))
    pq.write_table(pa.concat_tables([table.filter(first), copied, others]), path)
    reseal(dataset)
    report = verify(dataset)
    assert any("a chunk begins at token" in p.what for p in report.problems), report.problems


def test_tokens_that_are_not_those_of_the_store_are_named(dataset: Path, root: Path) -> None:
    at = first_span(dataset, VISION)
    rewrite(dataset, array("tokens", put(None, at, VOCABULARY.text_size + 19)))
    rewritten = verify(dataset)
    assert rewritten.problems == ()  # a valid dataset, but of other tokens
    report = verify(dataset, store=TokenStore(root / "tokens"))
    assert named(report, SHARD, KEY, "are not the store's")


def test_documents_that_are_missing_or_not_in_the_store_are_named(root: Path, tmp_path: Path) -> None:
    more = write_store(tmp_path / "more", [*DOCUMENTS[1:], book("another", 40)])
    report = verify(root / "packed", store=more)
    assert any("is not in the token store" in p.what and DOCUMENTS[0].id in p.what for p in report.problems)
    assert any(p.what.endswith("0 of 40 tokens are there") for p in report.problems)


def test_only_the_first_problems_are_named_but_all_are_counted(tmp_path: Path) -> None:
    documents = [book(f"book {i}", 64) for i in range(150)]
    directory = pack(tmp_path, PackConfig(), documents)
    assert read_card(directory).splits["train"].sequences == 150
    data = (directory / "train-000000-of-000001.tar").read_bytes()
    (directory / "train-000000-of-000001.tar").write_bytes(data.replace(b"0000444\0", b"0000644\0"))
    report = verify(directory)
    assert len(report.problems) == MOST_PROBLEMS
    assert report.found == 151
    assert "151 problems, the first 100 named" in report.summary()


def test_documents_that_the_mixture_left_out_or_took_twice_are_as_they_should_be(tmp_path: Path) -> None:
    mixture = Mixture(kind_epochs={"book": 2.0, "image": 0.0}, min_tokens=40)
    directory = pack(tmp_path, PackConfig(mixture=mixture), DOCUMENTS)
    store = TokenStore(tmp_path / "tokens")
    card = read_card(directory)
    assert sum(card.left_out.values()) == sum(d.kind == "image" or len(d.tokens) < 40 for d in DOCUMENTS)
    assert verify(directory, store=store).problems == ()
    (directory / "dataset.json").write_text(dataclasses.replace(card, left_out={"empty": 9}).to_json())
    names = [d.id for d in DOCUMENTS if d.kind == "image" or len(d.tokens) < 40]
    problems = [p.what for p in verify(directory, store=store).problems]
    assert all(any(name in what and "0 of" in what for what in problems) for name in names)
    # The store's copy of a book is longer than what was packed of it.
    longer = [book("book 3", 80) if d.id == DOCUMENTS[3].id else d for d in DOCUMENTS]
    report = verify(directory, store=write_store(tmp_path / "longer", longer))
    assert any(f"document {DOCUMENTS[3].id}, copy 1, 63 of 80" in p.what for p in report.problems)
