"""Few-shot prompts from files and rows."""

import json
from pathlib import Path

import pytest

from toolkit.data.errors import DataError
from toolkit.evals.shots import Shot, as_shot, few_shot_prompt, read_shots


class Characters:
    """A tokenizer of one token a character."""

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))


SHOTS = [Shot("one", "1"), Shot("two {x}", "2"), Shot("three", "3")]


def test_a_prompt_ends_where_the_answer_begins() -> None:
    prompt, kept = few_shot_prompt(SHOTS, "four", Characters(), room=100)  # type: ignore[arg-type]
    assert prompt == "one => 1\ntwo {x} => 2\nthree => 3\nfour =>"
    assert kept == 3


def test_whole_examples_are_left_out_where_there_is_no_room() -> None:
    prompt, kept = few_shot_prompt(SHOTS, "four", Characters(), room=20)  # type: ignore[arg-type]
    assert (prompt, kept) == ("three => 3\nfour =>", 1)


def test_a_form_of_ones_own() -> None:
    prompt, _ = few_shot_prompt(SHOTS[:1], "q", Characters(), room=99, form="Q: {input}\nA: {output}.")  # type: ignore[arg-type]
    assert prompt == "Q: one\nA: 1.\nQ: q\nA:"
    for form in ("{output}", "{input}", "{output} {input}"):
        with pytest.raises(ValueError, match="needs"):
            few_shot_prompt(SHOTS, "q", Characters(), room=99, form=form)  # type: ignore[arg-type]


def test_examples_come_from_files_drawn_by_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "shots.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"t{n}", "label": n % 2}) for n in range(20)))
    assert read_shots(path, None, 0)[3] == Shot("t3", "1")
    assert read_shots(path, 4, 1) == read_shots(path, 4, 1) != read_shots(path, 4, 2)
    path.write_text('{"text": "no answer"}')
    with pytest.raises(DataError, match=r"shots.jsonl:1.*no question with its answer"):
        read_shots(path, 2, 0)
    with pytest.raises(DataError, match="no such file"):
        read_shots(tmp_path / "nowhere.jsonl", 2, 0)


def test_the_first_pair_of_fields_counts() -> None:
    assert as_shot({"prompt": "p", "completion": "c", "text": "t", "label": "l"}) == Shot("p", "c")
    assert as_shot({"text": "t", "label": 0}) == Shot("t", "0")
    assert as_shot({"text": "t"}) is None
