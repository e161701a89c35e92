"""A command line to pack a dataset and to remove items from it, in any store, for processes that tests kill.

pack TOKENS ADDRESS BYTES      pack the token store in the folder TOKENS, into shards of about so many BYTES
remove ADDRESS DOCUMENT ...    remove documents from the dataset
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.commit import delete_leftovers
from pipeline.dataset.removal.remove import remove_items
from pipeline.packing.commit import begin, commit, is_current
from pipeline.packing.config import PackConfig
from pipeline.packing.shards import write_shard
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.storage.location import Location
from tests.support.packing.local_packing import make_jobs, unit_tables


def main(arguments: Sequence[str]) -> int:
    """Run a command."""
    command, *values = arguments
    if command == "pack":
        pack_to(Path(values[0]), Location.parse(values[1]), shard_bytes=int(values[2]))
    else:
        remove_items(Location.parse(values[0]), values[1:])
    return 0


def pack_to(tokens: Path, directory: Location, *, shard_bytes: int) -> None:
    """Pack a token store, as the job does."""
    plan, jobs = make_jobs(unit_tables(tokens), PackConfig(shard_bytes=shard_bytes))
    if is_current(directory, plan.fingerprint):
        delete_leftovers(directory, read_card(directory))
        return
    version = begin(directory, plan.fingerprint)
    for job in jobs:
        write_shard(job, TokenStore(tokens), directory)
    commit(directory, plan, frame_grid=(2, 2), frame_size=32, frame_rate=1.0, text_tokenizer=(), version=version)
