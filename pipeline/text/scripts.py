"""Ranges of Unicode by script, as the inside of a character class, for rules that depend on how a script is written.

A rule depends on the script of the text rather than on its language: a language is not always identified, and a list
of languages is never complete (Cantonese, Wu and Min are written like Mandarin). Sources: Unicode 16, Blocks.txt and
PropList.txt (Sentence_Terminal), and UAX 14 and 29, which name the scripts without spaces between words.
"""

from __future__ import annotations

import itertools
import unicodedata

BY_CHARACTER = (  # no spaces between words, and each character says about as much as a word
    "\u2e80-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"  # kana, bopomofo, radicals
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\ua000-\ua4cf"  # Yi
)
BY_MARK = (  # no spaces between words; a run of letters up to a vowel sign or tone mark counts as a word
    "\u0e00-\u0fff"  # Thai, Lao, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Khmer; Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
)
UNSPACED = BY_CHARACTER + BY_MARK
UNPUNCTUATED = "\u0e00-\u0eff\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # sentences end with a space: Thai, Lao, Tai
SYLLABIC = (  # a letter is a syllable or has a vowel of its own, so words have fewer or more letters than in alphabets
    "\u0900-\u0dff\u1700-\u177f\u1900-\u194f\u1a00-\u1a1f\u1b80-\u1c4f"  # Brahmic
    "\ua800-\ua8ff\ua900-\ua95f\uaa00-\uaa5f\uabc0-\uabff"
    "\u1200-\u167f\u2d80-\u2ddf\uab00-\uab2f\uab70-\uabbf\ua500-\ua63f"  # Ethiopic, Cherokee, Canadian, Vai
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
)
SENTENCE_ENDS = frozenset(
    ".!?…‼⁇⁈⁉‽․"
    "。！？．｡︒︕︖﹒﹖﹗"
    "։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮។៕᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿⳹⳺⳻⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫།༎༏༐༑༔᜵᜶"
    "\u037e"  # the Greek question mark
)


def marks() -> str:
    """Return the combining marks and joiners that belong to the letter before them, as the inside of a class."""
    codes = (code for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me"))
    ranges = []
    for _, group in itertools.groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0]):
        found = [code for _, code in group]
        ranges.append(f"{chr(found[0])}-{chr(found[-1])}")
    return "".join(ranges) + "\u200c\u200d"
