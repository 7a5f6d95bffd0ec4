"""Answers in a conversation, and completions of prompts. The loss is on what the assistant says."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from toolkit.models.cross_entropy import IGNORED
from toolkit.models.task import Batch, Report
from toolkit.spec.chat_template import DEFAULT_TEMPLATE, ChatTemplate, Message, Segment
from toolkit.targets.target import Example, Form, Reader, Values, field_of, text_of
from toolkit.targets.words import Pair, WordsTask, Written, fields, pairs, room, shown

SHORT = 32
"""Tokens up to which an answer is short: it is written, and compared to the letter."""
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


class ChatForm(Form):
    """A conversation as `EOT rendered`, with targets on the answers; a template that begins with a token of its own
    has no EOT before it. A row that is too long loses its earliest turns, then the beginning of its prompt."""

    keys = frozenset({"prompt_key", "completion_key"})

    def __init__(self, section: Any, encoder: Any, longest: int) -> None:
        super().__init__(section, encoder, longest)
        self.chat_template = section.template or self.tokenizer.chat_template or DEFAULT_TEMPLATE
        """What is kept with the model, to be talked to in the same way."""
        self._conversation = Conversation(self.chat_template, self.tokenizer)
        self._conversation.check()

    def identity(self) -> Any:
        return [*super().identity(), self.chat_template]

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        tokenizer = self.tokenizer
        if self.section.prompt_key is not None:
            prompt, completion = (
                field_of(row, self.section.prompt_key),
                text_of(row, self.section.completion_key),
            )
            answer = [*tokenizer.encode(completion), tokenizer.end_of_text_id]
            ids = [tokenizer.begin_of_text_id, *tokenizer.encode(as_prompt(prompt))]
            kept = room(self.longest, answer)
            cut = len(ids) > kept
            ids = [ids[0], *ids[len(ids) - kept + 1 :]] if cut else ids
            return Example(fields(ids, answer), len(answer), len(completion.encode()), cut)
        messages = messages_of(row)
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        if not messages:
            raise ValueError("no message is the assistant's, so there is no answer to learn")
        return self._fitted(self._conversation.parts(messages), messages)

    def _fitted(self, parts: list[tuple[list[int], bool]], messages: Sequence[Message]) -> Example:
        """The turns at the end that fit, and what stands at the head of a row."""
        while parts and not parts[-1][1]:
            parts = parts[:-1]
        if not parts:
            raise ValueError("the chat template leaves the assistant's messages out")
        *turns, last = parts
        begin = self._conversation.begin
        kept = room(self.longest, last[0]) - len(begin)
        over = sum(len(ids) for ids, _ in turns) - kept
        cut = over > 0
        while over > 0:
            ids, answer = turns[0]
            dropped = ids if answer or len(ids) <= over else ids[:over]
            turns[:1] = [] if len(dropped) == len(ids) else [(ids[over:], False)]
            over -= len(dropped)
        while cut and turns and turns[0][1]:
            turns.pop(0)  # an answer without its prompt teaches nothing
        parts = [(begin, False), *turns, last]
        inputs = [i for ids, _ in parts for i in ids]
        targets = [i if answer else IGNORED for ids, answer in parts for i in ids]
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        learned = said[-sum(answer for _, answer in parts) :]
        return Example(
            {"inputs": inputs[:-1], "targets": targets[1:]},
            sum(target != IGNORED for target in targets[1:]),
            sum(len(text.encode()) for text in learned),
            cut,
        )

    def question(self, row: Values, labels: tuple[str, ...]) -> Example:
        if self.section.prompt_key is not None:
            prompt = as_prompt(field_of(row, self.section.prompt_key))
            ids = [self.tokenizer.begin_of_text_id, *self.tokenizer.encode(prompt)]
        else:
            messages = messages_of(row)
            while messages and messages[-1]["role"] == "assistant":
                messages.pop()
            if not messages:
                raise ValueError("no message asks for an answer")
            ids = self._conversation.asked(messages)
        kept = self.longest * 3 // 4
        cut = len(ids) > kept
        return Example({"inputs": [ids[0], *ids[len(ids) - kept + 1 :]] if cut else ids}, cut=cut)

    def row(self, text: str) -> Values:
        if self.section.prompt_key is not None:
            return {self.section.prompt_key: text}
        return {"messages": [{"role": "user", "content": text}]}


class Conversation:
    """Conversations as ids: by a template, with the tokenizer's special tokens where the template names them and
    nowhere else."""

    def __init__(self, template: str, tokenizer: Reader) -> None:
        self._tokenizer = tokenizer
        begin = tokenizer.token(tokenizer.begin_of_text_id)
        self._template = ChatTemplate(template, tokenizer.end_of_text, begin)
        self._special = frozenset(tokenizer.special_tokens.values())

    def check(self) -> None:
        """Raises ValueError for a template that can't be used."""
        self._template.check()

    @cached_property
    def begin(self) -> list[int]:
        """What stands at the head of a row: nothing where the template brings its own token."""
        asked = self._encoded(self._template.segments([{"role": "user", "content": "a"}], ask=True))
        first = [i for ids, _ in asked for i in ids][:1]
        return [] if self._special.intersection(first) else [self._tokenizer.begin_of_text_id]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer: the end of the text, and what the template puts behind the assistant's words."""
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
        answers = [ids for ids, answer in self._encoded(self._template.segments(probe)) if answer]
        first = [i for ids in answers for i in ids if i in self._special][:1]
        return frozenset({self._tokenizer.end_of_text_id, *first})

    def parts(self, messages: Sequence[Message]) -> list[tuple[list[int], bool]]:
        """The ids of the parts of a conversation, and whether they are answers. Raises ValueError."""
        return self._encoded(self._template.segments(self._guarded(messages)))

    def asked(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation that asks for an answer. Raises ValueError."""
        parts = self._encoded(self._template.segments(self._guarded(messages), ask=True))
        return [*self.begin, *(i for ids, _ in parts for i in ids)]

    def _guarded(self, messages: Sequence[Message]) -> list[Message]:
        return [{**message, "content": self._tokenizer.guard(message["content"])} for message in messages]

    def _encoded(self, segments: Sequence[Segment]) -> list[tuple[list[int], bool]]:
        parts = []
        for text, answer in segments:
            ids = self._tokenizer.encode_markup(text)
            if answer and not self._special.intersection(ids):
                ids = [*ids, self._tokenizer.end_of_text_id]  # else nothing would tell where it ends
            parts.append((ids, answer))
        return parts


def messages_of(row: Values) -> list[Message]:
    """The messages of a row in any of the usual columns. Raises ValueError."""
    if "messages" in row:
        found = [message_of(message, "role", "content") for message in listed(row, "messages")]
    elif "conversations" in row:
        found = [message_of(message, "from", "value") for message in listed(row, "conversations")]
        if isinstance(row.get("system"), str) and row["system"].strip():
            found.insert(0, {"role": "system", "content": row["system"]})
    elif "instruction" in row:
        found = list(_alpaca(row))
    else:
        known = ", ".join(sorted(map(str, row))[:12])
        raise ValueError(
            f"no conversation: messages, conversations or instruction was expected; the row has {known}. "
            'For prompts and completions name their fields: prompt_key = "prompt"'
        )
    for number, message in enumerate(found):
        if not message["content"].strip() and message["role"] in ("user", "assistant"):
            answer = message["role"] == "assistant"
            raise ValueError(f"message {number + 1} ({'an answer' if answer else 'the question'}) is empty")
    return found


def listed(row: Values, key: str) -> Sequence[Any]:
    value = field_of(row, key)
    if not isinstance(value, list) or not value:
        raise ValueError(f'field "{key}" holds no list of messages')
    return value


def message_of(message: Any, role: str, content: str) -> Message:
    """A message by the names of its fields, OpenAI's or ShareGPT's. Raises ValueError."""
    if not isinstance(message, Mapping):
        raise ValueError(f"a message is an object with {role} and {content}")  # noqa: TRY004 - of the row
    if role not in message and content not in message:
        role, content = ("from", "value") if role == "role" else ("role", "content")
    name, said = message.get(role), message.get(content)
    if isinstance(said, list):
        said = "".join(str(part.get("text", "")) for part in said if isinstance(part, Mapping))
    if not isinstance(name, str) or not isinstance(said, str):
        raise ValueError(f"a message has no text under {role} and {content}")  # noqa: TRY004 - of the row
    return {**message, "role": _ROLES.get(name, name), "content": said}


def _alpaca(row: Values) -> Iterator[Message]:
    if isinstance(row.get("system"), str) and row["system"].strip():
        yield {"role": "system", "content": row["system"]}
    history = row.get("history") or []
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, list) or [type(text) for text in turn] != [str, str]:
            raise ValueError("history is a list of pairs: a question and its answer")
        yield {"role": "user", "content": turn[0]}
        yield {"role": "assistant", "content": turn[1]}
    if not isinstance(row.get("input") or "", str):
        raise ValueError("input is text")  # noqa: TRY004 - of the row
    parts = [text_of(row, "instruction"), row.get("input") or ""]
    yield {"role": "user", "content": "\n\n".join(part for part in parts if part)}
    if "output" in row:
        yield {"role": "assistant", "content": text_of(row, "output")}


def as_prompt(value: Any) -> str:
    """A prompt, which may be empty. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"a prompt is text, not {type(value).__name__}")  # noqa: TRY004 - of the row
    return value


