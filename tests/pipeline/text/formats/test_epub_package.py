"""The package document of an EPUB: where it is, and which entries are chapters in which order."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.text.formats.epub_archive import EpubArchive
from pipeline.text.formats.epub_package import Chapter, read_spine
from schemas.errors import InputError
from tests.support.inputs.epubs import CONTAINER, OPF, make_epub

READ = ["OPS/first.xhtml", "OPS/second part.xhtml"]
PACKAGE_TYPE = "application/oebps-package+xml"


def spine(path: Path, changes: dict[str, str | bytes | None]) -> list[Chapter]:
    with zipfile.ZipFile(make_epub(path / "a.epub", changes)) as archive:
        return read_spine(EpubArchive(archive, 1 << 20))


def names(path: Path, changes: dict[str, str | bytes | None]) -> list[str | None]:
    return [chapter.name for chapter in spine(path, changes)]


def with_root(full_path: str, media_type: str) -> str:
    return CONTAINER.replace("<rootfiles>", f'<rootfiles><rootfile full-path="{full_path}" media-type="{media_type}"/>')


@pytest.mark.parametrize(
    "container",
    [
        CONTAINER,
        None,
        b"\x00\xff damaged \x00",
        "<container/>",
        CONTAINER.replace("OPS/book.opf", "ops/BOOK.opf"),
        CONTAINER.replace("OPS/book.opf", "/OPS/book.opf"),
        CONTAINER.replace("OPS/book.opf", "OPS\\book.opf"),
        CONTAINER.replace("OPS/book.opf", "absent.opf"),
        with_root("OPS/book.pdf", "application/pdf"),
        with_root("OPS/gone.opf", PACKAGE_TYPE),
        with_root("OPS/broken.opf", PACKAGE_TYPE),
        CONTAINER.replace(' media-type="application/oebps-package+xml"', ""),
    ],
)
def test_the_package_document_is_found(tmp_path: Path, container: str | bytes | None) -> None:
    others = {"OPS/book.pdf": b"%PDF-1.4 \0", "OPS/broken.opf": "<package/>"}
    assert names(tmp_path, {"META-INF/container.xml": container, **others}) == READ


@pytest.mark.parametrize(
    "opf",
    [
        OPF,
        OPF.replace("<", "<opf:").replace("<opf:/", "</opf:").replace("<opf:?", "<?").replace("xmlns=", "xmlns:opf="),
        OPF.replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-16"?>').encode("utf-16"),
        OPF.replace("<manifest>", "<metadata><title>A&nbsp;B</title></metadata><manifest>"),
        "\n" + OPF,
        OPF.replace("</spine></package>", ""),
        OPF.replace('idref="one"', 'idref=" one "'),
        OPF.replace("first.xhtml", "FIRST.xhtml"),
        OPF.replace('linear="no"', 'linear="NO"'),
    ],
)
def test_the_order_is_that_of_the_spine_however_the_document_is_written(tmp_path: Path, opf: str | bytes) -> None:
    assert names(tmp_path, {"OPS/book.opf": opf}) == READ


def test_without_a_linear_item_all_are_read_and_without_a_spine_the_manifest(tmp_path: Path) -> None:
    only_notes = OPF.replace('<itemref idref="one"/><itemref idref="two"/>', "")
    assert names(tmp_path, {"OPS/book.opf": only_notes}) == ["OPS/n.xhtml"]
    without_spine = OPF[: OPF.index("<spine>")] + "</package>"
    assert names(tmp_path, {"OPS/book.opf": without_spine}) == [*reversed(READ), "OPS/n.xhtml"]


def test_parts_of_one_file_are_one_chapter(tmp_path: Path) -> None:
    opf = OPF.replace("second%20part.xhtml", "first.xhtml#two")
    assert names(tmp_path, {"OPS/book.opf": opf}) == ["OPS/first.xhtml"]


def test_items_that_the_manifest_or_the_archive_lacks_are_chapters_without_a_name(tmp_path: Path) -> None:
    opf = OPF.replace('idref="two"', 'idref="three"')
    assert spine(tmp_path, {"OPS/book.opf": opf, "OPS/first.xhtml": None}) == [
        Chapter("first.xhtml", None),
        Chapter("#three", None),
    ]


def test_a_package_document_without_a_page_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the EPUB's spine contains no text"):
        names(tmp_path, {"OPS/book.opf": "<package><manifest/><spine/></package>"})
