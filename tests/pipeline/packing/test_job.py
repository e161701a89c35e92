"""The pack job on Beam, with synthetic token stores."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import pipeline.packing.job
from pipeline.cli.jobs import Pack
from pipeline.cli.place import Place
from pipeline.dataset.verify.verify import verify
from pipeline.dedup.block_list import BlockedItem, write_blocked
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.packing.mixture import Mixture
from pipeline.runtime.beam import Runner, run_packing
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.kept_tokenizer import keep_tokenizer
from pipeline.runtime.token_store import TokenStore, write_unit
from pipeline.runtime.workspace import Workspace
from schemas.dataset import DatasetCard, read_card
from schemas.errors import ConfigError, DatasetError, LongreelError, StorageError
from schemas.storage.location import located
from schemas.vocab import TEXT, VISION
from tests.support.servers.command_server import CommandServer
from tests.support.stored_files import file_of
from tests.support.token_stores import (
    FRAME,
    VOCABULARY,
    StoredDocument,
    book,
    image,
    qa,
    video,
    write_store,
    write_workspace,
)
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow

CONTEXT = 64
DOCUMENTS = [
    *(book(f"book {i}", 17 * i + 40) for i in range(8)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(12)),
    *(image(f"image {i}", caption=3 + i % 5) for i in range(12)),
    *(qa(f"qa {i}", [(3, 4 + i)] * 2) for i in range(6)),
    video("long", [40, 7, 90], cue=70),
    book("held out", 90, split="val"),
    video("held out too", [5], split="val"),
]
UNEVEN = PackConfig(
    mixture=Mixture(kind_epochs={"image": 0.5, "video": 2.3}, text_share=0.4, min_tokens=11),
    loss_weighting="document",
    shard_bytes=20_000,
    seed=7,
)
UNEVEN_OPTIONS = (
    "--mixture.kind-epochs image 0.5 video 2.3 --mixture.text-share 0.4 --mixture.min-tokens 11 "
    "--loss-weighting document --shard-bytes 20000 --seed 7"
)
SMALL = PackConfig(shard_bytes=20_000)


def run(
    workspace: Workspace,
    config: PackConfig = SMALL,
    *,
    context: int = CONTEXT,
    workers: int = 1,
    options: Sequence[str] = (),
) -> JobReport:
    stage = Stage(name=str(context), context_length=context, config=config)
    return pack(workspace, stage, Runner(workers, tuple(options)))


def files(directory: Path) -> dict[str, bytes]:
    """Return what the job writes; the data card is the command's."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.stem != "README")
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def card_of(workspace: Workspace, name: str | int = CONTEXT) -> DatasetCard:
    return read_card(workspace.packed(name).local())


def assert_whole(workspace: Workspace, name: str | int = CONTEXT, *, store: bool = True) -> None:
    tokens = TokenStore(workspace.tokens) if store else None
    assert [str(problem) for problem in verify(workspace.packed(name).local(), store=tokens).problems] == []


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """A server that runs commands in processes that can be killed."""
    server = CommandServer(tmp_path_factory.mktemp("commands") / "stderr")
    yield server
    server.close()


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], JobReport]:
    """The files of DOCUMENTS packed with UNEVEN, and the report of the job."""
    workspace = write_workspace(tmp_path_factory.mktemp("uneven") / "out", DOCUMENTS)
    report = run(workspace, UNEVEN)
    assert_whole(workspace, store=False)  # the mixture excludes documents of the store
    return files(workspace.packed(CONTEXT).local()), report


@pytest.mark.parametrize(
    ("units", "workers", "options"),
    [(3, 2, ()), (1, 1, ("--direct_runner_bundle_repeat=1",)), (16, 3, ())],
)
def test_bytes_do_not_depend_on_document_order_units_or_workers(
    units: int, workers: int, options: Sequence[str], uneven: tuple[dict[str, bytes], JobReport], tmp_path: Path
) -> None:
    shuffled = random.Random(units + workers).sample(DOCUMENTS, len(DOCUMENTS))
    workspace = write_workspace(tmp_path / "out", shuffled, units=units)
    report = run(workspace, UNEVEN, workers=workers, options=options)
    assert files(workspace.packed(CONTEXT).local()) == uneven[0]
    assert replace(report, seconds=0) == replace(uneven[1], seconds=0)


def test_bytes_do_not_depend_on_the_hash_seed(
    commands: CommandServer, uneven: tuple[dict[str, bytes], JobReport], tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "out", DOCUMENTS)
    command = ["pack", "--out", str(workspace.root), "--context", str(CONTEXT)]
    assert commands.run([*command, *UNEVEN_OPTIONS.split()]) == 0, commands.stderr.read_text()
    assert files(workspace.packed(CONTEXT).local()) == uneven[0]


