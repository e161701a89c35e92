"""Captions and transcripts are found by their names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.sidecars import MAX_CAPTION_BYTES, FolderSidecars, find_sidecars, language_of


def find(folder: Path, *names: str) -> FolderSidecars:
    for name in names:
        (folder / name).write_text("text")
    return sidecars_of(folder)


def sidecars_of(folder: Path, languages: Sequence[str] = ()) -> FolderSidecars:
    return find_sidecars(sorted(path.name for path in folder.iterdir()), lambda name: _size(folder / name), languages)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def transcripts(folder: Path, *names: str) -> dict[str, tuple[str, str | None]]:
    found = find(folder, *names).transcripts
    return {name: (sidecar.file, sidecar.language) for name, sidecar in found.items()}


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("movie.srt", None),
        ("movie.SRT", None),
        ("MOVIE.Srt", None),
        ("movie.mp4.srt", None),
        ("movie.en.srt", "en"),
        ("movie.EN.VTT", "en"),
        ("movie.en-US.srt", "en-US"),
        ("movie.pt_BR.vtt", "pt-BR"),
        ("movie.zh-Hant-TW.srt", "zh-Hant-TW"),
        ("movie.es-419.vtt", "es-419"),
        ("movie.en-orig.vtt", "en"),
        ("movie.eng.srt", "en"),
        ("movie.ger.srt", "de"),
        ("movie.eng.forced.srt", "en"),
        ("movie.forced.srt", None),
        ("movie.default.en.srt", "en"),
        ("movie.de.sdh.vtt", "de"),
        ("movie.hi.srt", "hi"),
        ("movie.en.hi.srt", "en"),
        ("movie.yue.srt", "yue"),
        ("movie.mp4.fr.srt", "fr"),
    ],
)
def test_a_transcript_may_have_a_language_and_other_tags(tmp_path: Path, name: str, language: str | None) -> None:
    assert transcripts(tmp_path, "movie.mp4", name) == {"movie.mp4": (name, language)}


@pytest.mark.parametrize("name", ["movie.cut.srt", "movie.en.de.srt", "movie.2.srt", "mov.srt", "movies.srt", "en.srt"])
def test_a_name_with_unknown_words_fits_no_item(tmp_path: Path, name: str) -> None:
    assert find(tmp_path, "movie.mp4", name) == FolderSidecars()


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["movie.srt", "movie.en.srt"], "movie.srt"),
        (["movie.en.srt", "movie.de.srt", "movie.fr.srt"], "movie.de.srt"),
        (["movie.forced.srt", "movie.de.forced.srt", "movie.en.sdh.srt"], "movie.en.sdh.srt"),
        (["movie.de.sdh.srt", "movie.fr.srt"], "movie.fr.srt"),
        (["movie.vtt", "movie.srt"], "movie.srt"),
        (["movie.en.vtt", "movie.en.srt"], "movie.en.srt"),
        (["movie.en.ASS", "movie.en.sbv", "movie.fr.ssa"], "movie.en.ASS"),
        (["movie.mp4.srt", "movie.srt"], "movie.mp4.srt"),
        (["Movie.srt", "movie.srt"], "movie.srt"),
    ],
)
def test_one_of_several_transcripts_is_chosen(tmp_path: Path, names: list[str], chosen: str) -> None:
    found = find(tmp_path, "movie.mp4", *names)
    assert found.transcripts["movie.mp4"].file == chosen
    assert {*found.unused} == {*names} - {chosen}
    assert {*found.files} == {*names}


@pytest.mark.parametrize(
    ("languages", "chosen"),
    [
        ((), "movie.srt"),
        (("fr",), "movie.fr.srt"),
        (("it", "en"), "movie.en-GB.srt"),
        (("en-US", "en"), "movie.en-US.sdh.srt"),
        (("ja",), "movie.srt"),
        (("de",), "movie.srt"),  # only forced ones
    ],
)
def test_preferred_languages_come_first(tmp_path: Path, languages: tuple[str, ...], chosen: str) -> None:
    names = ["movie.srt", "movie.en-GB.srt", "movie.en-US.sdh.srt", "movie.fr.srt", "movie.de.forced.srt"]
    find(tmp_path, "movie.mp4", *names)
    found = sidecars_of(tmp_path, languages)
    assert found.transcripts["movie.mp4"].file == chosen


def test_a_sidecar_belongs_to_the_item_with_the_longest_name(tmp_path: Path) -> None:
    names = ["movie.mp4", "movie.part.mp4", "movie.en.mkv"]
    sidecars = ["movie.srt", "movie.part.srt", "movie.part.en.vtt", "movie.en.srt", "movie.de.srt"]
    found = transcripts(tmp_path, *names, *sidecars)
    assert found == {
        "movie.mp4": ("movie.srt", None),
        "movie.part.mp4": ("movie.part.srt", None),
        "movie.en.mkv": ("movie.en.srt", None),
    }


def test_a_sidecar_belongs_to_all_items_of_its_name(tmp_path: Path) -> None:
    found = find(tmp_path, "a.mp4", "a.webm", "a.jpg", "a.srt", "a.txt", "a.webm.vtt")
    assert {name: sidecar.file for name, sidecar in found.transcripts.items()} == {
        "a.mp4": "a.srt",
        "a.webm": "a.webm.vtt",
    }
    assert {name: sidecar.file for name, sidecar in found.captions.items()} == dict.fromkeys(
        ["a.mp4", "a.webm", "a.jpg"], "a.txt"
    )


NAME = "Café Été Straße ﬁ Å ガ"


@pytest.mark.parametrize("item_form", ["NFC", "NFD"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower, str.swapcase])
def test_names_match_in_any_normalization_and_case(tmp_path: Path, item_form: Any, form: Any, change: Any) -> None:
    item = unicodedata.normalize(item_form, f"{NAME}.mp4")
    names = [unicodedata.normalize(form, change(f"{NAME}{end}")) for end in (".txt", ".en.srt")]
    found = find(tmp_path, item, *names)
    assert (found.captions[item].file, found.transcripts[item].file) == tuple(names)
    assert found.transcripts[item].language == "en"


def test_a_sidecar_belongs_to_the_item_whose_name_is_most_similar(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    items = ["a.mp4", "A.mp4", f"{composed}.mp4", f"{decomposed}.mp4"]
    found = transcripts(tmp_path, *items, "a.srt", "A.srt", f"{composed}.srt", f"{decomposed}.srt")
    assert {name: sidecar for name, (sidecar, _) in found.items()} == {
        name: name.replace(".mp4", ".srt") for name in items
    }
    assert "B.mp4" not in transcripts(tmp_path, "B.mp4", "b.mp4", "b.srt")


def test_a_long_text_is_a_book_and_not_a_caption(tmp_path: Path) -> None:
    for name, size in (("caption.txt", MAX_CAPTION_BYTES), ("novel.txt", MAX_CAPTION_BYTES + 1)):
        (tmp_path / name).write_bytes(b"a" * size)
        (tmp_path / name).with_suffix(".jpg").touch()
    found = sidecars_of(tmp_path)
    assert found.captions.keys() == {"caption.jpg"}
    assert found.files == {"caption.txt"}


def test_texts_next_to_books_are_no_sidecars(tmp_path: Path) -> None:
    assert find(tmp_path, "a.epub", "a.txt", "a.srt", "b.qa.json", "b.qa.txt") == FolderSidecars()


def test_images_have_captions_and_no_transcripts(tmp_path: Path) -> None:
    found = find(tmp_path, "a.jpg", "a.txt", "a.srt")
    assert (found.captions.keys(), found.transcripts) == ({"a.jpg"}, {})


def test_entries_that_are_no_files_are_sidecars_of_their_items(tmp_path: Path) -> None:
    (tmp_path / "a.srt").mkdir()
    (tmp_path / "a.txt").symlink_to("absent")
    found = find(tmp_path, "a.mp4")
    assert found.files == {"a.srt", "a.txt"}


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        *(("EN", "en"), ("zh-hans", "zh-Hans"), ("ita", "it"), ("fil", "fil"), ("en-", "en"), ("-en", None)),
        *(("xx", None), ("the", None), ("", None), ("english", None), ("12", None), ("é", None), ("e", None)),
    ],
)
def test_language_tags_have_a_standard_form(tag: str, language: str | None) -> None:
    assert language_of(tag) == language
