"""Cases of books, captions, EPUBs and text tables."""

from __future__ import annotations

import json
import random
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inputs_parts.case import Case, either, kept, rejected, text
from inputs_parts.media import clip, picture
from tests.support.inputs.epubs import CONTAINER, FIRST, OPF, SECOND, make_epub
from tests.support.texts import story

_LISTED = (".hidden/a.png", ".hidden/b.png")
CAFE = "The café on the corner sold naïve paintings and crème brûlée."
_CANTONESE = (
    "我哋今日去咗街市買餸，啲菜心好新鮮，老闆仲送咗兩條葱畀我哋。",
    "佢話聽日唔使返工，不如一齊去飲茶，食埋晏先至返屋企。",
    "嗰間茶樓嘅蝦餃好出名，成日都要等好耐先有位坐。",
    "阿媽喺廚房煲緊湯，成間屋都好香，個仔就喺廳度睇電視。",
    "你知唔知佢幾時返嚟？我等咗佢成個鐘頭，電話又冇人聽。",
    "落緊大雨，啲人個個都走入商場避雨，巴士又塞喺條隧道度。",
    "細路仔喺公園踩單車，跌咗落地都唔喊，即刻起返身繼續玩。",
    "琴晚同班舊同學食飯，傾咗好多以前讀書嗰陣嘅趣事。",
    "呢本書係邊個寫㗎？睇到我成晚都瞓唔着，真係好好睇。",
    "佢哋搬咗去新界住，空氣好啲，不過返工就要搭多半個鐘車。",
)


def _encodings(folder: Path) -> None:
    clean = f"{story(501, 60)}\n\n{CAFE} “Quoted,” she said, “and again.”\n\n{story(502, 40)}"
    stray = "She ate at the caf\xe9 with No\xebl. ".encode("latin-1")
    (folder / "few_bytes.txt").write_bytes(clean.encode() + b"\n\n" + stray)
    (folder / "many_quotes.txt").write_bytes(story(503, 60).replace(" and ", " “and” ").encode() + b"\n\n" + stray)
    (folder / "cp1252.txt").write_bytes(f"{story(504, 80)}\n\n{CAFE} “Yes,” she said.".encode("cp1252"))
    (folder / "utf16.txt").write_bytes(f"{story(505, 80)}\n\n{CAFE}".encode("utf-16"))
    (folder / "one_byte.txt").write_bytes(f"{story(506, 80)}\n\n{CAFE}\n\n".encode() + stray[:20])
    accents = story(508, 80).replace(" old ", " älter ").replace(" quiet ", " größer ").replace(" famous ", " célèbre ")
    (folder / "accents.txt").write_bytes(accents.encode() + b"\n\n" + stray)
    (folder / "page.html").write_bytes(f"<html><body><p>{story(507, 60)}</p><p>{CAFE}</p>".encode() + b"<p>" + stray)


def _nuls(folder: Path) -> None:
    (folder / "tail.txt").write_bytes(f"{story(511, 60)}\n\n{CAFE}\n".encode() + bytes(3000))
    (folder / "wide.txt").write_bytes(f"{story(513, 60)}\n\n{CAFE}\n".encode("utf-16") + bytes(3000))
    picture(folder / "caption.png")
    (folder / "caption.txt").write_bytes(b"A calm harbour." + bytes(100))
    (folder / "head.txt").write_bytes(bytes(64) + f"{story(512, 60)}\n\n{CAFE}\n".encode())


def _cantonese(folder: Path) -> None:
    rng = random.Random(0)
    lines = ["".join(rng.sample(_CANTONESE, 5)) for _ in range(10)]
    (folder / "yue.txt").write_text("\n\n".join(f"{n + 1}月，{line}" for n, line in enumerate(lines)), encoding="utf-8")


