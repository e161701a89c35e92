from __future__ import annotations

import hashlib
from pathlib import Path

from schemas.shards.index import checksum_of_sequence
from schemas.shards.tar import member
from schemas.shards.writer import ShardWriter


def test_the_index_entry_describes_the_file(tmp_path: Path) -> None:
    blocks = [member("a.json", b"{}"), member("b.json", b"{}") + member("b.npy", b"x" * 600)]
    with (tmp_path / "shard.tar").open("wb") as file:
        writer = ShardWriter(file)
        for block in blocks:
            writer.add(block)
        assert writer.sequences == 2
        entry = writer.close("shard.tar", "train")
    data = (tmp_path / "shard.tar").read_bytes()
    assert (entry.filesize, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [data[a:b] for a, b in zip(entry.offsets, entry.offsets[1:], strict=False)] == blocks
    assert entry.checksums == "".join(map(checksum_of_sequence, blocks))
    assert not any(data[entry.offsets[-1] :])


def test_an_empty_shard_has_one_offset(tmp_path: Path) -> None:
    with (tmp_path / "shard.tar").open("wb") as file:
        entry = ShardWriter(file).close("shard.tar", "val")
    assert (entry.nsamples, entry.offsets, entry.filesize) == (0, (0,), 10240)
