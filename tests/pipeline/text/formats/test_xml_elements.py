from __future__ import annotations

import time

import pytest

from pipeline.text.formats.xml_elements import xml_elements
from schemas.errors import InputError, Reason


def test_elements_are_in_order_without_namespaces_and_in_lower_case() -> None:
    data = b'<a:X xmlns:a="urn:a" k="1"><y/><a:z K=" 2 ">text</a:z></a:X>'
    assert [(name, fields.get("k")) for name, fields in xml_elements(data)] == [("x", "1"), ("y", None), ("z", "2")]


@pytest.mark.parametrize(
    "data",
    [
        '<?xml version="1.0" encoding="utf-16"?><a><b k="\u00e9"/></a>'.encode("utf-16"),
        '<?xml version="1.0" encoding="windows-1252"?><a><b k="\u00e9"/></a>'.encode("cp1252"),
        '<?xml version="1.0" encoding="iso-8859-1"?><a><b k="\u00e9"/></a>'.encode("latin-1"),
        '\ufeff <?xml version="1.0"?><a><b k="\u00e9"/></a>'.encode(),
        '<a><b k="\u00e9"/>&nbsp;</a>'.encode(),
        '<o:a><o:b k="\u00e9"/></o:a>'.encode(),
        '<a>AT&T <script>1 < 2</script><b k="\u00e9" /><c'.encode(),
        '<a><title>x</a><b k="\u00e9">'.encode(),
        '<!DOCTYPE a PUBLIC "-//x" "http://localhost/none.dtd"><a>&nbsp;<b k="\u00e9"/></a>'.encode(),
    ],
)
def test_other_encodings_undeclared_entities_and_damage_lose_no_element(data: bytes) -> None:
    assert ("b", "\u00e9") in [(name, fields.get("k")) for name, fields in xml_elements(data)]


def test_a_multibyte_encoding_that_expat_does_not_know_is_decoded() -> None:
    data = '<?xml version="1.0" encoding="gb18030"?><a><b k="\u4e2d"/></a>'.encode("gb18030")
    assert xml_elements(data)[1].attributes == {"k": "\u4e2d"}


@pytest.mark.parametrize("before", ["", "&nbsp;"])
def test_entity_declarations_are_rejected_in_valid_and_in_damaged_xml(before: str) -> None:
    data = f'{before}<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'.encode()
    with pytest.raises(InputError, match="declares an entity") as e:
        xml_elements(data)
    assert e.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("part", ["<a ", "<!", "<!--", "<![", "<a k='", "&", "</", "<a><![CDATA["])
def test_hostile_markup_takes_time_in_proportion_to_its_size(part: str) -> None:
    began = time.monotonic()
    xml_elements(("<x>" + part * (200_000 // len(part))).encode())
    assert time.monotonic() - began < 5
