from __future__ import annotations

from pathlib import Path

from pipeline.packing.config import PackConfig
from pipeline.packing.plan import VERSION
from schemas.dataset import read_index
from tests.support.golden import check_golden
from tests.support.local_packing import pack_documents
from tests.support.token_stores import book, image, qa, video

DOCUMENTS = [
    *(book(f"book {i}", 11 * i + 30) for i in range(4)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(5)),
    image("image"),
    video("long", [40, 7]),
    qa("qa", [(3, 4), (5, 2)]),
    book("held out", 90, split="val"),
]


def test_packed_bytes_of_this_version_are_unchanged(tmp_path: Path) -> None:
    directory = pack_documents(tmp_path, DOCUMENTS, PackConfig(shard_bytes=16_000))
    check_golden("packed_shards", VERSION, {shard.url: shard.sha256 for shard in read_index(directory)})