def _captions(folder: Path) -> None:
    for name in ("latin1", "long", "fine", "binary"):
        picture(folder / f"{name}.png")
    (folder / "latin1.txt").write_bytes("A caf\xe9 by the sea.".encode("latin-1"))
    (folder / "long.txt").write_text("\n\n".join(story(520 + n, 700) for n in range(12)))
    (folder / "fine.txt").write_text("A calm harbour.")
    (folder / "binary.txt").write_bytes(random.Random(1).randbytes(5000))


def _names(folder: Path) -> None:
    for stem, caption in {
        "café été": unicodedata.normalize("NFD", "café été") + ".txt",
        unicodedata.normalize("NFD", "über"): unicodedata.normalize("NFC", "über") + ".txt",
        "CLIP": "clip.TXT",
    }.items():
        clip(folder / f"{stem}.mp4")
        (folder / caption).write_text("A caption that belongs to its video.")


def _book(seed: int) -> dict[str, str]:
    one, two = (f"<p>{story(seed + n, 30)}</p>" for n in range(2))
    return {
        "OPS/first.xhtml": FIRST.replace("<p>", one + "<p>", 1),
        "OPS/second part.xhtml": SECOND.replace("</body>", two + "</body>"),
    }


def _opf(*changes: tuple[str, str]) -> str:
    opf = OPF
    for old, new in changes:
        assert old in opf
        opf = opf.replace(old, new)
    return opf


def _two_rootfiles() -> str:
    other = '<rootfiles><rootfile full-path="other.pdf" media-type="application/pdf"/>'
    return CONTAINER.replace("<rootfiles>", other)


def _epubs(folder: Path) -> None:
    changes: Mapping[str, Mapping[str, str | bytes | None]] = {
        "plain": {},
        "case": {"OPS/book.opf": _opf(("first.xhtml", "FIRST.XHTML"))},
        "old_types": {"OPS/book.opf": _opf(("application/xhtml+xml", "text/x-oeb1-document"))},
        "absolute": {"OPS/book.opf": _opf(("first.xhtml", "/OPS/first.xhtml"))},
        "backslash": {"OPS/book.opf": _opf(("first.xhtml", "..\\OPS\\first.xhtml"))},
        "missing": {"OPS/second part.xhtml": None},
        "rootfiles": {"META-INF/container.xml": _two_rootfiles()},
        "no_mimetype": {"mimetype": None},
        "utf16": {"OPS/book.opf": OPF.replace('version="1.0"?', 'version="1.0" encoding="utf-16"?').encode("utf-16")},
    }
    for number, (name, change) in enumerate(changes.items()):
        make_epub(folder / f"{name}.epub", {**_book(600 + 10 * number), **change})
    whole = make_epub(folder / "prefix.epub", _book(780))
    whole.write_bytes(b"junk before the archive\n" + whole.read_bytes())
    _damaged_lzma(folder / "lzma.epub")


def _damaged_lzma(path: Path) -> None:
    make_epub(path, _book(790))
    with zipfile.ZipFile(path) as given:
        entries = {name: given.read(name) for name in given.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        for name, content in entries.items():
            made.writestr(name, content)
        places = [made.getinfo(name).header_offset + 60 + len(name) for name in entries if name.endswith(".xhtml")]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place : place + 40] = b"\xff" * 40
    path.write_bytes(data)


