"""The table of default limits: one row per number that the survey measures.

A number without a default bound is measured and shown in the report only; `longreel select --limit NAME=MIN:MAX` sets
a limit on it. Bounds of `TEXT_RULES` are those of the papers named in `pipeline.filters.text_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.filters.limit import Limit
from schemas.errors import Reason


def _number(name: str, what: str) -> Limit:
    return Limit(name, what=what)


def _minimum(name: str, low: float | None, reason: Reason, what: str) -> Limit:
    return Limit(name, low=-math.inf if low is None else low, too_low=reason, what=what)


def _maximum(name: str, high: float | None, reason: Reason, what: str) -> Limit:
    return Limit(name, high=math.inf if high is None else high, too_high=reason, what=what)


def _text_maximum(name: str, high: float, what: str) -> Limit:
    return Limit(name, high=high, too_low=Reason.QUALITY, too_high=Reason.QUALITY, what=what)


_VIDEO = (
    _number("sampled_frames", "frames of a video that were decoded for these measures"),
    Limit("duration_s", 1, 4 * 3600, Reason.TOO_SHORT, Reason.TOO_LONG, "duration of a video in seconds"),
    _minimum("short_side", 64, Reason.TOO_SMALL, "smaller of width and height, in pixels"),
    _minimum("brightness", 8, Reason.BLACK, "gray level of the brightest frame, 0 to 255"),
    _maximum("black_share", 0.9, Reason.BLACK, "share of the duration that is black"),
    _maximum("frozen_share", 0.9, Reason.FROZEN, "share of the duration in which no pixel changes"),
    _maximum("still_share", None, Reason.STILL, "share of the duration in which hardly any pixel changes"),
    _minimum("motion", None, Reason.STILL, "mean change of the gray level per second"),
    _minimum("sharpness", None, Reason.BLURRED, "sharpness of the sharpest frame"),
    _maximum("blockiness", None, Reason.BLOCKY, "steps at the edges of 8x8 blocks, relative to steps elsewhere"),
    _maximum("combing", None, Reason.INTERLACED, "share of frames with interlacing artifacts"),
    _minimum("picture_share", 0.2, Reason.BARS, "share of the frame without black bars"),
    _minimum("found_share", 0.5, Reason.TRUNCATED, "share of the duration promised by the container"),
)

_TEXT = (
    Limit("gopher_word_length", 3, 10, Reason.QUALITY, Reason.QUALITY, "mean length of a word in characters"),
    _text_maximum("gopher_symbols", 0.1, "hashes or ellipses per word"),
    _text_maximum("gopher_bullet_lines", 0.9, "share of lines that begin with a bullet"),
    _text_maximum("gopher_ellipsis_lines", 0.3, "share of lines that end with an ellipsis"),
    _minimum("gopher_alphabetic_words", 0.8, Reason.QUALITY, "share of words with at least one letter"),
    _minimum("gopher_stop_words", 2, Reason.QUALITY, "number of distinct stop words, of eight"),
    _text_maximum("gopher_repeated_lines", 0.3, "share of lines that repeat an earlier one"),
    _text_maximum("gopher_repeated_line_characters", 0.2, "share of characters in repeated lines"),
    _text_maximum("gopher_repeated_paragraphs", 0.3, "share of paragraphs that repeat an earlier one"),
    _text_maximum("gopher_repeated_paragraph_characters", 0.2, "share of characters in repeated paragraphs"),
    _text_maximum("gopher_top_2gram", 0.2, "share of characters in the most frequent 2-gram of words"),
    _text_maximum("gopher_top_3gram", 0.18, "share of characters in the most frequent 3-gram of words"),
    _text_maximum("gopher_top_4gram", 0.16, "share of characters in the most frequent 4-gram of words"),
    _text_maximum("gopher_repeated_5gram", 0.15, "share of characters in repeated 5-grams of words"),
    _text_maximum("gopher_repeated_6gram", 0.14, "share of characters in repeated 6-grams of words"),
    _text_maximum("gopher_repeated_7gram", 0.13, "share of characters in repeated 7-grams of words"),
    _text_maximum("gopher_repeated_8gram", 0.12, "share of characters in repeated 8-grams of words"),
    _text_maximum("gopher_repeated_9gram", 0.11, "share of characters in repeated 9-grams of words"),
    _text_maximum("gopher_repeated_10gram", 0.10, "share of characters in repeated 10-grams of words"),
    _minimum("fineweb_ended_lines", 0.12, Reason.QUALITY, "share of lines that end with terminal punctuation"),
    _text_maximum("fineweb_short_lines", 0.67, "share of lines of at most 30 characters"),
    _text_maximum("fineweb_lines_per_word", 0.3, "lines per word"),
)
TEXT_RULES = tuple(limit.name for limit in _TEXT)

_BYTES = (
    _maximum("mended_bytes", None, Reason.NOT_TEXT, "bytes of a text file that were not valid and were mended"),
    _maximum("padding_bytes", None, Reason.NOT_TEXT, "NULs at the end of a text file, which were dropped"),
)

_BOOK = (
    _number("characters", "characters of a book after cleaning"),
    _number("passages", "passages that the quality rules judge one by one"),
    _number("repaired_lines", "lines of a book with repaired encoding errors"),
    _number("boilerplate_share", "share of a book that was removed as boilerplate"),
    _number("running_header_lines", "running headers, footers and page numbers that were removed"),
    _number("hyphens_joined", "words split at the end of a line that were joined"),
    _number("lines_joined", "line breaks within paragraphs that were removed"),
    _number("lost_chapters", "chapters of an EPUB that could not be read"),
    _number("pii_email", "e-mail addresses that were masked"),
    _number("pii_iban", "numbers of bank accounts that were masked"),
    _number("pii_card", "card numbers that were masked"),
    _number("pii_ip", "IP addresses that were masked"),
    _number("pii_phone", "telephone numbers that were masked"),
    Limit("words", low=50, too_low=Reason.TOO_SHORT, too_high=Reason.TOO_LONG, what="words of a book"),
    *_TEXT,
    _minimum("language_share", None, Reason.LANGUAGE, "share of a book in its main language"),
    _maximum("contaminated_share", 0.1, Reason.CONTAMINATED, "share of a book in passages of an evaluation set"),
    _maximum("cut_share", 0.5, Reason.QUALITY, "share of a book in passages that are removed"),
)

_SCORES = (
    _minimum("bit_rate", None, Reason.BLOCKY, "bits per second of the video stream"),
    _maximum("nsfw", 0.8, Reason.SCORE, "probability of nudity in the worst frame, if scored"),
    _maximum("text_share", None, Reason.SCORE, "mean share of a frame that is text, if scored"),
)

DEFAULTS: Mapping[str, Limit] = {limit.name: limit for limit in (*_VIDEO, *_BYTES, *_BOOK, *_SCORES)}
