"""Numbering of signatures, and random access to them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup import signature_table
from pipeline.dedup.signature_table import SignatureRows, number_items, read_items, read_samples
from schemas.errors import DatasetError
from schemas.files import write_array
from schemas.fingerprint import fingerprint
from schemas.storage.location import located
from tests.support.signatures import scene, signature, write_signatures

SIGNATURES = [signature(f"{n}", scene(n, 1), kind="video" if n % 3 else "image") for n in range(12)]


def test_items_are_numbered_by_content_whatever_the_units(tmp_path: Path) -> None:
    for units in (1, 5):
        workspace = write_signatures(tmp_path / f"{units}", SIGNATURES, units=units)
        items, ids = number_items(workspace, ("video", "image"))
        assert ids.to_pylist() == sorted(s.content_id for s in SIGNATURES)
        kinds = {s.content_id: ("video", "image").index(s.kind) for s in SIGNATURES}
        assert items["kind"].tolist() == [kinds[content_id] for content_id in ids.to_pylist()]


def test_rejected_items_and_other_kinds_have_no_number(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", SIGNATURES, rejected=[fingerprint("1")])
    _, ids = number_items(workspace, ("video",))
    assert set(ids.to_pylist()) == {s.content_id for n, s in enumerate(SIGNATURES) if n % 3 and n != 1}


def test_signatures_are_read_by_number_with_any_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_table, "_CACHE_BYTES", 1)
    workspace = write_signatures(tmp_path / "w", SIGNATURES)
    items, ids = number_items(workspace, ("video", "image"))
    by_id = {s.content_id: s for s in SIGNATURES}
    with closing(SignatureRows(workspace.signatures, items)) as rows:
        for number in [*range(12), *range(11, -1, -1)]:
            found, expected = rows.read(number), by_id[ids[number].as_py()]
            assert (found.content_id, found.kind, found.samples) == (
                expected.content_id,
                expected.kind,
                expected.samples,
            )
            assert np.array_equal(found.starts, expected.starts)
            assert np.array_equal(found.lengths, expected.lengths)
        assert len({rows.digest(number) for number in range(12)}) == 12


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_table, "_CACHE_BYTES", 1)
    monkeypatch.setattr(signature_table, "_OPEN_FILES", 2)
    workspace = write_signatures(tmp_path / "w", SIGNATURES, units=8)
    items, ids = number_items(workspace, ("video", "image"))
    before = open_files()
    with closing(SignatureRows(workspace.signatures, items)) as rows:
        for number in [*range(12), *range(12)]:
            assert rows.read(number).content_id == ids[number].as_py()
            assert open_files() <= before + 2
    assert open_files() <= before


@pytest.mark.parametrize("units", [1, 5])
@pytest.mark.parametrize("limits", [(256, 1024), (5, 3), (1, 1)])
def test_units_yield_the_samples_of_their_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], units: int
) -> None:
    monkeypatch.setattr(signature_table, "MAX_TOGETHER", limits[0])
    monkeypatch.setattr(signature_table, "_SAMPLES", limits[1])
    empty = signature("empty", [])
    workspace = write_signatures(tmp_path / "w", [*SIGNATURES, empty], units=units, rejected=[fingerprint("1")])
    items, ids = number_items(workspace, ("image", "video"))
    found: dict[str, list[bytes]] = {content_id: [] for content_id in ids.to_pylist()}
    for group in read_samples(workspace.signatures, np.unique(items["unit"]).tolist(), items):
        assert (items["kind"][group.items] == group.kind).all()
        assert len(np.unique(group.items)) == 1 or len(group.items) <= limits[1]
        for number, value in zip(group.items.tolist(), group.values, strict=True):
            found[ids[number].as_py()].append(value.tobytes())
    assert found == {s.content_id: list(s.samples) for s in [*SIGNATURES, empty] if s.content_id != fingerprint("1")}


def test_samples_of_different_lengths_raise(tmp_path: Path) -> None:
    wrong = replace(SIGNATURES[1], samples=(bytes(256), bytes(255)))
    workspace = write_signatures(tmp_path / "w", [SIGNATURES[0], wrong], units=1)
    items, _ = number_items(workspace, ("image", "video"))
    with pytest.raises(DatasetError, match="different lengths; run `longreel survey` again"):
        list(read_samples(workspace.signatures, [0], items))


def test_a_damaged_unit_raises_with_its_path(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", SIGNATURES, units=1)
    path = next(workspace.signatures.local().iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=f"{path.name}.*run `longreel survey` again"):
        number_items(workspace, ("video",))


def test_items_are_mapped_into_memory(tmp_path: Path) -> None:
    items = np.zeros(3, signature_table.ITEM)
    items["row"] = [5, 6, 7]
    write_array(tmp_path / "items.npy", items)
    assert isinstance(read_items(located(tmp_path / "items.npy")), np.memmap)
    assert np.array_equal(read_items(located(tmp_path / "items.npy")), items)
