"""What stands around the texts that a model reads."""

from typing import NamedTuple

from tokenizers import Tokenizer as Backend


class Frame(NamedTuple):
    """`before A after`, and `before A between B after` for two texts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...] = ()
    has_segments: bool = False
    """Whether the second text, and what stands behind it, is of segment 1."""

    def around(self, texts: list[list[int]]) -> list[int]:
        """The ids of one text, or of two, as the model reads them."""
        first, *rest = texts
        second = [i for text in rest for i in (*self.between, *text)]
        return [*self.before, *first, *second, *self.after]

    def size(self, texts: int) -> int:
        """Ids around so many texts."""
        return len(self.before) + len(self.after) + len(self.between) * (texts - 1)

    def segments(self, first: int, second: int) -> list[int] | None:
        """The segment of each id around two texts of so many ids; None for a model that doesn't tell them apart."""
        if not self.has_segments:
            return None
        zeros = len(self.before) + first + len(self.between)
        return [0] * zeros + [1] * (second + len(self.after))


def template_frame(backend: Backend) -> Frame:
    """The frame that a `tokenizer.json` writes by itself. Raises ValueError for none, and for one that is not of this
    shape."""
    try:
        plain = backend.encode("a", add_special_tokens=False).ids
        single, pair = backend.encode("a"), backend.encode("a", "a")
    except Exception as error:  # the library raises no narrower one
        raise ValueError(f"it can't read every text: {error}") from error
    own = [[place for place, text in enumerate(pair.sequence_ids) if text == number] for number in (0, 1)]
    if not plain or not all(own):
        raise ValueError('the letter "a" is nothing to it')
    (start, end), (second, last) = ((places[0], places[-1] + 1) for places in own)
    ids = pair.ids
    frame = Frame(tuple(ids[:start]), tuple(ids[end:second]), tuple(ids[last:]), pair.type_ids[second] == 1)
    if not frame.before or not frame.between:
        raise ValueError("it puts no tokens around a text (it has no post_processor)")
    expected = frame.segments(end - start, last - second) or [0] * len(ids)
    if (
        single.ids != frame.around([plain])
        or ids != frame.around([plain, plain])
        or pair.type_ids != expected
    ):
        raise ValueError(
            f"it writes two texts as {' '.join(pair.tokens)}, which is no order that is known here"
        )
    return frame
