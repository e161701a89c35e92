"""A command line to pack a dataset and to remove items from it, in any store, for processes that tests kill.

Both commands hold the lease of `workspace.json` next to the dataset meanwhile, as commands hold that of a workspace.

pack TOKENS ADDRESS BYTES      pack the token store in the folder TOKENS, into shards of about so many BYTES
remove ADDRESS DOCUMENT ...    remove documents from the dataset
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.commit import delete_leftovers
from pipeline.dataset.removal.remove import remove_items
from pipeline.packing.commit import begin, commit, is_current
from pipeline.packing.config import PackConfig
from pipeline.packing.shards import write_shard
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.errors import LongreelError
from schemas.storage.lease import lease
from schemas.storage.location import Location, located
from tests.support.packing.local_packing import make_jobs, unit_tables

LEASE_S = 3.0


def main(arguments: Sequence[str]) -> int:
    """Run a command; return 1 for an error that Longreel raises."""
    command, *values = arguments
    directory = Location.parse(values[1 if command == "pack" else 0])
    marker = directory.parent / "workspace.json"
    marker.write(b"{}")
    try:
        with lease(marker, owner=f"process {os.getpid()}", ttl_s=LEASE_S):
            if command == "pack":
                pack_to(Path(values[0]), directory, shard_bytes=int(values[2]))
            else:
                remove_items(directory, values[1:])
    except LongreelError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1
    return 0


def pack_to(tokens: Path, directory: Location, *, shard_bytes: int) -> None:
    """Pack a token store, as the job does."""
    plan, jobs = make_jobs(unit_tables(tokens), PackConfig(shard_bytes=shard_bytes))
    if is_current(directory, plan.fingerprint):
        delete_leftovers(directory, read_card(directory))
        return
    version = begin(directory, plan.fingerprint)
    for job in jobs:
        write_shard(job, TokenStore(located(tokens)), directory)
    commit(directory, plan, frame_grid=(2, 2), frame_size=32, frame_rate=1.0, text_tokenizer=(), version=version)
