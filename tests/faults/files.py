"""Every kind of file that Longreel reads back, and how it is read: what `test_bit_flips.py` damages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.removal.documents import read_batches
from pipeline.dataset.verify.verify import verify
from pipeline.dedup.key_runs import ENTRY, describe_run, read_partition
from pipeline.dedup.pairs import read_pairs
from pipeline.dedup.signature_table import ITEM, SignatureRows, read_samples
from pipeline.packing.chunks import documents_of
from pipeline.packing.commit import begin
from pipeline.packing.length_histograms import count_lengths, read_histograms, write_histograms
from pipeline.packing.mixture import Mixture
from pipeline.packing.shards import read_part, write_shard
from pipeline.runtime.kept_tokenizer import keep_tokenizer, record_of
from pipeline.runtime.manifest_file import read_listed, read_manifest_unit
from pipeline.runtime.settings import Settings, apply_settings
from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.selection import read_selection
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.text_tokenizer import text_tokenizer_of
from pipeline.tokenizer_jobs.training_set import read_training_table, write_training_table
from schemas.dataset import read_card
from schemas.errors import DatasetError
from schemas.files import read_array, write_array
from schemas.records import SIGNATURES, SURVEY, TOKENS
from schemas.runs.metrics import MetricsLog, read_metrics
from schemas.shards.index import read_checked_index
from schemas.storage.location import Location, located
from schemas.tables import read_table
from schemas.weight_files.tokenizer_files import TokenizerFiles
from tests.support.finished_workspace import write_finished_workspace
from tests.support.packing.local_packing import make_jobs, unit_tables
from tests.support.stored_files import file_of
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.checkpoints import checkpoint as weights_files
from trainer.data.shards import PackedSplit
from trainer.model.llama.config import debug
from trainer.run.checkpoint import Checkpoints, open_run
from trainer.run.description import Description
from trainer.run.retention import Retention

CONTEXT = 128


@dataclass(frozen=True)
class Kind:
    """A kind of file: its files, which are local, and the function that reads what they hold."""

    name: str
    places: Sequence[Location | Path]
    read: Callable[[], object]

    @property
    def files(self) -> list[Path]:
        return [located(place).local() for place in self.places]


def workspace_kinds(folder: Path) -> Iterator[Kind]:
    """Write a workspace to `folder`, and yield the kinds of its files."""
    workspace = write_finished_workspace(folder / "workspace")
    root, tokens = workspace.root, workspace.tokens
    apply_settings(workspace.root, {("survey", "max-bytes"): "1000", ("vision",): '"small-128"'}, reconfigure=False)
    keep_tokenizer(workspace, TokenizerFiles("tokenizer.model", np.random.default_rng(0).bytes(4000), {"bos": "<s>"}))
    yield Kind("workspace.json", [root / "workspace.json"], lambda: Workspace.existing(root))
    yield Kind("config.toml", [root / "config.toml"], lambda: Settings.read(root))
    yield Kind("manifest", [workspace.manifest], lambda: _manifest(workspace))
    yield Kind("survey", unit_files(workspace.survey), lambda: _rows(read_units(workspace.survey, SURVEY)))
    signatures = unit_files(workspace.signatures)
    yield Kind("signatures", signatures, lambda: _rows(read_units(workspace.signatures, SIGNATURES)))
    yield Kind("signatures, by item", signatures, lambda: [_signatures(path) for path in signatures])
    yield Kind("pairs", [workspace.pairs], lambda: read_pairs(workspace))
    yield Kind("selection", unit_files(workspace.selection), lambda: _rows(read_selection(workspace).rows))
    yield Kind("selection.json", [workspace.selection_marker], lambda: read_selection(workspace)[:2])
    yield Kind("quarantine", [workspace.quarantine], lambda: _rows(read_table(workspace.quarantine)))
    yield Kind("token index", unit_files(tokens), lambda: _rows(TokenStore(tokens).rows()))
    yield Kind("tokens", tokens.list("*.arrow"), lambda: _tokens(tokens))
    yield Kind("store.json", [tokens / "store.json"], lambda: StoreFacts.read(tokens))
    model, config = workspace.text_tokenizer.list(), TokenizeConfig()

    def kept() -> list[bytes]:
        return [path.read() for path in text_tokenizer_of(workspace, None, config).list()]

    yield Kind("text tokenizer", model, kept)
    yield Kind("text tokenizer's hashes", [record_of(workspace)], lambda: text_tokenizer_of(workspace, None, config))
    yield from _scratch_kinds(workspace, folder / "scratch")


def _scratch_kinds(workspace: Workspace, folder: Path) -> Iterator[Kind]:
    """Yield the kinds of intermediate files."""
    array, entries, histograms = folder / "items.npy", folder / "keys.u64", folder / "unit-00000.parquet"
    write_array(array, np.arange(400, dtype=np.int32))
    entries.write_bytes(np.arange(400, dtype=ENTRY).tobytes())
    runs = describe_run(np.zeros(400, np.uint8), np.arange(400, dtype=np.uint64), start=0)
    documents = documents_of(read_rows(unit_files(workspace.tokens)[0], TOKENS))
    counted = count_lengths(documents, Mixture(), context_length=64, text_factor=1.0, seed=0)
    write_histograms(located(histograms), counted)
    table = folder / "x.trained-on.parquet"
    write_training_table(table, [])
    yield Kind("intermediate arrays", [array], lambda: read_array(array).tobytes())
    yield Kind("hash keys", [entries], lambda: _entries(entries, runs))
    yield Kind("length histograms", [histograms], lambda: _histograms(histograms))
    yield Kind("training set of a tokenizer", [table], lambda: read_training_table(table))
    plan, jobs = make_jobs(unit_tables(workspace.tokens.local()))
    begin(located(folder / "packed"), plan.fingerprint)
    write_shard(jobs[0], TokenStore(workspace.tokens), located(folder / "packed"))
    part = next((folder / "packed" / ".parts").glob("*.parquet"))
    read = functools.partial(read_part, located(folder / "packed"), jobs[0].name, fingerprint=plan.fingerprint)
    yield Kind("parts of a dataset", [part], lambda: (read(), _rows(read_table(part))))


def dataset_kinds(folder: Path) -> Iterator[Kind]:
    """Write datasets to `folder`, and yield the kinds of their files."""
    packed = write_finished_workspace(folder / "packing").root.local() / "packed" / "64"
    shards = sorted(packed.glob("*.tar"))
    card, ledger = read_card(packed), file_of(packed, "documents.parquet")
    yield Kind("dataset.json", [packed / "dataset.json"], lambda: read_card(packed))
    yield Kind("index.json", [file_of(packed, "index.json")], lambda: read_checked_index(located(packed), card))
    yield Kind("ledger", [ledger], lambda: [_rows(batch) for batch in read_batches(located(ledger))])
    files = sorted(path for path in packed.iterdir() if path.is_file())
    yield Kind("any file of a dataset, verify", files, lambda: _verified(packed))
    yield Kind("shards, training", shards, lambda: _sequences(packed))
    training = write_dataset(folder / "training", context=CONTEXT)
    yield Kind("shards, training in ranges", sorted(training.glob("train*.tar")), lambda: _ranges(training))


def checkpoint_kinds(folder: Path) -> Iterator[Kind]:
    """Write a checkpoint and weights to `folder`, and yield the kinds of their files."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    params = {"a": jnp.arange(300, dtype=jnp.float32), "b": {"c": jnp.ones((8, 9), jnp.float32)}}
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), params)
    about = Description(
        model=debug(), vocabulary=VOCABULARY, context_length=CONTEXT, dataset_fingerprint="f", batch_size=2, seed=0
    )
    with Checkpoints(folder / "run", keep=Retention(newest=2)) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, params=params, optimizer=params, position={"next": step}, description=about)
    place = folder / "run" / "checkpoints" / "4"
    readers: dict[str, Callable[[Checkpoints], object]] = {
        "params": lambda run: _arrays(run.restore_params(4, like)),
        "optimizer": lambda run: _arrays(run.restore_optimizer(4, like)),
        "position": lambda run: run.restore_position(4),
        "description": lambda run: run.describe(4),
    }
    for item, read in readers.items():
        files = sorted(path for path in (place / item).rglob("*") if path.is_file())
        yield Kind(f"checkpoint, {item}", files, functools.partial(_opened, folder / "run", [read]))
    files = sorted(path for path in place.iterdir() if path.is_file())
    yield Kind("checkpoint, its own files", files, functools.partial(_opened, folder / "run", [*readers.values()]))
    metrics = folder / "run" / "metrics.jsonl"
    with MetricsLog(folder / "run", step=-1) as log:
        for step in range(20):
            log.write("train", step, {"loss": 5.0 / (step + 1)})
    yield Kind("metrics.jsonl", [metrics], lambda: _metrics(metrics))
    weights = folder / "tiny.safetensors"
    weights_files.save(weights, tiny_weights())
    yield Kind("weights of a tokenizer", [weights], lambda: _weights(weights))


