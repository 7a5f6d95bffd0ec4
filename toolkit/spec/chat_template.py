"""Chat templates: a conversation as one text, by a Jinja template that reaches nothing but its messages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.spec.rendering import BEGIN, END, Renderer, Template, compile_template, render

Message = Mapping[str, Any]
"""`role` (system, user, assistant, …) and `content`, a text."""

DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
"""`User:`, the question, `Assistant:`, the answer and the end of the text."""
_BLOCKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Segment(NamedTuple):
    """A part of a rendered conversation."""

    text: str
    answer: bool
    """Whether it is the assistant's: what the model is to write."""


class ChatTemplate:
    """A template as `transformers` takes it, in Jinja's immutable sandbox: no files, no imports, no attributes that
    begin with an underscore; and in a process of its own, with bounds for memory and time.

    Args:
        text: The template.
        end: What `eos_token` stands for, and `bos_token` where `begin` is empty.
    """

    def __init__(self, text: str, end: str = "", begin: str = "") -> None:
        self.text = text
        self._end, self._begin = end, begin or end

    def check(self) -> None:
        """Try it on a question and an answer. Raises ValueError, in words, for what it may not or can't do."""
        asked = [{"role": "user", "content": "question"}]
        if not any(
            part.answer for part in self.segments([*asked, {"role": "assistant", "content": "answer"}])
        ):
            raise ValueError("the template leaves the assistant's messages out")
        self.segments(asked, ask=True)

    def segments(self, messages: Sequence[Message], *, ask: bool = False) -> list[Segment]:
        """The conversation in parts, those that the assistant wrote apart from the rest.

        Answers are what `{% generation %}` blocks enclose, where the template has them; else what it adds for
        an assistant's message to the text that asks for it. A template that writes earlier turns otherwise than
        when they were asked for leaves the last answer alone to be found.

        Args:
            ask: End with what asks for an answer.

        Raises ValueError.
        """
        if _BLOCKS.search(self.text):
            return list(_marked(self._render(messages, ask)))
        parts: list[Segment] = []
        seen = ""
        turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        for number in turns:
            asked = self._render(messages[:number], True)
            whole = self._render(messages[: number + 1], False)
            if not asked.startswith(seen) or not whole.startswith(asked):
                return self._last(messages, ask)
            parts += [Segment(asked[len(seen) :], False), Segment(whole[len(asked) :], True)]
            seen = whole
        full = self._render(messages, ask)
        if not full.startswith(seen):
            return self._last(messages, ask)
        return [part for part in (*parts, Segment(full[len(seen) :], False)) if part.text]

    def _last(self, messages: Sequence[Message], ask: bool) -> list[Segment]:
        if ask or messages[-1]["role"] != "assistant":
            return [Segment(self._render(messages, ask), False)]
        asked, whole = self._render(messages[:-1], True), self._render(messages, False)
        if not whole.startswith(asked):
            raise ValueError(
                "the chat template writes an answer otherwise than it asks for one, so where it begins is not "
                "known. Mark it in the template: {% generation %} … {% endgeneration %}"
            )
        return [Segment(asked, False), Segment(whole[len(asked) :], True)]

    def _render(self, messages: Sequence[Message], ask: bool) -> str:
        if self.text == DEFAULT_TEMPLATE:  # known to be harmless
            return render(self._template, self._compiled, messages, ask)
        return self._renderer.render(messages, ask)

    @property
    def _template(self) -> Template:
        return Template(self.text, self._begin, self._end)

    @cached_property
    def _compiled(self) -> Any:
        return compile_template(self.text)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._template)


def _marked(text: str) -> Iterator[Segment]:
    for number, part in enumerate(re.split(f"[{BEGIN}{END}]", text)):
        if part:
            yield Segment(part, number % 2 == 1)


def text_or_file(given: str) -> str:
    """A template as it is, or read from the file that is named; a name without a file stays a name."""
    if is_template(given):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError):
        return given


def is_template(given: str) -> bool:
    """Whether this is a template and no name of a file."""
    return "{" in given or "\n" in given
