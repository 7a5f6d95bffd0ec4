import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.store.text import sanitize

REORDERING = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
hostile = st.text(
    st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])
    | st.sampled_from("ab \n\t\x1b\x9b]m")
    | st.characters()
)


@given(hostile, st.booleans())
def test_nothing_that_drives_a_terminal_is_left(text: str, multiline: bool) -> None:
    safe = sanitize(text, multiline=multiline)
    safe.encode()
    for character in safe:
        kind = unicodedata.category(character)
        assert kind not in ("Cc", "Cs", "Zl", "Zp") or (multiline and character in "\n\t")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "PDF",
            "LRO",
            "RLO",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
    assert sanitize(safe, multiline=multiline) == safe


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"])))
def test_plain_text_of_any_script_is_left_alone(text: str) -> None:
    assert sanitize(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31mred", r"\x9b31mred"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("half \ud83d", r"half \ud83d"),
        ("two\nlines\t", r"two\nlines\t"),
    ],
)
def test_what_is_unsafe_is_shown(text: str, safe: str) -> None:
    assert sanitize(text) == safe


def test_lines_stay_lines_where_asked() -> None:
    assert sanitize("a\n\tb\r\n\x1b", multiline=True) == "a\n\tb\\r\n\\x1b"