def _jsonl(folder: Path) -> None:
    rows: list[dict[str, object]] = [{"text": story(700 + n, 30), "title": f"Title {n}"} for n in range(3)]
    rows[1]["title"] = 17
    (folder / "titles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [story(710 + n, 30) for n in range(2)]
    sources = [{"url": "https://example.org", "id": n} for n in range(2)]
    pq.write_table(pa.table({"text": texts, "source": sources}), folder / "struct.parquet")
    splits = pa.table({"text": [story(720 + n, 30) for n in range(2)], "split": ["validation", "test"]})
    pq.write_table(splits, folder / "splits.parquet")
    odd = [{"text": None}, {"text": ["a", "list"]}, {"text": story(740, 30), "captions": {"en": 1}}, [1, 2]]
    lines = [
        json.dumps({"text": story(741, 30)}),
        *map(json.dumps, odd),
        "{broken",
        json.dumps({"text": story(742, 30)}),
    ]
    (folder / "odd.jsonl").write_text("\n".join(lines))


def _not_utf8(folder: Path) -> None:
    texts = [story(730 + n, 30).encode() for n in range(3)]
    texts[1] += b" caf\xe9 \xff\xfe"
    column = pa.array(texts, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), folder / "texts.parquet")
    (folder / ".hidden").mkdir()  # listed by the manifest only
    for name in _LISTED:
        picture(folder / name)
    titles = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"uri": list(_LISTED), "title": titles}), folder / "manifest.parquet")


_MENDED = either(text("café", without=("ďż", "Ă©", "й", "Ã")), rejected("not_text"))
_CAPTION = text("A caption that belongs to its video.")

CASES = (
    Case(
        "01 UTF-8 with stray bytes",
        _encodings,
        dict.fromkeys(("one_byte.txt", "accents.txt", "page.html"), _MENDED)
        | {"few_bytes.txt": _MENDED, "many_quotes.txt": _MENDED, "cp1252.txt": text(CAFE), "utf16.txt": text(CAFE)},
    ),
    Case(
        "16 padding with NUL",
        _nuls,
        {"tail.txt": text(CAFE), "head.txt": either(text(CAFE), rejected("not_text"))}
        | {"wide.txt": text(CAFE), "caption.png": text("A calm harbour.")},
    ),
    Case("07 Cantonese", _cantonese, {"yue.txt": kept}),
    Case(
        "05 captions that cannot be read",
        _captions,
        {
            "latin1.png": either(text("A café by the sea."), rejected("bad_caption")),
            "long.png": either(kept, rejected("bad_caption")),
            "long.txt": either(kept, rejected("bad_caption")),
            "fine.png": text("A calm harbour."),
            "binary.png": rejected("bad_caption"),
        },
    ),
    Case(
        "12 names in other normalization or case",
        _names,
        {f"{stem}.mp4": _CAPTION for stem in ("café été", unicodedata.normalize("NFD", "über"), "CLIP")},
    ),
    Case(
        "06 EPUB",
        _epubs,
        {f"{name}.epub": text("Ishmael", "sea.") for name in ("plain", "case", "old_types", "absolute", "backslash")}
        | {f"{name}.epub": text("Ishmael", "sea.") for name in ("rootfiles", "no_mimetype", "utf16")}
        | {
            "missing.epub": text("Ishmael"),
            "prefix.epub": text("Ishmael", "sea."),
            "lzma.epub": rejected("unreadable"),
        },
    ),
    Case(
        "09 text tables",
        _jsonl,
        {f"titles.jsonl#{n}": kept if n != 1 else either(kept, rejected("invalid_row")) for n in range(3)}
        | dict.fromkeys(("struct.parquet#0", "struct.parquet#1", "splits.parquet#0"), kept)
        | {"splits.parquet#1": either(kept, rejected("invalid_row"))}
        | {f"odd.jsonl#{n}": rejected("invalid_row", "not_text", "unreadable") for n in (1, 2, 4, 5)}
        | {"odd.jsonl#0": kept, "odd.jsonl#3": either(kept, rejected("invalid_row")), "odd.jsonl#6": kept},
        tables=("titles.jsonl", "struct.parquet", "splits.parquet", "odd.jsonl"),
    ),
    Case(
        "19 rows that are not UTF-8",
        _not_utf8,
        {"texts.parquet#0": kept, "texts.parquet#1": rejected("invalid_row", "not_text"), "texts.parquet#2": kept}
        | {_LISTED[0]: kept},
        tables=("texts.parquet", "manifest.parquet"),
    ),
)