@pytest.mark.campaign
def test_bytes_do_not_depend_on_processes(commands: CommandServer, tmp_path: Path) -> None:
    several = ["--", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    workspace = write_workspace(tmp_path / "out", DOCUMENTS)
    run(workspace)
    alone = files(workspace.packed(CONTEXT).local())
    other = write_workspace(tmp_path / "other", DOCUMENTS)
    command = ["pack", "--out", str(other.root), "--context", str(CONTEXT)]
    assert commands.run([*command, "--shard-bytes", "20000", *several]) == 0, commands.stderr.read_text()
    assert files(other.packed(CONTEXT).local()) == alone


def test_a_mixture_packs_the_requested_copies_and_its_counts_balance(
    uneven: tuple[dict[str, bytes], JobReport], tmp_path: Path
) -> None:
    documents = [
        *(replace(book(f"book {i}", 30), facts={"source": "web"}) for i in range(200)),
        *(video(f"video {i}", [2]) for i in range(100)),
        *(image(f"image {i}") for i in range(50)),
        *(book(f"held out {i}", 30, split="val") for i in range(20)),
    ]
    workspace = write_workspace(tmp_path / "out", documents)
    epochs = {"video": 2.25, "image": 0.0}
    report = run(workspace, PackConfig(mixture=Mixture(kind_epochs=epochs, source_epochs={"web": 0.5})))
    assert report.items == len(documents) == report.kept + sum(report.rejected.values())
    ledger = pq.read_table(file_of(workspace.packed(CONTEXT).local(), "documents.parquet"))
    taken = ledger.group_by(["split", "kind"]).aggregate([("document_id", "count_distinct")]).to_pylist()
    count = {(row["split"], row["kind"]): row["document_id_count_distinct"] for row in taken}
    assert count["val", "book"] == 20
    assert count["train", "video"] == 100
    assert ("train", "image") not in count
    assert count["train", "book"] == pytest.approx(100, abs=28)  # four standard deviations
    assert report.rejected == {"left out by the mixture": 50 + 200 - count["train", "book"]}
    copies = set(zip(ledger["document_id"].to_pylist(), ledger["copy"].to_pylist(), strict=True))
    more = sum(copy > 0 for _, copy in copies)
    assert more == report.facts["repetitions of documents"] == pytest.approx(125, abs=18)

    share = PackConfig(mixture=Mixture(text_share=0.16, kind_epochs=epochs))
    run(workspace, share)
    card = card_of(workspace).splits["train"]
    ledger = pq.read_table(
        file_of(workspace.packed(CONTEXT).local(), "documents.parquet"), filters=[("split", "=", "train")]
    )
    text = int(ledger["length"].to_numpy()[np.asarray(ledger["kind"]) == "book"].sum())
    assert text / card.tokens == pytest.approx(0.16, abs=0.03)
    run(workspace, replace(share, mixture=Mixture(text_share=0)))
    assert set(pq.read_table(file_of(workspace.packed(CONTEXT).local(), "documents.parquet"))["kind"].to_pylist()) == {
        "video",
        "image",
        "book",  # in the held-out split
    }


@pytest.mark.parametrize(
    ("documents", "mixture", "message"),
    [
        ([book("a", 30)], Mixture(text_share=0.16), "no video or image is left"),
        ([video("a", [3])], Mixture(text_share=0.16), "no book is left"),
        ([video("a", [3])], Mixture(min_tokens=1000), "no document to pack: 1 shorter than min_tokens"),
        ([book("a", 30)], Mixture(kind_epochs={"book": 0}), "no document to pack: 1 left out by the mixture"),
        ([book("a", 3), video("b", [2000])], Mixture(text_share=0.5), r"text_share 0\.5 .* at most 1000"),
        ([], Mixture(), "no document to pack"),
    ],
)
def test_an_impossible_mixture_raises(
    documents: list[StoredDocument], mixture: Mixture, message: str, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "out", documents)
    with pytest.raises(LongreelError, match=message):
        run(workspace, PackConfig(mixture=mixture))
    assert not workspace.packed(CONTEXT).local().exists()


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "out", DOCUMENTS)
    assert run(workspace).new == len(DOCUMENTS)
    assert_whole(workspace)
    before = {path: path.stat().st_mtime_ns for path in workspace.packed(CONTEXT).local().iterdir()}
    written = shards_noted(workspace)
    assert run(workspace).new == 0
    assert {path: path.stat().st_mtime_ns for path in workspace.packed(CONTEXT).local().iterdir()} == before
    assert shards_noted(workspace) == written == len(list(workspace.packed(CONTEXT).local().glob("*.tar")))
    assert not workspace.length_histograms(str(CONTEXT)).exists()
    assert run(workspace, replace(SMALL, attention="sequence")).new == len(DOCUMENTS)
    assert card_of(workspace).attention == "sequence"


