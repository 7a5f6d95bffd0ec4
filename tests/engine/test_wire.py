"""What ranks tell each other arrives as it was, and can't be more than data."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import toolkit
from toolkit.engine.wire import pack, unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=10,
)


class Seen(NamedTuple):
    features: torch.Tensor
    labels: torch.Tensor | None


@given(PLAIN)
def test_plain_values_arrive_as_they_were(value: object) -> None:
    assert unpack(pack(value)) == value


@given(
    arrays(st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), array_shapes(min_dims=0, min_side=0))
)
def test_arrays_arrive_bit_for_bit(array: np.ndarray) -> None:
    found = unpack(pack([array]))[0]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool])
def test_tensors_and_named_tuples_arrive(dtype: torch.dtype) -> None:
    given = Seen(torch.randn(3, 2).to(dtype), None)
    found = unpack(pack([given, (given.features, "x")]))
    assert found[0]._fields == given._fields
    assert found[0].labels is None
    assert found[0].features.dtype == dtype
    assert torch.equal(found[0].features, given.features)
    assert torch.equal(found[1][0], given.features)


def test_not_a_number_arrives() -> None:
    assert np.isnan(unpack(pack(float("nan"))))


@pytest.mark.parametrize("value", [{"a": 1}, object(), Path("x"), np.array([object()])])
def test_what_is_not_data_is_not_sent(value: object) -> None:
    with pytest.raises(TypeError, match="ranks don't tell each other"):
        pack(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"os.system": [["x"], ["true"]]}',
        '{"tensor": [["<O", [1], ""], "float32"]}',
        '{"tensor": [["int8", [0], ""], "load"]}',
    ],
)
def test_what_is_not_data_is_not_taken(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        unpack(text)


def test_nothing_is_pickled_anywhere() -> None:
    pickling = re.compile(
        r"\bimport (pickle|dill|joblib|shelve)\b|_object(_list)?\(|torch\.load\(|torch\.save\("
    )
    roots = [Path(toolkit.__file__).parent, Path(toolkit.__file__).parents[1] / "tui"]
    found = [
        f"{path}: {line.strip()}"
        for root in roots
        for path in root.rglob("*.py")
        for line in path.read_text().splitlines()
        if pickling.search(line) and not re.search(r"\b(def )?(read_object|_object)\(", line)
    ]
    assert found == []
