"""License and source of items that have none in a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.manifest import read_manifest
from schemas.errors import ConfigError
from schemas.large_tables import as_large
from schemas.rows import ManifestItem, manifest_items, manifest_table

DEFAULTS = ItemDefaults(license="CC-BY-4.0", source="a site")


def test_an_item_keeps_its_own_values() -> None:
    item = ManifestItem(uri="a.mp4", kind="video", license="MIT")
    for table in (manifest_table([item]), as_large(manifest_table([item]))):
        assert manifest_items(DEFAULTS.applied_to(table)) == [replace(item, source="a site")]
        assert DEFAULTS.applied_to(table).schema == table.schema
        assert ItemDefaults().applied_to(table) == table


def test_every_kind_of_input_gets_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/a.mp4", "in/b.txt", "c.png"):
        (tmp_path / name).touch()
    rows = [{"uri": "d.mp4", "license": "MIT"}, {"uri": "https://x.invalid/e.mp4", "source": "another site"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "a text"}))
    names = ("in", "c.png", "m.jsonl", "texts.jsonl")
    found = read_manifest([str(tmp_path / name) for name in names], DEFAULTS).items
    facts = {Path(item.uri).name.partition("?")[0].partition("#")[0]: (item.license, item.source) for item in found}
    given = ("CC-BY-4.0", "a site")
    own = {"d.mp4": ("MIT", "a site"), "e.mp4": ("CC-BY-4.0", "another site")}
    assert len(found) == 6
    assert all(value == own.get(name, given) for name, value in facts.items())


@pytest.mark.parametrize("name", ["license", "source"])
def test_an_empty_value_raises(name: str) -> None:
    defaults: dict[str, Any] = {name: " "}
    with pytest.raises(ConfigError, match=f"{name} must not be empty"):
        ItemDefaults(**defaults)


def test_transcripts_in_preferred_languages_are_chosen(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.de.srt", "a.en.srt"):
        (tmp_path / name).touch()
    for languages, chosen in (((), "de"), (("eng", "DE"), "en")):
        (item,) = read_manifest([str(tmp_path)], ItemDefaults(languages_of_transcripts=languages)).items
        assert item.transcript_language == chosen
    with pytest.raises(ConfigError, match="must be language tags such as en or pt-BR, got 'klingon'"):
        ItemDefaults(languages_of_transcripts=("en", "klingon"))
