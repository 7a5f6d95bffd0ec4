"""What is wrong with a row is said with its file and line; skipped rows are counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.targets.conftest import LONGEST, section
from toolkit.data.dataset import Dataset
from toolkit.data.encoders import TextEncoder
from toolkit.data.errors import DataError
from toolkit.data.prepare_labelled import prepare_labelled
from toolkit.data.tokenizer import TextTokenizer
from toolkit.targets.registry import TARGETS

ASK = {"role": "user", "content": "hello"}
SAY = {"role": "assistant", "content": "hi"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "a label never seen": (
        {"kind": "classify", "labels": ["a", "b"]},
        {"text": "x", "label": "a"},
        {"text": "x", "label": "c"},
        'label "c" is not one of: a, b',
    ),
    "an empty text": (
        {"kind": "classify", "labels": ["a", "b"]},
        {"text": "x", "label": "a"},
        {"text": "  ", "label": "a"},
        "the text is empty",
    ),
    "a set with a label never seen": (
        {"kind": "multilabel", "labels": ["a"]},
        {"text": "x", "labels": ["a"]},
        {"text": "x", "labels": ["a", "z"]},
        'label "z" is not one of: a',
    ),
    "a conversation without an answer": (
        {"kind": "chat"},
        {"messages": [ASK, SAY]},
        {"messages": [ASK]},
        "no message is the assistant's, so there is no answer to learn",
    ),
    "an answer that does not fit": (
        {"kind": "chat"},
        {"messages": [ASK, SAY]},
        {"messages": [ASK, {**SAY, "content": "a" * 64}]},
        "the answer has 65 tokens, and a row at most 64: nothing of its prompt would be left. "
        "Raise sequence_length as far as the parent takes",
    ),
    "a prompt without a completion": (
        {"kind": "chat", "prompt_key": "prompt"},
        {"prompt": "1 + 1", "completion": "2"},
        {"prompt": "1 + 1"},
        'field "completion" is missing; the row has prompt',
    ),
    "a source without a target": (
        {"kind": "translate"},
        {"source": "x", "target": "y"},
        {"source": "x", "target": None},
        'field "target" is empty; the row has source, target',
    ),
    "tags for other tokens": (
        {"kind": "tag", "labels": ["O", "B-X"]},
        {"tokens": ["a"], "tags": ["O"]},
        {"tokens": ["a", "b"], "tags": ["O"]},
        "2 tokens have 1 tags",
    ),
    "an answer that is no option": (
        {"kind": "answer", "options": ["yes", "no"]},
        {"context": "x", "answer": "yes"},
        {"context": "x", "answer": "perhaps"},
        "the answer 'perhaps' is none of the options: yes, no",
    ),
    "a span that is not there": (
        {"kind": "answer"},
        {"context": "one two", "answer": "two"},
        {"context": "one two", "answer": "three"},
        'the answer "three" does not stand in the context',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_row_is_named_or_counted(case: str, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    options, good, bad, said = CASES[case]
    for name, third in (("train", bad), ("held_out", {**good, "n": -1})):
        lines = [{**good, "n": n, "of": name} for n in (1, 2, 4)]
        lines.insert(2, third)
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    data = {"path": str(tmp_path / "train.jsonl"), "validation_path": str(tmp_path / "held_out.jsonl")}
    made = section(**options, data={"kind": "files", **data})
    form = TARGETS[made.kind].form(made, TextEncoder(tokenizer, LONGEST), LONGEST)

    def prepare(skip_bad: bool) -> Dataset:
        return prepare_labelled(
            made.data,
            form,
            key=case,
            tokenizer=tokenizer,
            seed=1,
            skip_bad=skip_bad,
            cache=tmp_path / "cache",
        )

    with pytest.raises(DataError) as raised:
        prepare(skip_bad=False)
    place = f"{tmp_path / 'train.jsonl'}:3: "
    way_out = '. Mend the row, or pass over such rows: on_bad_row = "skip"'
    assert str(raised.value) == f"{place}{said}{way_out}"
    dataset = prepare(skip_bad=True)
    (source,) = dataset.facts.sources
    assert (source.train.rows, source.skipped, source.first_skipped) == (3, 1, f"{place}{said}")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.jsonl", '{"text": "x", "label": "a"}\n{"text": \n', ":2: not JSON: Expecting value"),
        (
            "rows.jsonl",
            '{"text": "x", "label": "a"}\n[1]\n',
            ":2: an object was expected, a row with named fields",
        ),
        (
            "rows.json",
            '[{"text": "x", "label": "a"}, 1]',
            ":2: an object was expected, a row with named fields",
        ),
        ("rows.csv", "text,label\nx,a\ny\n", ":3: 1 fields under 2 names"),
    ],
)
def test_a_row_that_can_not_be_read_is_one_bad_row(
    name: str, text: str, said: str, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    rows, held_out = tmp_path / name, tmp_path / "held_out.jsonl"
    rows.write_text(text)
    held_out.write_text('{"text": "y", "label": "a"}\n')
    data = {"kind": "files", "path": str(rows), "validation_path": str(held_out)}
    made = section(kind="classify", labels=["a", "b"], data=data)
    form = TARGETS[made.kind].form(made, TextEncoder(tokenizer, LONGEST), LONGEST)
    given = {"key": "x", "tokenizer": tokenizer, "seed": 1, "cache": tmp_path / "cache"}
    with pytest.raises(DataError) as raised:
        prepare_labelled(made.data, form, skip_bad=False, **given)
    assert str(raised.value) == f'{rows}{said}. Mend the row, or pass over such rows: on_bad_row = "skip"'
    (source,) = prepare_labelled(made.data, form, skip_bad=True, **given).facts.sources
    assert (source.train.rows, source.skipped, source.first_skipped) == (1, 1, f"{rows}{said}")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% include '/etc/passwd' %}",
            "the chat template reaches for a file. A template stands alone: write what it includes into it.",
        ),
        (
            "{{ messages.__class__ }}",
            "the chat template reaches outside its messages: access to attribute '__class__' of 'list' object is "
            "unsafe. Take that out of the template.",
        ),
        ("no_such_file.jinja", "there is no file 'no_such_file.jinja', and a template has braces."),
    ],
)
def test_a_spec_with_such_a_template_is_refused_with_its_place(
    tmp_path: Path, template: str, said: str
) -> None:
    from toolkit.spec.errors import SpecErrors
    from toolkit.spec.load import load_spec

    spec = tmp_path / "talk.toml"
    spec.write_text(
        'name = "talk"\nparent = "x/pretrain"\n[finetune.talk]\nkind = "chat"\n'
        f'data = {{ kind = "files", path = "x.jsonl" }}\ntemplate = "{template}"\n'
    )
    with pytest.raises(SpecErrors) as raised:
        load_spec(spec)
    assert str(raised.value) == f"{spec}:6:12  finetune.talk.template: {said}\n1 error. Nothing was run."


def test_a_template_may_be_a_file_and_is_kept_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    made = section(kind="chat", template=str(file))
    file.write_text("changed")
    assert made.template.startswith("{% for m")
    assert type(made).model_validate_json(made.model_dump_json()) == made


def test_a_parents_bad_template_is_its_own_fault(tokenizer: TextTokenizer) -> None:
    parent = tokenizer.with_chat_template("{{ ''.__class__ }}")
    with pytest.raises(ValueError, match="reaches outside its messages"):
        TARGETS["chat"].form(section(kind="chat"), TextEncoder(parent, LONGEST), LONGEST)
