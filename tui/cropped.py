"""What changed on the screen, and no more: Textual sends each line from its beginning to the change's end."""

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate


class CroppedUpdate(ChopsUpdate):
    """Sends the cells of each changed span alone. A chart in the right half of a line costs a third of it."""

    @classmethod
    def of(cls, update: ChopsUpdate) -> "CroppedUpdate":
        return cls(update.chops, update.spans, update.chop_ends)

    def render_segments(self, console: Console) -> str:
        parts: list[str] = []
        for y, left, right in self.spans:
            for end, (begin, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                first, last = max(begin, left), min(end, right)
                if strip is None or first >= last:
                    continue
                if (first, last) != (begin, end):
                    strip = strip.crop(first - begin, last - begin)
                parts += [Control.move_to(first, y).segment.text, strip.render(console)]
        return "".join(parts)