def test_documents_on_the_block_list_are_not_packed(tmp_path: Path) -> None:
    workspace, gone = write_workspace(tmp_path / "out", DOCUMENTS), DOCUMENTS[0]
    write_blocked(workspace, "a", [BlockedItem(uri=gone.name, kind="book", takedown="a", document_id=gone.id)])
    report = run(workspace)
    assert (report.items, report.rejected["taken down"]) == (len(DOCUMENTS), 1)
    assert (
        gone.id
        not in pq.read_table(file_of(workspace.packed(CONTEXT).local(), "documents.parquet"))["document_id"].to_pylist()
    )
    assert verify(workspace.packed(CONTEXT).local(), store=TokenStore(workspace.tokens)).problems == ()


def shards_noted(workspace: Workspace) -> int:
    return sum(path.read_text().count('"shard"') for path in workspace.logs.local().glob("pack/*/shard-*.jsonl"))


STAGES = ("short", "256", "all")


def test_a_curriculum_packs_every_stage_from_one_store(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "out", DOCUMENTS)
    curriculum = tmp_path / "stages.toml"
    stages = (
        'name = "short"\ncontext = 32\nattention = "sequence"',
        "context = 256\nmin_tokens = 60\ntext_share = 0.2\n[stage.kind_epochs]\nimage = 0.0",
        'name = "all"\ncontext = 8192\nsentence_reach = 0.0',
    )
    curriculum.write_text("\n".join(f"[[stage]]\n{stage}" for stage in stages))
    Pack(place=Place(out=workspace.root), curriculum=str(curriculum))(())
    assert [card_of(workspace, name).context_length for name in STAGES] == [32, 256, 8192]
    for name in STAGES:
        assert_whole(workspace, name)
    before = {path: path.stat().st_mtime_ns for path in workspace.root.local().rglob("*.tar")}
    Pack(place=Place(out=workspace.root), curriculum=str(curriculum))(())
    assert {path: path.stat().st_mtime_ns for path in workspace.root.local().rglob("*.tar")} == before


def spoil(path: Path, harm: str) -> None:
    """Delete a file, truncate it, or flip a bit in the middle."""
    if harm == "missing":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if harm == "corrupt":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if harm == "truncated" else content)


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("*.arrow", "missing"),
        ("*.arrow", "truncated"),
        ("*.arrow", "corrupt"),
        ("*.parquet", "missing"),
        ("*.parquet", "truncated"),
    ],
)
def test_a_missing_truncated_or_corrupt_token_file_raises_with_its_path(
    pattern: str, harm: str, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "out", [book(f"book {i}", 2000) for i in range(20)])
    path = sorted(workspace.tokens.local().glob(pattern))[1]
    spoil(path, harm)
    with pytest.raises(DatasetError, match=rf"{re.escape(str(path))}.*(tokenize|the job that writes it again)"):
        run(workspace, context=1000)
    assert not list(workspace.root.local().rglob("dataset.json"))


