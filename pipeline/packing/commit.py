"""Commit written shards as a dataset.

`begin` keeps the dataset that is in the directory, and what an interrupted run of the same plan has written. `commit`
writes the files that describe the shards, from the part files, and replaces the card (`pipeline.dataset.commit`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.dataset.commit import card_version, delete_leftovers, describe, replace_card
from pipeline.dataset.ledger import write_ledger
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import part_path, read_part
from schemas.dataset import SCHEMA_VERSION, DatasetCard, SplitCard, read_card
from schemas.dataset_files import LEDGER, PARTS, StoredFile, shard_number
from schemas.errors import DatasetError
from schemas.shards.index import ShardEntry, read_checked_index
from schemas.storage.location import Location
from schemas.tables import read_table
from schemas.vocab import TEXT, VISION


def is_current(directory: Location, fingerprint: str) -> bool:
    """Return whether the directory is a complete dataset of the plan with this fingerprint.

    Checks the card, the hash of the index and the size of each file; `longreel verify` checks the content.
    """
    try:
        card = read_card(directory)
        read_checked_index(directory, card)
        sizes_match = all(_size(directory / file.name) == file.filesize for file in card.stored)
        return card.fingerprint == fingerprint and sizes_match
    except (OSError, DatasetError):
        return False


def begin(directory: Location, fingerprint: str) -> str | None:
    """Prepare the directory for the shards of a plan; return the version of the card that `commit` replaces.

    Part files of the same plan are kept, so that an interrupted run can be resumed.
    """
    for part in (directory / PARTS).list("*.parquet"):
        try:
            read_part(directory, part.name, fingerprint=fingerprint)
        except DatasetError:
            part.delete()
    return card_version(directory)


def commit(
    directory: Location,
    plan: DatasetPlan,
    *,
    frame_grid: tuple[int, int],
    frame_size: int,
    frame_rate: float,
    text_tokenizer: tuple[StoredFile, ...],
    version: str | None,
) -> DatasetCard:
    """Commit the shards of `plan` as a dataset, in place of the one whose card has the `version`.

    Raises DatasetError if a shard is missing or a token count is wrong, StorageError if another command has replaced
    the card.
    """
    names = [name for split in plan.splits for name in plan.shard_names(split)]
    shards = [read_part(directory, name, fingerprint=plan.fingerprint) for name in names]
    tokens: dict[str, Counter[int]] = {split: Counter() for split in plan.splits}
    ledger = write_ledger(directory, _parts(directory, names, tokens))
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
        files={LEDGER: ledger},
        shards=tuple(shard.file for shard in shards),
        splits={split: _split_card(plan, split, shards, tokens[split]) for split in plan.splits},
        text_tokenizer=text_tokenizer,
    )
    card = describe(directory, card, shards)
    replace_card(directory, card, version=version)
    delete_leftovers(directory, card)
    return card


def _parts(directory: Location, names: list[str], tokens: dict[str, Counter[int]]) -> Iterator[pa.Table]:
    """Yield the rows of the part files, already sorted by sequence key; count the tokens by split and modality."""
    for name in names:
        part = read_table(part_path(directory, name)).replace_schema_metadata(None)
        counts = np.bincount(part["modality"].to_numpy(), part["length"].to_numpy(), minlength=2)
        tokens[shard_number(name)[0]].update({m: int(counts[m]) for m in (TEXT, VISION)})
        yield part


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


def _size(place: Location) -> int | None:
    found = place.stat()
    return found.size if found else None
