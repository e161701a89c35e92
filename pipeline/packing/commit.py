"""Commit written shards as a dataset.

`begin` deletes the card (`dataset.json`) of an older dataset before any shard is replaced. `commit` writes
`documents.parquet` and `index.json` from the part files, deletes stale shards, writes the card, and deletes the part
files last. At any time, a directory with a card is a complete dataset.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.ledger import write_ledger
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import part_path, read_part
from schemas.dataset import (
    CARD,
    INDEX,
    LEDGER,
    PARTS,
    SCHEMA_VERSION,
    DatasetCard,
    ShardEntry,
    SplitCard,
    read_card,
    read_index,
    write_index,
)
from schemas.errors import ConfigError, DatasetError, storage_errors
from schemas.files import write_text
from schemas.fingerprint import sha256_file
from schemas.tables import read_table
from schemas.vocab import TEXT, VISION

SHARD_PATTERN = re.compile(r"(train|val)-\d{6,}-of-\d{6,}\.tar")
_UNFINISHED_PATTERN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # left by `files.atomic` when a process is killed


def is_current(directory: Path, fingerprint: str) -> bool:
    """Return whether the directory is a complete dataset of the plan with this fingerprint.

    Checks the card, the hash of the index and the size of each shard; `longreel verify` checks the content. Returns
    False if part files remain, because the commit was interrupted.
    """
    try:
        card = read_card(directory)
        same = card.fingerprint == fingerprint and sha256_file(directory / INDEX) == card.index_sha256
        return (
            same
            and not (directory / PARTS).exists()
            and (directory / LEDGER).is_file()
            and all((directory / shard.url).stat().st_size == shard.filesize for shard in read_index(directory))
        )
    except (OSError, DatasetError):
        return False


def begin(directory: Path, fingerprint: str) -> None:
    """Prepare the directory for the shards of a plan; an existing dataset in it becomes incomplete.

    Part files of the same plan are kept, so that an interrupted run can be resumed. Raises ConfigError if the directory
    holds shards that Longreel did not write, because `commit` would delete them.
    """
    ours = any((directory / name).exists() for name in (CARD, INDEX, PARTS))
    if not ours and (foreign := _shards(directory)):
        raise ConfigError(f"{directory} holds {foreign[0].name} but no Longreel dataset; choose another folder")
    with storage_errors(directory):
        (directory / PARTS).mkdir(parents=True, exist_ok=True)
        (directory / CARD).unlink(missing_ok=True)
    for part in (directory / PARTS).glob("*.parquet"):
        try:
            read_part(directory, part.name, fingerprint=fingerprint)
        except DatasetError:
            part.unlink()


def commit(
    directory: Path, plan: DatasetPlan, *, frame_grid: tuple[int, int], frame_size: int, frame_rate: float
) -> DatasetCard:
    """Commit the shards of `plan` as a dataset; raises DatasetError if a shard is missing or a token count is wrong."""
    names = {split: plan.shard_names(split) for split in plan.splits}
    shards = [read_part(directory, name, fingerprint=plan.fingerprint) for some in names.values() for name in some]
    tokens = _write_ledger(directory, [shard.url for shard in shards])
    splits = {split: _split_card(plan, split, shards, tokens[split]) for split in plan.splits}
    write_index(directory, shards)
    card = DatasetCard(
        schema_version=SCHEMA_VERSION,
        context_length=plan.context_length,
        vocabulary=plan.vocabulary,
        frame_grid=frame_grid,
        frame_size=frame_size,
        frame_rate=frame_rate,
        loss_weighting=plan.config.loss_weighting,
        attention=plan.config.attention,
        mixture=dataclasses.asdict(plan.config.mixture),
        left_out=plan.excluded,
        fingerprint=plan.fingerprint,
        ledger_sha256=sha256_file(directory / LEDGER),
        index_sha256=sha256_file(directory / INDEX),
        splits=splits,
    )
    write_croissant(directory, card, shards)
    _remove_stale(directory, {shard.url for shard in shards})
    write_text(directory / CARD, card.to_json())
    shutil.rmtree(directory / PARTS)
    return card


def _write_ledger(directory: Path, names: list[str]) -> dict[str, Counter[int]]:
    """Concatenate the part files, already sorted by sequence key; return the token counts by split and modality."""
    tokens: dict[str, Counter[int]] = {}

    def parts() -> Iterator[pa.Table]:
        for name in names:
            part = read_table(part_path(directory, name)).replace_schema_metadata(None)
            counts = np.bincount(part["modality"].to_numpy(), part["length"].to_numpy(), minlength=2)
            tokens.setdefault(name.split("-")[0], Counter()).update({m: int(counts[m]) for m in (TEXT, VISION)})
            yield part

    write_ledger(directory / LEDGER, parts())
    return tokens


def _split_card(plan: DatasetPlan, split: str, shards: list[ShardEntry], tokens: Counter[int]) -> SplitCard:
    part = plan.splits[split]
    mine = [shard for shard in shards if shard.split == split]
    if tokens.total() != part.tokens or sum(shard.nsamples for shard in mine) != part.sequences:
        raise DatasetError(
            f"internal error: {tokens.total()} tokens of split {split} were written but {part.tokens} planned; "
            "please report this with the log file"
        )
    return SplitCard(
        sequences=part.sequences,
        shards=len(mine),
        documents=part.documents,
        tokens=part.tokens,
        text_tokens=tokens[TEXT],
        vision_tokens=tokens[VISION],
        fill=plan.fill(split),
        best_fill=plan.best_fill(split),
    )


def _remove_stale(directory: Path, keep: set[str]) -> None:
    unfinished = [p for p in directory.iterdir() if p.is_file() and _UNFINISHED_PATTERN.fullmatch(p.name)]
    for path in [*(p for p in _shards(directory) if p.name not in keep), *unfinished]:
        path.unlink()


def _shards(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(p for p in directory.iterdir() if SHARD_PATTERN.fullmatch(p.name))