@pytest.mark.parametrize("change", ["more", "fewer", "others"])
def test_a_store_that_changes_during_packing_raises(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = write_workspace(tmp_path / "out", [book(f"book {i}", 50) for i in range(20)])
    names = {"more": range(30), "fewer": range(10), "others": range(1, 21)}[change]

    def late(*args: Any, **options: Any) -> None:
        write_store(workspace.tokens, [book(f"book {i}", 50) for i in names])
        run_packing(*args, **options)

    monkeypatch.setattr(pipeline.packing.job, "run_packing", late)
    with pytest.raises(DatasetError, match=r"tokens/\d/unit-0000\d\.parquet changed while it was packed"):
        run(workspace)
    monkeypatch.undo()
    assert run(workspace).kept == len(names)
    assert_whole(workspace)


def of_length(kind: str, length: int) -> StoredDocument:
    """Return a book or a video of `length` tokens; videos of at most five tokens have no frame."""
    name = f"{kind} of {length}"
    if kind == "book" and length > 1:
        return book(name, length)
    if length <= FRAME:
        run = (TEXT, np.full(length, VOCABULARY.bos_id), None, None)
        return StoredDocument(name, kind, [run] if length else [], frame_tokens=0 if kind == "book" else FRAME)
    frames = (length - 4) // FRAME - 1  # after bos, <vision>, </vision> and eos
    return video(name, [frames], cue=length - 3 - frames * FRAME)


@pytest.mark.parametrize("kind", ["book", "video"])
def test_documents_of_all_lengths_are_packed_completely(kind: str, tmp_path: Path) -> None:
    lengths = (0, 1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 100 * CONTEXT)
    documents = [of_length(kind, length) for length in lengths]
    assert [len(document.tokens) for document in documents] == [*lengths]
    workspace = write_workspace(tmp_path / "out", documents)
    report = run(workspace, replace(SMALL, loss_weighting="document"))
    assert (report.items, report.rejected) == (7, {"empty": 1})
    assert_whole(workspace)
    card = card_of(workspace).splits["train"]
    assert (card.documents, card.tokens) == (6, sum(lengths))
    assert card.vision_tokens == sum(len(t) for d in documents for m, t, *_ in d.runs if m == VISION)


def test_a_corpus_smaller_than_the_context_is_one_sequence(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "out", [of_length("book", 1), of_length("video", 20)])
    run(workspace, context=1000)
    card = card_of(workspace, 1000).splits["train"]
    assert (card.sequences, card.shards, card.tokens, card.fill) == (1, 1, 21, 21 / 1000)
    assert_whole(workspace, 1000)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.campaign)])
