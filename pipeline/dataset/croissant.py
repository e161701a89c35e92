"""Croissant metadata (MLCommons, version 1.0) of a packed dataset: `croissant.json`, for catalogs and other loaders.

It lists every file but the card, which names this one, with its size and SHA-256; the licenses of the documents with
their numbers of tokens; and two record sets: `spans`, the columns of the ledger, and `shards`, the rows of the index.

The file depends only on the dataset; it contains no date, path or user name. The publisher of a dataset can add
`citeAs`, `datePublished` and `url`, which Croissant recommends.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa

from schemas.dataset import DatasetCard
from schemas.dataset_files import INDEX, LEDGER, StoredFile
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.storage.location import Location
from schemas.tables import open_table

SPANS, SHARDS = "spans", "shards"  # the record sets
_SHARD_COLUMNS = {"url": "Text", "split": "Text", "nsamples": "Integer", "filesize": "Integer", "sha256": "Text"}
_FILES = {
    INDEX: ("application/json", "The shard index (wids), with the byte offset of every sequence."),
    LEDGER: (
        "application/x-parquet",
        "The ledger: document, source, license and time range of every span of every sequence.",
    ),
}
# "1 sequences" stays: `verify` makes the text again and compares it with that of datasets packed earlier.
_SPLIT = (
    "{name}: {sequences:,} sequences, {tokens:,} tokens ({text:,} text, {vision:,} vision) of {documents:,} documents"
)
_SHARD_TEXT = "A shard in the format of webdataset: each sequence is KEY.tokens.npy, KEY.spans.npy and KEY.json."
# The context of the specification; mlcroissant warns about any other.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant_json(directory: Location, card: DatasetCard) -> str:
    """Return the Croissant metadata, which depends only on the card, without its entry of this file, and the ledger."""
    licenses = tokens_by_license(card.file(directory, LEDGER))
    metadata = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"longreel-{card.context_length}-{card.fingerprint[:8]}",
        "version": f"{card.schema_version}.0.0",
        "description": _description(card, licenses),
        "license": sorted(license for license in licenses if license),
        "distribution": [_file(file, *_FILES[name]) for name, file in sorted(card.files.items()) if name in _FILES]
        + [_file(shard, "application/x-tar", _SHARD_TEXT) for shard in card.shards],
        "recordSet": [_spans(card.files[LEDGER].name), _shards(card.files[INDEX].name)],
    }
    return json.dumps(metadata, indent=1, ensure_ascii=True) + "\n"


def tokens_by_license(ledger: Location) -> Counter[str | None]:
    """Return the number of tokens by license, in bounded memory; None stands for documents without a license."""
    counts: Counter[str | None] = Counter()
    with open_table(ledger) as file:
        for batch in file.iter_batches(1 << 20, columns=["license", "length"]):
            sums = pa.Table.from_batches([batch]).group_by("license").aggregate([("length", "sum")])
            for license, tokens in zip(sums["license"].to_pylist(), sums["length_sum"].to_pylist(), strict=True):
                counts[license] += tokens
    return counts


def _description(card: DatasetCard, licenses: Counter[str | None]) -> str:
    splits = [
        _SPLIT.format(
            name=name,
            sequences=split.sequences,
            tokens=split.tokens,
            text=split.text_tokens,
            vision=split.vision_tokens,
            documents=split.documents,
        )
        for name, split in card.splits.items()
    ]
    by_license = [f"{name or 'unknown'} {licenses[name]:,}" for name in sorted(licenses, key=lambda n: n or "")]
    removed = f" Documents removed after packing: {len(card.taken_down):,}." if card.taken_down else ""
    return (
        f"Videos, images and books as tokens, packed into sequences of {card.context_length:,} by Longreel. "
        f"{'; '.join(splits)}. Tokens by license: {', '.join(by_license)}.{removed}"
    )


def _file(file: StoredFile, encoding: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": description,
        "contentUrl": file.name,
        "contentSize": f"{file.filesize} B",
        "encodingFormat": encoding,
        "sha256": file.sha256,
    }


def _spans(ledger: str) -> dict[str, Any]:
    fields = [_field(SPANS, f.name, _data_type(f.type), ledger, {"column": f.name}) for f in LEDGER_SCHEMA]
    return _record_set(SPANS, "One row per span of a packed sequence.", ["sequence", "span"], fields)


def _shards(index: str) -> dict[str, Any]:
    fields = [
        _field(SHARDS, name, kind, index, {"jsonPath": f"$.shardlist[*].{name}"})
        for name, kind in _SHARD_COLUMNS.items()
    ]
    return _record_set(SHARDS, "One row per shard.", ["url"], fields)


def _record_set(name: str, description: str, key: list[str], fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": [{"@id": f"{name}/{column}"} for column in key],
        "field": fields,
    }


def _field(record_set: str, name: str, data_type: str, file: str, extract: dict[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "dataType": f"sc:{data_type}",
        "source": {"fileObject": {"@id": file}, "extract": extract},
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "Integer"
    return "Float" if pa.types.is_floating(kind) else "Text"
