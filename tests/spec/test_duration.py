"""Quantities: what parses, what it equals, and what is said of the rest."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from toolkit.spec.duration import BatchSize, Interval, Quantity, TrainLength

KINDS = (TrainLength, BatchSize, Interval)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8M tokens", TrainLength(8_000_000, "tokens")),
        ("8_000_000 tokens", TrainLength(8_000_000, "tokens")),
        ("1e9 tokens", TrainLength(10**9, "tokens")),
        ("1.1M steps", TrainLength(1_100_000, "steps")),
        ("1 epoch", TrainLength(1, "epochs")),
        ("0.5 epochs", TrainLength(0.5, "epochs")),
        ("20 tokens/param", TrainLength(20, "tokens/param")),
        ("5k rows", TrainLength(5000, "samples")),
        ("16k tokens", BatchSize(16_000, "tokens")),
        ("16Ki tokens", BatchSize(16_384, "tokens")),
        ("64 samples", BatchSize(64, "rows")),
        ("2 minutes", Interval(2, "minutes")),
        ("  500   steps ", Interval(500, "steps")),
    ],
)
def test_what_a_text_means(text: str, expected: Quantity) -> None:
    assert type(expected).parse(text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (TrainLength, "8M token", '"8M token" has no unit I know. Write tokens, steps or epochs.'),
        (TrainLength, "20 token/params", "Write tokens, steps or epochs. Did you mean tokens/param?"),
        (TrainLength, "8M", '"8M" has no unit. Write tokens, steps or epochs after the number.'),
        (TrainLength, "2 hours", "Write tokens, steps or epochs."),
        (TrainLength, "8m tokens", '"8m tokens" has no number I know: "8m". Write k, M, B or T after it.'),
        (TrainLength, "0.5 steps", '"0.5 steps" is not a whole number of steps.'),
        (TrainLength, "0 steps", '"0 steps" is not above zero and at most 1e18.'),
        (TrainLength, "-5 steps", 'is not a number and a unit. Write it like "16k tokens" or "500 steps".'),
        (TrainLength, "1e40 steps", "at most 1e18"),
        (BatchSize, "8 tokens/param", "Write tokens or rows."),
        (Interval, "2 days", "Write tokens, steps, epochs, seconds, minutes or hours."),
    ],
)
def test_what_is_said_of_a_bad_text(kind: type[Quantity], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind.parse(text)


@st.composite
def quantities(draw: st.DrawFn) -> Quantity:
    kind = draw(st.sampled_from(KINDS))
    unit = draw(st.sampled_from(kind.units))
    whole = st.integers(1, 10**18) | st.integers(1, 10**6).map(lambda n: n * 1000)
    part = st.floats(1e-9, 1e15)
    return kind(draw(whole if unit in ("tokens", "steps", "samples", "rows") else whole | part), unit)


@given(quantities())
def test_text_and_json_give_back_the_same_quantity(quantity: Quantity) -> None:
    kind = type(quantity)
    adapter = TypeAdapter(kind)
    assert kind.parse(str(quantity)) == quantity
    assert adapter.validate_json(adapter.dump_json(quantity)) == quantity
    assert re.fullmatch(adapter.json_schema()["pattern"], str(quantity))


def test_canonical_texts_are_short() -> None:
    texts = ["8M tokens", "16k tokens", "16384 tokens", "1.25B tokens", "2000 steps", "1 epoch", "2.5 epochs"]
    assert [str(TrainLength.parse(text)) for text in texts] == texts


@pytest.mark.parametrize(("value", "problem"), [(500, "500 has no unit."), (True, ""), (["x"], "")])
def test_a_bare_number_is_asked_for_its_unit(value: object, problem: str) -> None:
    with pytest.raises(
        ValueError, match=f'{problem}.*Write a number and a unit in quotes, like "16k tokens"'
    ):
        TypeAdapter(BatchSize).validate_python(value)


def test_time_intervals_know_their_seconds() -> None:
    assert Interval.parse("1.5 hours").seconds == 5400
    assert Interval.parse("90 seconds").seconds == 90
    assert Interval.parse("100 steps").seconds is None


def test_json_form_is_the_text() -> None:
    assert json.loads(TypeAdapter(Interval).dump_json(Interval.parse("2 minutes"))) == "2 minutes"
