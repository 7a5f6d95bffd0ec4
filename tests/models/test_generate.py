"""Generation with the cache is the full computation, only cheaper."""

from collections import Counter

import pytest
import torch

from tests.models.conftest import VARIANTS, Build, architecture
from toolkit.models.cache import KVCache
from toolkit.models.generate import choose, generate
from toolkit.models.head import LMHead
from toolkit.models.trunk import GPTTrunk

Model = tuple[GPTTrunk, LMHead]


@pytest.mark.parametrize("cuts", [(1,) * 24, (10, 1, 1, 12), (5, 7, 12), (24,)])
def test_pieces_through_the_cache_give_the_whole(
    model: Model, tokens: torch.Tensor, cuts: tuple[int, ...]
) -> None:
    trunk, _ = model
    whole = trunk(tokens)
    cache = KVCache(trunk.arch, batch=3)
    with torch.no_grad():
        pieces = [trunk(piece, cache=cache) for piece in tokens.split(list(cuts), dim=1)]
    assert cache.length == 24
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=2e-5, rtol=1e-4)


def test_greedy_text_is_that_of_full_recomputation(model: Model) -> None:
    trunk, head = model
    seen = [3, 1, 4]
    for _ in range(20):
        seen.append(int(head(trunk(torch.tensor([seen])))[0, -1].argmax()))
    assert list(generate(trunk, head, [3, 1, 4], max_new_tokens=20, temperature=0)) == seen[3:]


def test_a_trunk_compiled_for_training_is_not_compiled_for_each_length(build: Build) -> None:
    trunk, head = build()
    plain = list(generate(trunk, head, [3, 1, 4], max_new_tokens=12, temperature=0))
    compiled = []

    def backend(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        compiled.append(module)
        return module

    for block in trunk.blocks:
        block.forward = torch.compile(block.forward, backend=backend)
    assert list(generate(trunk, head, [3, 1, 4], max_new_tokens=12, temperature=0)) == plain
    assert not compiled
    trunk(torch.tensor([[3, 1, 4]]))
    assert compiled


@pytest.mark.parametrize("prompt", [2, 20, 24, 60])
def test_text_goes_on_past_the_context(model: Model, prompt: int) -> None:
    trunk, head = model
    written = list(generate(trunk, head, list(range(prompt)), max_new_tokens=70, temperature=0))
    assert len(written) == 70
    seen = list(range(prompt))[-max(24 - 70, 12) :]
    window = list(seen)
    for token in written:
        if len(window) > 24:
            window = seen[-12:]
        assert token == int(head(trunk(torch.tensor([window])))[0, -1].argmax())
        seen.append(token)
        window.append(token)


def test_a_long_prompt_keeps_as_much_as_leaves_room(build: Build) -> None:
    trunk, head = build()
    long, tail = list(range(50)), list(range(50))[-20:]
    assert list(generate(trunk, head, long, max_new_tokens=4, temperature=0)) == list(
        generate(trunk, head, tail, max_new_tokens=4, temperature=0)
    )


def test_a_seed_decides_the_text(build: Build) -> None:
    trunk, head = build()

    def text(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(generate(trunk, head, [1], max_new_tokens=20, temperature=2.0, generator=generator))

    assert text(1) == text(1) != text(2)


def test_it_stops_before_the_stop_token(build: Build) -> None:
    trunk, head = build()
    free = list(generate(trunk, head, [1], max_new_tokens=20, temperature=0))
    stop = free[5]
    stopped = list(generate(trunk, head, [1], max_new_tokens=20, temperature=0, stop_id=stop))
    assert stopped == free[: free.index(stop)]


def test_training_goes_on_as_before(build: Build, tokens: torch.Tensor) -> None:
    trunk, head = build(dropout=0.5)
    trunk.train()
    one, other = (list(generate(trunk, head, [1], max_new_tokens=10, temperature=0)) for _ in range(2))
    assert one == other
    assert trunk.training
    assert trunk.blocks[0].attention.training
    trunk(tokens).sum().backward()


def frequencies(logits: torch.Tensor, **options: float | int | None) -> dict[int, float]:
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(choose(logits, generator=generator, **options) for _ in range(4000))  # type: ignore[arg-type]
    return {token: count / 4000 for token, count in sorted(drawn.items())}


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.2, 0.3]).log()
    assert frequencies(logits) == pytest.approx({0: 0.5, 1: 0.2, 2: 0.3}, abs=0.03)
    sharper = frequencies(logits, temperature=0.5)
    assert sharper == pytest.approx({0: 25 / 38, 1: 4 / 38, 2: 9 / 38}, abs=0.03)
    assert frequencies(logits, top_k=2) == pytest.approx({0: 5 / 8, 2: 3 / 8}, abs=0.03)
    assert frequencies(logits, top_p=0.6) == pytest.approx({0: 5 / 8, 2: 3 / 8}, abs=0.03)
    assert frequencies(logits, top_p=0.4) == {0: 1.0}
    assert frequencies(logits, top_k=2, top_p=0.5) == {0: 1.0}
    assert frequencies(logits, top_k=99, top_p=1.0) == frequencies(logits)
    assert frequencies(logits, temperature=0) == {0: 1.0}


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([], {}, "there is nothing to continue"),
        ([1], {"temperature": -1.0}, "temperature = -1.0 is negative"),
        ([1], {"top_k": 0}, "top_k = 0: keep at least one token"),
        ([1], {"top_p": 1.5}, "top_p = 1.5 is not a probability above 0"),
    ],
)
def test_bad_options_are_named(
    build: Build, tokens: list[int], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        next(generate(*build(), tokens, max_new_tokens=1, **options))  # type: ignore[arg-type]


def test_a_full_cache_says_so() -> None:
    arch = architecture(**VARIANTS["grouped"])
    cache = KVCache(arch, capacity=4)
    k = torch.zeros(1, 2, 5, 8)
    with pytest.raises(ValueError, match="the cache holds 4 positions; 5 were asked of it"):
        cache.extend(0, k, k)
