"""The rules for text: what each of them rejects, and how it is computed."""

from __future__ import annotations

import random

import pytest

from pipeline.filters.limit_filter import reject_numbers
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.text_rules import VERSION, TextCounts, measure, repetition
from schemas.errors import Reason
from tests.support.golden import check_golden
from tests.support.texts import sentences, story

NONSENSE = {
    "gopher_word_length": " ".join("ab c de f gh" for _ in range(900)),
    "gopher_alphabetic_words": " ".join(str(random.Random(i).random())[2:8] for i in range(2000)),
    "gopher_repeated_5gram": "The clocks were striking thirteen on a cold day that had been bright. " * 200,
    "gopher_repeated_lines": "\n".join(random.Random(i).choice(sentences(1, 40)) for i in range(300)),
    "fineweb_short_lines": "\n".join(f"{a} {b}." for s in sentences(2, 300) for a, b in [s.split()[:2]]),
    "fineweb_ended_lines": "\n".join(s.rstrip(".") for s in sentences(3, 100)),
    "gopher_ellipsis_lines": "\n".join(s.rstrip(".") + "..." for s in sentences(3, 100)),
    "gopher_bullet_lines": "\n".join("- " + s for s in sentences(3, 100)),
    "gopher_symbols": " ".join(f"#{w}" for s in sentences(3, 100) for w in s.split()) + ".",
    "gopher_stop_words": "\n".join(
        s for s in sentences(4, 2000) if not {"the", "that", "and"} & set(s.lower().split())
    ),
}


@pytest.mark.parametrize("name", sorted(NONSENSE))
def test_every_rule_rejects_text_that_breaks_it(name: str) -> None:
    numbers = measure(NONSENSE[name], "en")
    broken = DEFAULTS[name].reject(numbers[name])
    assert broken is not None
    assert broken[0] is Reason.QUALITY
    assert DEFAULTS[name].reject(measure(story(1, 40), "en")[name]) is None
    verdict = reject_numbers(numbers, DEFAULTS)
    assert verdict is not None


def test_repeated_ngrams_are_counted_as_in_the_gopher_paper() -> None:
    five = "one two three four five"
    numbers = measure(f"{five} {five} six seven.", "en")  # the words of the second five repeat the first
    assert numbers["gopher_repeated_5gram"] == pytest.approx(19 / 58)
    assert numbers["gopher_repeated_6gram"] == 0
    assert numbers["gopher_top_2gram"] == pytest.approx(2 * len("three four") / 58)
    assert repetition("a b\n* * *\nc\n* * *\na b\n")["gopher_repeated_lines"] == pytest.approx(1 / 3)


def test_counts_of_passages_add_up_to_those_of_the_text() -> None:
    parts = [story(1, 5), story(2, 5)]
    total = TextCounts.sum(TextCounts.of(part) for part in parts)
    whole = TextCounts.of("".join(parts))
    for name in ("characters", "words", "lines", "hashes", "ended_lines", "short_lines", "stop_words"):
        assert getattr(total, name) == getattr(whole, name)


