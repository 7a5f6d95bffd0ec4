"""Text from elsewhere, made safe to print: names, logs and samples must not drive the terminal."""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 with ESC, DEL, C1 with CSI and OSC
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls reorder what is read
    "\u2028\u2029\u200b\ufeff\ufff9-\ufffb"  # line breaks and other invisible ones
    "\U000e0000-\U000e007f\ud800-\udfff]"  # tag characters; lone surrogates, which cannot be encoded
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def sanitize(text: str, *, multiline: bool = False) -> str:
    r"""The text with control, bidirectional and invisible characters written as escapes such as `\x1b`.

    With `multiline`, newlines and tabs stay as they are.
    """
    return _UNSAFE.sub(
        lambda match: match[0] if multiline and match[0] in "\n\t" else _escape(match[0]), text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return _SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
