from __future__ import annotations

from pipeline.evaluation.chinese_words import normalized_words, segmented


def test_chinese_text_is_divided_into_words() -> None:
    assert segmented("渡船离开了港口。") == "渡船 离开 了 港口 。"


def test_words_are_without_punctuation_spaces_and_capitals() -> None:
    assert normalized_words("渡船，离开了 Port 42!") == ["渡船", "离开", "了", "port", "42"]
    assert normalized_words("。 ！") == []