def _rows(table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _manifest(workspace: Workspace) -> object:
    units = [read_manifest_unit(workspace, unit).items for unit in range(workspace.units)]
    return units, _rows(read_listed(workspace, ["uri", "kind"]))


def _entries(path: Path, runs: NDArray[Any]) -> object:
    return [entries.tolist() for entries in read_partition(located(path), runs, 0)]


def _signatures(path: Location) -> object:
    items = np.zeros(100, ITEM)
    items["unit"], items["row"] = unit_number(path), np.arange(100)
    found = read_samples(path.parent, [unit_number(path)], items)
    samples = [(group.items.tolist(), group.values.tobytes()) for group in found]
    with closing(SignatureRows(path.parent, items)) as rows:
        s = rows.read(0)
    return samples, s.content_id, s.kind, s.starts.tolist(), s.lengths.tolist(), s.samples


def _tokens(directory: Location) -> object:
    store = TokenStore(directory)
    places = [tuple(row[name] for name in ("unit", "batch", "row")) for row in store.table().to_pylist()]
    for unit in sorted({unit for unit, *_ in places}):
        store.check(unit)
    return [store.read(*place).tobytes() for place in places]


def _histograms(path: Path) -> object:
    found = read_histograms(located(path))
    return found.rows, found.digest, [(name, split.item.lengths.tolist()) for name, split in found.splits.items()]


def _verified(dataset: Path) -> str:
    """Verify a dataset, and raise its problems as the command does."""
    if problems := verify(dataset).problems:
        raise DatasetError("; ".join(map(str, problems)))
    return "OK"


def _sequences(dataset: Path) -> object:
    splits = [PackedSplit([dataset], name) for name in read_card(dataset).splits]
    return [[part.tobytes() for part in split.read(i)] for split in splits for i in range(len(split))]


def _ranges(dataset: Path) -> object:
    split, ranges = PackedSplit([dataset], "train"), np.array([[0, 16], [64, 81]])
    return [[part.tobytes() for part in split.read(i, ranges=ranges)] for i in range(len(split)) for _ in range(2)]


def _arrays(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def _opened(run: Path, readers: list[Callable[[Checkpoints], object]]) -> list[object]:
    with open_run(run) as checkpoints:
        return [read(checkpoints) for read in readers]


def _metrics(path: Path) -> object:
    """Read the metrics, and raise DatasetError if lines were dropped, which a run prints."""
    rows = read_metrics(path)
    if len(rows) < 20 and all(row["loss"] == 5.0 / (row["step"] + 1) for row in rows):
        raise DatasetError(f"damaged lines of {path} are dropped")
    return rows


def _weights(path: Path) -> object:
    loaded = weights_files.load(path)
    return loaded.config, _arrays(loaded.params), np.asarray(loaded.codebook).tobytes()
