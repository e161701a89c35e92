"""Words of Chinese text, as LongBench's code makes them: the segmentation of jieba, here by its port to Rust."""

from __future__ import annotations

import string

import rjieba

_PUNCTUATION = frozenset(
    string.punctuation
    + "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､"
    + "、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)


def segmented(text: str) -> str:
    """Return the text with spaces between its words."""
    return " ".join(rjieba.cut(text))


def normalized_words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation and spaces."""
    words = ("".join(c for c in word.lower() if c not in _PUNCTUATION) for word in rjieba.cut(text))
    return [kept for word in words if (kept := "".join(word.split()))]
