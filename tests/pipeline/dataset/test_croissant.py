from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import mlcroissant
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.croissant import croissant_json, tokens_by_license
from pipeline.dataset.verify.verify import verify
from schemas.dataset import read_card
from schemas.dataset_files import CARD, CROISSANT, plain_name
from schemas.fingerprint import sha256_file
from schemas.records import LEDGER
from schemas.storage.location import located
from tests.support.datasets.altered_datasets import named
from tests.support.datasets.packed_datasets import make_dataset
from tests.support.stored_files import file_of, index_of, stored_file
from tests.support.token_stores import StoredDocument, book, image, video

# mlcroissant uses deprecated functions of rdflib and pandas.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),
]
ODD = 'License "ä" \\ \n 5'


def licensed(document: StoredDocument, license: str | None) -> StoredDocument:
    return dataclasses.replace(document, facts={"license": license})


DOCUMENTS = [
    *(licensed(book(f"book {i}", 30 + 9 * i), "CC-BY-4.0" if i % 2 else None) for i in range(4)),
    video("video", [4, 5]),
    licensed(image("image"), ODD),
    book("held out", 90, split="val"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("croissant"), DOCUMENTS)


@pytest.fixture(scope="module")
def metadata(dataset: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file_of(dataset, "croissant.json").read_text())
    return values


def test_mlcroissant_reports_no_error_and_warns_only_about_fields_for_the_publisher(dataset: Path) -> None:
    read = mlcroissant.Dataset(jsonld=file_of(dataset, "croissant.json"))
    issues = read.metadata.ctx.issues
    assert not issues.errors
    missing = {"citeAs", "datePublished"}
    assert len(issues.warnings) == len(missing)
    assert all(any(f'{name}" is recommended' in w for name in missing) for w in issues.warnings)


def test_mlcroissant_accepts_the_metadata_as_a_json_object(metadata: dict[str, Any]) -> None:
    assert not mlcroissant.Dataset(jsonld=metadata).metadata.ctx.issues.errors


def test_mlcroissant_reads_the_rows_of_the_ledger(dataset: Path) -> None:
    records = list(mlcroissant.Dataset(jsonld=file_of(dataset, "croissant.json")).records("spans"))
    rows = pq.read_table(file_of(dataset, "documents.parquet")).to_pylist()
    plain = [{k: v.decode() if isinstance(v, bytes) else v for k, v in record.items()} for record in records]
    assert plain == [{f"spans/{name}": row[name] for name in LEDGER.names} for row in rows]


def test_mlcroissant_reads_the_shards_of_the_index(dataset: Path) -> None:
    records = list(mlcroissant.Dataset(jsonld=file_of(dataset, "croissant.json")).records("shards"))
    found = [(r["shards/url"].decode(), r["shards/nsamples"], r["shards/sha256"].decode()) for r in records]
    assert found == [(shard.url, shard.nsamples, shard.sha256) for shard in index_of(dataset)]


def test_every_file_but_the_card_is_listed_with_its_size_and_hash(dataset: Path, metadata: dict[str, Any]) -> None:
    listed = {file["contentUrl"]: (file["contentSize"], file["sha256"]) for file in metadata["distribution"]}
    files = [path for path in dataset.iterdir() if plain_name(path.name) not in (CROISSANT, CARD)]
    assert listed == {path.name: (f"{path.stat().st_size} B", sha256_file(path)) for path in files}


def test_the_licenses_of_the_documents_are_listed_with_their_tokens(dataset: Path, metadata: dict[str, Any]) -> None:
    assert metadata["license"] == sorted(["CC-BY-4.0", "CC0-1.0", ODD])
    expected: dict[str | None, int] = {}
    for document in DOCUMENTS:
        license = document.row()["license"]
        expected[license] = expected.get(license, 0) + len(document.tokens)
    assert tokens_by_license(located(file_of(dataset, "documents.parquet"))) == expected
    assert f"unknown {expected[None]:,}, CC-BY-4.0 {expected['CC-BY-4.0']:,}" in metadata["description"]


def test_the_description_has_the_words_of_earlier_datasets_with_which_verify_compares_it(
    dataset: Path, metadata: dict[str, Any]
) -> None:
    for name, split in read_card(dataset).splits.items():
        parts = f"{split.text_tokens:,} text, {split.vision_tokens:,} vision"
        text = (
            f"{name}: {split.sequences:,} sequences, {split.tokens:,} tokens ({parts}) of {split.documents:,} documents"
        )
        assert text in metadata["description"]


def test_the_metadata_depends_only_on_the_dataset(dataset: Path, tmp_path: Path) -> None:
    again = make_dataset(tmp_path, DOCUMENTS[::-1])
    assert file_of(again, "croissant.json").read_bytes() == file_of(dataset, "croissant.json").read_bytes()
    text = croissant_json(located(dataset), read_card(dataset))
    assert text.encode() == file_of(dataset, "croissant.json").read_bytes()


def test_verify_reports_the_metadata_of_another_dataset(dataset: Path, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, DOCUMENTS[1:])
    assert verify(other).problems == ()
    shutil.copy(file_of(dataset, CROISSANT), file_of(other, CROISSANT))
    assert named(verify(other), CROISSANT, "", "it was modified: its SHA-256 is")
    card = read_card(other)
    card = dataclasses.replace(card, files={**card.files, CROISSANT: stored_file(other, CROISSANT)})
    (other / CARD).write_text(card.to_json())
    assert [(p.file, p.what) for p in verify(other).problems] == [
        (card.files[CROISSANT].name, "it differs from the card, the index and the ledger")
    ]


def test_duckdb_and_pandas_read_the_ledger(dataset: Path) -> None:
    """Count the tokens and documents by license and kind."""
    sql = f"""
        SELECT license, kind, sum(length)::BIGINT AS tokens, count(DISTINCT document_id) AS documents
        FROM '{dataset}/documents-*.parquet'
        GROUP BY license, kind ORDER BY license, kind
    """
    by_sql = {(license, kind): (tokens, n) for license, kind, tokens, n in duckdb.sql(sql).fetchall()}
    frame = pd.read_parquet(file_of(dataset, "documents.parquet"))
    groups = frame.groupby(["license", "kind"], dropna=False)
    by_pandas = {
        (None if pd.isna(license) else license, kind): (int(group["length"].sum()), group["document_id"].nunique())
        for (license, kind), group in groups
    }
    expected: dict[tuple[str | None, str], tuple[int, int]] = {}
    for document in DOCUMENTS:
        key = document.row()["license"], document.kind
        tokens, count = expected.get(key, (0, 0))
        expected[key] = tokens + len(document.tokens), count + 1
    assert by_sql == expected
    assert by_pandas == expected


def test_duckdb_joins_the_ledger_with_the_card(dataset: Path) -> None:
    sql = f"""
        WITH shards AS (SELECT unnest(shardlist, recursive := true) FROM '{dataset}/dataset.json')
        SELECT shards.url, any_value(shards.nsamples), count(DISTINCT spans.sequence)
        FROM shards JOIN '{dataset}/documents-*.parquet' AS spans ON spans.shard = shards.url
        GROUP BY shards.url ORDER BY shards.url
    """
    rows = duckdb.sql(sql).fetchall()
    assert [url for url, _, _ in rows] == sorted(shard.url for shard in index_of(dataset))
    assert all(listed == counted for _, listed, counted in rows)
