"""What is hidden, and what is not: properties of masking for any rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.objectives.masking import Masking
from toolkit.spec.objective import MaskedLM

VOCABULARY = 40
END, MASK, OTHER = 0, 39, 1
WORDS = 5
"""Tokens that begin a word are those divisible by this; the others go on."""


class Vocabulary:
    """Three special tokens; words begin at every fifth id."""

    vocab_size = VOCABULARY
    end_of_text_id = END
    mask_id: int | None = MASK
    special_ids = (END, OTHER, MASK)
    word_edges = (np.arange(VOCABULARY) % WORDS != 0, np.ones(VOCABULARY, bool))

    def encode(self, text: str) -> list[int]:
        return []

    def decode(self, ids: object) -> str:
        return ""


@st.composite
def rows(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and lengths of padded rows, some with nothing to hide."""
    length = draw(st.integers(1, 40))
    n = draw(st.integers(1, 6))
    tokens = draw(st.lists(st.integers(0, MASK - 1), min_size=n * length, max_size=n * length))
    lengths = draw(st.lists(st.integers(0, length), min_size=n, max_size=n))
    return torch.tensor(tokens).view(n, length), torch.tensor(lengths)


OBJECTIVES = st.builds(
    MaskedLM,
    kind=st.just("masked_lm"),
    share=st.sampled_from([0.15, 0.3, 0.7]),
    choose=st.sampled_from(["tokens", "words", "spans"]),
    replace=st.sampled_from(["mask", "bert"]),
)


@given(rows(), OBJECTIVES, st.integers(0, 1000))
@settings(deadline=None, max_examples=150)
def test_only_text_is_hidden_and_as_much_as_asked(batch, objective, seed):
    tokens, lengths = batch
    masking = Masking(objective, Vocabulary())
    torch.manual_seed(seed)
    masked, chosen = masking.hide(tokens, lengths)
    real = torch.arange(tokens.shape[1]) < lengths[:, None]
    special = torch.isin(tokens, torch.tensor(Vocabulary.special_ids))
    assert not (chosen & (special | ~real)).any()
    assert torch.equal(masked[~chosen], tokens[~chosen])
    text = (real & ~special).sum(1)
    budget = masking.budget(tokens, lengths)
    assert ((budget >= 1) == (text >= 1)).all()
    assert ((budget - objective.share * text).abs() <= 1).all()
    if objective.choose == "words":
        for row in range(len(tokens)):
            words = words_of(tokens[row], (real & ~special)[row])
            touched = [word for word in words if any(chosen[row, i] for i in word)]
            assert all(chosen[row, i] for word in touched for i in word)
            assert int(chosen[row].sum()) <= budget[row] or len(touched) == 1
            assert bool(touched) == bool(words)
    else:
        assert torch.equal(chosen.sum(1), budget)
    if objective.replace == "mask":
        assert (masked[chosen] == MASK).all()
    else:
        replaced = masked[chosen & (masked != MASK)]
        assert not torch.isin(replaced, torch.tensor(Vocabulary.special_ids)).any()


def words_of(tokens: torch.Tensor, text: torch.Tensor) -> list[list[int]]:
    words: list[list[int]] = []
    for i, token in enumerate(tokens.tolist()):
        if not text[i]:
            continue
        goes_on = i > 0 and bool(text[i - 1]) and token % WORDS != 0
        if goes_on:
            words[-1].append(i)
        else:
            words.append([i])
    return words


def test_bert_s_shares():
    """80 % a mask, 10 % a random token, 10 % the token itself."""
    tokens = torch.full((200, 100), 7)
    masking = Masking(MaskedLM(kind="masked_lm", replace="bert", share=0.5), Vocabulary())
    torch.manual_seed(0)
    masked, chosen = masking.hide(tokens, torch.full((200,), 100))
    found = masked[chosen]
    assert len(found) == 10_000
    assert (found == MASK).float().mean() == pytest.approx(0.8, abs=0.02)
    kept = (found == 7).float().mean()
    assert kept == pytest.approx(0.1 + 0.1 / 37, abs=0.02)
    assert len(found.unique()) > 30


def test_spans_are_longer_than_chance():
    tokens = torch.full((50, 200), 7)
    runs = {}
    for choose in ("tokens", "spans"):
        masking = Masking(MaskedLM(kind="masked_lm", choose=choose, span_length=5), Vocabulary())
        torch.manual_seed(0)
        chosen = masking.choose(tokens, torch.full((50,), 200)).int()
        starts = (chosen[:, 1:] > chosen[:, :-1]).sum() + chosen[:, 0].sum()
        runs[choose] = float(chosen.sum() / starts)
    assert runs["tokens"] < 1.6
    assert runs["spans"] > 3.5


def test_the_seed_decides_alone():
    tokens = torch.randint(2, MASK, (4, 30))
    masking = Masking(MaskedLM(kind="masked_lm"), Vocabulary())
    lengths = torch.full((4,), 30)

    def hidden(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return masking.hide(tokens, lengths)[0]

    assert torch.equal(hidden(1), hidden(1))
    assert not torch.equal(hidden(1), hidden(2))


def test_a_tokenizer_without_a_mask_is_named():
    vocabulary = Vocabulary()
    vocabulary.mask_id = None
    with pytest.raises(ValueError, match="the tokenizer has no mask token, which masked_lm needs"):
        Masking(MaskedLM(kind="masked_lm"), vocabulary)