class ChatTask(WordsTask):
    """Next-token prediction of answers. Batches hold `inputs` and `targets`, (rows, sequence) int64."""

    form = ChatForm
    observed_rows = 64
    observed_at_last = 500

    def __init__(self, section: Any, given: Any) -> None:
        super().__init__(section, given)
        self._plain = self.goes_on = section.prompt_key is not None
        self._template: str | None = section.template

    @cached_property
    def conversation(self) -> Conversation:
        template = self._template or self.tokenizer.chat_template or DEFAULT_TEMPLATE
        return Conversation(template, self.tokenizer)

    @property
    def stop_ids(self) -> frozenset[int]:
        return super().stop_ids if self._plain else self.conversation.stop_ids

    def prompt(self, text: str) -> list[int]:
        """The text as a question; as it stands where the rows are prompts and completions."""
        return super().prompt(text) if self._plain else self.ask([{"role": "user", "content": text}])

    def ask(self, messages: Sequence[Message]) -> list[int]:
        """A conversation up to where the model goes on. Raises ValueError for one that the template refuses."""
        if self._plain:
            return super().prompt(messages[-1]["content"])
        return self.conversation.asked(messages)

    def continuations(self, tokens: list[int], **options: Any) -> Iterator[int]:
        for token in super().continuations(tokens, **options):
            if token in self.stop_ids:
                return
            yield token

    def observe(self, batch: Batch) -> list[Written]:
        asked = [pair for pair in pairs(batch) if len(pair.answer) <= SHORT]
        return self.written([Pair(p.prompt, _until(p.answer, self.stop_ids)) for p in asked], SHORT + 1)

    @torch.inference_mode()
    def report(self, observed: Sequence[Any]) -> Report:
        written = [one for part in observed for one in part]
        if not written:
            return Report()
        same = [one.text.strip() == one.wanted.strip() for one in written]
        return Report(
            {"exact_match": sum(same) / len(same), "exact_match_rows": float(len(same))},
            samples=shown(written),
        )


def _until(ids: Sequence[int], stop: frozenset[int]) -> list[int]:
    return list(ids[: next((place for place, i in enumerate(ids) if i in stop), len(ids))])
