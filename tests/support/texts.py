"""English text for tests: as many sentences as asked for, each its own, that pass the rules for prose."""

from __future__ import annotations

import random
import textwrap

_WORDS = {
    "article": "the a our her his that my one every this",
    "adjective": "old silver broken yellow narrow quiet foreign empty heavy famous wooden bitter tired honest crooked "
    "distant frozen clever hollow little proud ragged sacred tender urgent weary",
    "noun": "widow clerk captain miller priest stranger cousin doctor sailor baker niece ferryman notary gardener "
    "porter weaver general fisherman kettle clock letter book map stick hat candle basket key violin bell photograph "
    "coat pigeon cradle jar bench bill lamp chapel road stair canal wood school harbour bridge chestnut market mill "
    "hall reed farm gate orchard cellar river tower kitchen garden",
    "verb": "carried forgot admired sold remembered mended buried described stole painted hid praised copied refused "
    "burned followed counted discovered lost returned examined borrowed washed measured",
    "place": "behind near beneath beside over across inside before past towards around against",
    "link": "and but because although until whereupon since while for",
}
_LISTS = {name: words.split() for name, words in _WORDS.items()}
_WHEN = ("on Tuesday", "before breakfast", "after the storm", "in autumn", "late at night", "in haste", "with a sigh")


def sentences(seed: int, count: int) -> list[str]:
    """Return `count` sentences that a seed gives; those of two seeds have hardly a run of five words in common."""
    rng = random.Random(seed)

    def one(kind: str) -> str:
        return rng.choice(_LISTS[kind])

    def thing() -> str:
        adjective = one("adjective") + " " if rng.random() < 0.6 else ""
        return f"{one('article')} {adjective}{one('noun')}"

    found = []
    for _ in range(count):
        first = f"{thing()} {one('verb')} {thing()} {one('place')} {thing()}"
        second = f", {one('link')} {thing()} {one('verb')} {thing()}" if rng.random() < 0.6 else ""
        third = f" {rng.choice(_WHEN)}" if rng.random() < 0.4 else ""
        found.append(first[0].upper() + first[1:] + second + third + ".")
    return found


def paragraphs(seed: int, count: int) -> list[str]:
    """Return `count` paragraphs of three to seven sentences."""
    rng = random.Random(-seed - 1)
    waiting = iter(sentences(seed, 7 * count))
    return [" ".join(next(waiting) for _ in range(rng.randint(3, 7))) for _ in range(count)]


def story(seed: int, count: int = 12) -> str:
    """Return a text of `count` paragraphs, one a line with a blank line between: about 75 words each."""
    return "\n\n".join(paragraphs(seed, count)) + "\n"


def wrapped(text: str, width: int = 70) -> str:
    """Return `text` with each paragraph broken into lines of at most `width` characters."""
    return "\n\n".join(textwrap.fill(part, width) for part in text.strip().split("\n\n")) + "\n"
