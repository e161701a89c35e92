"""A workspace as a whole run leaves it, of rows, pairs, thumbnails and tokens that were made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.packing.config import PackConfig
from pipeline.runtime.beam import Runner
from pipeline.runtime.token_store import TokenStore, write_unit
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from schemas.records import SIGNATURES, SURVEY
from tests.support import token_stores
from tests.support.packing.local_packing import pack_documents
from tests.support.survey_rows import Row, book, broken, pair, video, webp, write_signatures, write_survey
from tests.support.token_stores import StoredDocument

UNITS = 3
CLIP, FILM, NOVEL = (
    replace(document, facts={"uri": document.name})
    for document in (
        token_stores.video("/v/clip.mp4", [4]),
        token_stores.video("/v/film.mp4", [12, 12], split="val"),
        token_stores.book("/b/novel.txt", 300),
    )
)
_GONE = {"uri": "/v/lost.mp4", "reason": "changed", "detail": "/v/lost.mp4 is not the file that was surveyed"}
LOST = StoredDocument("/v/lost.mp4", "video", [], facts=_GONE)
HEADER = {"start": 0, "end": 120, "reason": "boilerplate", "detail": "a header"}
FACTS = {"license": "CC0-1.0", "source": "a test"}

ROWS: dict[str, Row] = {
    row["uri"]: row
    for row in (
        video("/v/clip.mp4", document_id=CLIP.id, title="A <b>clip</b>", crop=[0, 20, 640, 320], **FACTS),
        video("/v/film.mp4", document_id=FILM.id, duration_s=3600.0, license="MIT", split="val"),
        video("/v/lost.mp4", document_id=LOST.id, measures={"brightness": 130.0, "sharpness": 7.5}),
        video("/v/small.mp4", width=320, height=180, measures={"brightness": 88.0, "sharpness": 2.5}, **FACTS),
        video("/v/copy.mp4", content_id=video("/v/film.mp4")["content_id"], width=320, height=180),
        video("/v/dark.mp4", measures={"brightness": 2.0, "sharpness": 0.1}, license="MIT"),
        video("/v/<script>alert(1)</script>.mp4", duration_s=0.25),
        broken("/v/gone.mp4", "missing", "no file at /v/gone.mp4"),
        broken("/v/cut.mp4", "unreadable", "moov atom not found"),
        book("/b/novel.txt", document_id=NOVEL.id, title="A novel", cuts=[HEADER], **FACTS),
        book("/b/edition.txt", language="fr", measures={"characters": 30_000.0, "words": 5_000.0}),
    )
}
PAIRS = [
    pair(ROWS["/v/clip.mp4"], ROWS["/v/small.mp4"]),
    pair(ROWS["/b/novel.txt"], ROWS["/b/edition.txt"], of_one=0.5, of_other=0.97),
]


def write_clips(workspace: Workspace) -> None:
    """Put two documents, clips of the item /v/clip.mp4, in the place of the one that it is."""
    unit = workspace.unit_of(CLIP.id)
    others = [d for d in (FILM, NOVEL, LOST) if workspace.unit_of(d.id) == unit]
    clips = [(replace(CLIP.entry(), document_id=f"{CLIP.id}#{n:05d}"), CLIP.tokens) for n in range(2)]
    write_unit(
        workspace.tokens, unit, [*((d.entry(), d.tokens) for d in others), *clips], token_stores.VOCABULARY.dtype
    )


def write_finished_workspace(root: Path, options: SelectConfig | None = None) -> Workspace:
    """Survey, dedup, select, tokenize and pack, as far as one can without a file."""
    workspace = Workspace.open(root, units=UNITS)
    rows = list(ROWS.values())
    write_survey(workspace, rows, PAIRS)
    seen = [row for row in rows if row["kind"] == "video" and row["content_id"]]
    write_signatures(workspace, [(row, webp((40 + 20 * n, 90, 200 - 20 * n))) for n, row in enumerate(seen)])
    select_items(workspace, options or SelectConfig(), Runner())
    config, tokens = PackConfig(shard_bytes=12_000), f"tokens/{UNITS}"
    pack_documents(root, [CLIP, FILM, NOVEL], config, name="packed/64", units=UNITS, tokens=tokens)
    token_stores.write_store(workspace.tokens, [CLIP, FILM, NOVEL, LOST], units=UNITS)
    token_stores.write_facts(workspace)
    write_quarantine(workspace)
    return workspace


def rows_of(workspace: Workspace) -> object:
    """Return the rows of survey and signatures, and the tokens, in an order that units do not change."""
    survey, signatures = read_units(workspace.survey, SURVEY), read_units(workspace.signatures, SIGNATURES)
    store = TokenStore(workspace.tokens)
    tokens = {
        row["document_id"]: store.read(row["unit"], row["batch"], row["row"]).tolist()
        for row in store.table().to_pylist()
    }
    return survey.sort_by("uri").to_pylist(), signatures.sort_by("content_id").to_pylist(), tokens