def test_many_documents_of_one_token_are_packed(count: int, tmp_path: Path) -> None:
    one = of_length("book", 1)
    workspace, row = write_workspace(tmp_path / "out", [one], units=1), one.entry()
    rows = (replace(row, document_id=f"{i:064x}", kind=("book", "image")[i % 2]) for i in range(count))
    write_unit(workspace.tokens, 0, ((row, one.tokens) for row in rows), VOCABULARY.dtype)
    assert run(workspace, context=1000).kept == count
    card = card_of(workspace, 1000).splits["train"]
    assert (card.sequences, card.tokens, card.fill) == (count // 1000, count, 1.0)
    ledger = pq.read_table(file_of(workspace.packed(1000).local(), "documents.parquet"))
    assert len(ledger) == len(set(ledger["document_id"].to_pylist())) == count
    assert_whole(workspace, 1000, store=False)


def keep_trained(words: str, workspace: Workspace) -> TextTokenizer:
    path = train_text_tokenizer([words], workspace.root.local() / "new.model", TextTrainConfig(vocab_size=512))
    text = TextTokenizer.load(path)
    (workspace.root / "new.model").delete()
    keep_tokenizer(workspace, text.files)
    return text


@pytest.fixture
def sentences(tmp_path: Path) -> Workspace:
    """A workspace of books with sentences, and their text model."""
    words = "The clock struck one. Who was there? Nobody, as on any other day! It rained.\n"
    workspace = Workspace.open(tmp_path / "out", units=4)
    text = keep_trained(words, workspace)
    vocabulary = replace(VOCABULARY, text_size=text.size, text_sha256=text.sha256, bos_id=text.bos_id)
    books = [
        StoredDocument(f"b{i}", "book", [(TEXT, np.array(text.encode(words * (i + 3))), None, None)]) for i in range(9)
    ]
    return write_workspace(workspace.root.local(), books, units=4, vocabulary=vocabulary)


def test_books_are_cut_at_sentence_ends_and_need_the_text_tokenizer_of_their_tokens(
    sentences: Workspace, tmp_path: Path
) -> None:
    config = replace(SMALL, sentence_reach=0.25)
    run(sentences, config)
    assert_whole(sentences)
    text, store = TextTokenizer.load(sentences.text_tokenizer), TokenStore(sentences.tokens)
    rows = {row["document_id"]: row for row in store.table().to_pylist()}
    chunks = pq.read_table(file_of(sentences.packed(CONTEXT).local(), "documents.parquet")).to_pylist()
    starts = {(chunk["document_id"], chunk["document_start"] + chunk["length"]): chunk for chunk in chunks}
    cuts = [(rows[chunk["document_id"]], chunk["document_start"]) for chunk in chunks if chunk["document_start"]]
    assert len(cuts) > 10
    for row, at in cuts:
        words = text.decode(store.read(row["unit"], row["batch"], row["row"], 0, at))
        # No sentence is longer than the reach of 16 tokens, but the chunk before a cut keeps at least one token.
        assert words.rstrip()[-1] in ".?!" or starts[row["document_id"], at]["length"] <= 2 * 16
    assert sum(starts[row["document_id"], at]["length"] > 2 * 16 for row, at in cuts) > 5
    alone = files(sentences.packed(CONTEXT).local())
    shutil.rmtree(sentences.packed(CONTEXT).local())
    run(sentences, config, workers=2)
    assert files(sentences.packed(CONTEXT).local()) == alone

    dataset = sentences.packed(CONTEXT)
    folder = read_card(dataset).text_tokenizer_folder(located(dataset))
    assert folder is not None
    assert TextTokenizer.load(folder.local()).files == text.files
    keep_trained("Quite another text.", sentences)
    assert run(sentences, config).new == 0
    with pytest.raises(ConfigError, match=r"text is not the tokenizer that the text was tokenized with"):
        run(sentences, replace(config, seed=1))
    sentences.text_tokenizer.parent.delete_folder()
    with pytest.raises(ConfigError, match=r"text is missing.*--sentence-reach 0"):
        run(sentences, replace(config, seed=1))
    assert run(sentences, replace(config, seed=1, sentence_reach=0)).new == 9
    assert read_card(dataset).text_tokenizer == ()
    assert not folder.exists()
    assert_whole(sentences)


@pytest.mark.parametrize(
    ("limit", "file"),
    [(500, r"histograms/64/unit-0000\d\.parquet"), (30_000, r"packed/64/train-000000-of-000001\.tar")],
)
def test_a_full_disk_raises_and_the_next_run_resumes(limit: int, file: str, tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "out", DOCUMENTS)
    config = replace(SMALL, shard_bytes=1 << 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # bytes of a file
    try:
        with pytest.raises(StorageError, match=rf"cannot write .*/{file}: .* run the same command"):
            run(workspace, config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(workspace.root.local().rglob("*.tmp"))
    assert run(workspace, config).new == len(DOCUMENTS)
    assert_whole(workspace)


MANY = [*(book(f"b{i}", 30 + i % 700) for i in range(150)), *(video(f"v{i}", [1 + i % 9]) for i in range(250))]


@pytest.fixture(scope="module")
def undisturbed(commands: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The files of MANY packed without interruption, and the duration in seconds."""
    workspace = write_workspace(tmp_path_factory.mktemp("undisturbed") / "out", MANY, units=4)
    started = time.monotonic()
    assert commands.run(packing(workspace)) == 0
    return files(workspace.packed(512).local()), time.monotonic() - started


def packing(workspace: Workspace) -> list[str]:
    return ["pack", "--out", str(workspace.root), "--context", "512", "--shard-bytes", "20000"]


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.campaign)])
def test_a_job_that_is_killed_resumes_to_the_same_bytes(
    kills: int, commands: CommandServer, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    workspace = write_workspace(tmp_path / "out", MANY, units=4)
    moments, hits = random.Random(5), []
    while len(hits) < kills:
        wait = moments.uniform(0, 0.8 * seconds)

        def kill(child: int, wait: float = wait) -> None:
            time.sleep(wait)
            with suppress(ProcessLookupError):  # it has finished
                os.kill(child, signal.SIGKILL)

        if commands.run(packing(workspace), kill) == 0:
            assert files(workspace.packed(512).local()) == expected
            shutil.rmtree(workspace.packed(512).local())
        else:
            if (
                workspace.packed(512).local() / "dataset.json"
            ).exists():  # killed during commit, before the part files were deleted
                made = files(workspace.packed(512).local())
                assert {name: made[name] for name in made if not name.startswith(".parts")} == expected
            hits.append(wait)
    assert commands.run(packing(workspace)) == 0
    assert files(workspace.packed(512).local()) == expected
    assert_whole(workspace, 512)


def test_ctrl_c_stops_packing_and_the_same_command_resumes(
    commands: CommandServer, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "out", MANY, units=4)

    def interrupt(child: int) -> None:
        deadline = time.monotonic() + 60
        while not list(workspace.packed(512).local().glob("*.tar")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(child, signal.SIGINT)

    assert commands.run(packing(workspace), interrupt) == 130
    assert "Run the same command to resume" in commands.stderr.read_text()
    kept = {path: path.stat().st_mtime_ns for path in workspace.packed(512).local().glob("*.tar")}
    assert 0 < len(kept) < len([name for name in undisturbed[0] if name.endswith(".tar")])
    assert not (workspace.packed(512).local() / "dataset.json").exists()
    assert commands.run(packing(workspace)) == 0
    assert files(workspace.packed(512).local()) == undisturbed[0]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