LINE_RULES = {"gopher_bullet_lines", "gopher_ellipsis_lines", "fineweb_ended_lines"}
PROSE = {
    "yue": "佢哋話今日唔返工，因為落大雨，條街浸晒水。個阿婆笑住話，後生仔，慢慢行啦。",
    "wuu": "伊拉今朝勿上班，因為落大雨，馬路浪側側滿水。",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "th": "กาลครั้งหนึ่งนานมาแล้ว มีชายชราคนหนึ่งอาศัยอยู่ในป่าลึก เขาตื่นแต่เช้าทุกวัน",
    "lo": "ກາລະຄັ້ງໜຶ່ງດົນນານມາແລ້ວ ມີຊາຍເຖົ້າຄົນໜຶ່ງອາໄສຢູ່ໃນປ່າເລິກ",
    "km": "កាលពីព្រេងនាយ មានបុរសចំណាស់ម្នាក់រស់នៅក្នុងព្រៃជ្រៅ។",
    "my": "ရှေးရှေးတုန်းက တောနက်ထဲမှာ အဘိုးအိုတစ်ယောက် နေထိုင်ခဲ့တယ်။",
    "bo": "སྔོན་ཆེན་འཇིག་རྟེན་ན་རྒྱལ་པོ་ཞིག་ཡོད་དོ།",
    "ii": "ꆈꌠꁱꂷꌧꅪꉙ。",
    "hi": "एक समय की बात है, एक बूढ़ा आदमी घने जंगल में रहता था। वह हर सुबह नदी पर जाता था।",
    "ta": "ஒரு காலத்தில் ஒரு முதியவர் அடர்ந்த காட்டில் வாழ்ந்து வந்தார்.",
    "ml": "പണ്ടൊരിക്കൽ ഒരു വൃദ്ധൻ കൊടുംകാട്ടിൽ താമസിച്ചിരുന്നു.",
    "ko": "옛날 옛적에 깊은 산속에 늙은 나무꾼이 살았다. 그는 매일 아침 숲으로 갔다.",
    "am": "በአንድ ወቅት አንድ ሽማግሌ በጥልቅ ጫካ ውስጥ ይኖር ነበር።",
    "he": "שָׁלוֹם לְכֻלָּם, זֶה סִפּוּר קָצָר עַל יֶלֶד אֶחָד.",
    "ar": "كان يا ما كان في قديم الزمان رجل عجوز يعيش في الغابة.",
    "vi": "Ngày xửa ngày xưa, có một ông lão sống trong khu rừng sâu.",
    "el": "Ήταν μια φορά ένας γέρος ψαράς που ζούσε δίπλα στη θάλασσα.",
    "de": "Die Bäume standen im grünen Wald, und die Straße führte über die Brücke.",
}


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize("identified", ["own", None, "wrong"])
def test_prose_in_any_script_passes_whatever_its_language_is_taken_for(language: str, identified: str | None) -> None:
    name = {"own": language, "wrong": "zxx"}.get(identified or "")
    assert reject_numbers(TextCounts.of(PROSE[language]).numbers(name), DEFAULTS) is None


@pytest.mark.parametrize("language", ["yue", "wuu", "ja", "km", "my", "bo", "ii"])
def test_rules_about_words_do_not_apply_to_scripts_without_spaces(language: str) -> None:
    assert set(TextCounts.of(PROSE[language]).numbers(language)) == LINE_RULES


@pytest.mark.parametrize("language", ["th", "lo"])
def test_lines_of_scripts_without_a_full_stop_need_no_end(language: str) -> None:
    assert set(TextCounts.of(PROSE[language]).numbers(language)) == LINE_RULES - {"fineweb_ended_lines"}


@pytest.mark.parametrize("language", ["hi", "ta", "ml", "ko", "am"])
def test_the_length_of_words_is_measured_in_alphabets_only(language: str) -> None:
    numbers = TextCounts.of(PROSE[language]).numbers(language)
    assert "gopher_word_length" not in numbers
    assert "gopher_top_2gram" in numbers


def test_some_words_of_another_script_do_not_change_the_length_of_words() -> None:
    text = sentences(1, 20)
    plain = TextCounts.of(" ".join(text)).numbers("en")
    mixed = TextCounts.of(" 漢字かな 한국말 ".join(text)).numbers("en")
    assert mixed["gopher_word_length"] == plain["gopher_word_length"]
    assert "gopher_stop_words" not in TextCounts.of("a b").numbers("de")


def test_an_empty_text_has_numbers() -> None:
    assert all(0 <= value <= 1 for value in measure("", None).values())


def test_numbers_change_only_with_the_version() -> None:
    text = story(3, 30) + "\n* * *\n- a list\n- a list\n\nAnd so on...\n"
    check_golden("text_rules", VERSION, {language: dict(measure(text, language)) for language in ("en", "ja")})
