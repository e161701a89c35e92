"""Words that are hyphenated at a line end."""

from __future__ import annotations

from pipeline.text.cleaning.hyphens import join_hyphens


def test_hyphens_are_resolved_with_the_vocabulary_of_the_book() -> None:
    text = "An exam-\nple here; an example there. A well-\nknown man, well-known to all. The co-\noperative. "
    text += "Two-\nthirds of\ntwo thirds. Jean-\nPaul came. A \u00adsoft hy\u00ad\nphen.\n"
    joined, count = join_hyphens(text)
    assert "An example here" in joined
    assert "A well-known man" in joined
    assert "The cooperative" in joined  # neither part is a word of the book
    assert "Two-\nthirds" in joined  # both parts are words
    assert "Jean-\nPaul" in joined
    assert "soft hyphen." in joined
    assert count == 4
    assert join_hyphens("An exam-\n\fple of it, an example.\n")[0] == "An example\f of it, an example.\n"
    assert join_hyphens(joined) == (joined, 0.0)
