"""What the in-context score adds to an evaluation: the loss with and without it, in turns.

python tests/bench/in_context_cost.py
"""

import statistics
import time
from types import SimpleNamespace

import torch

from toolkit.models.cross_entropy import linear_cross_entropy
from toolkit.models.task import Given
from toolkit.objectives.causal_lm import CausalLMTask
from toolkit.spec.model import GPT, resolve_architecture
from toolkit.spec.objective import CausalLM

ROUNDS = 15


def main() -> None:
    torch.set_num_threads(1)
    model = GPT(kind="gpt", n_layers=4, d_model=256, n_heads=4)
    arch = resolve_architecture(model, vocab_size=4096, sequence_length=256)
    given = Given(arch, tokenizer=SimpleNamespace(end_of_text_id=0))
    task = CausalLMTask(CausalLM(kind="causal_lm"), given)
    task.initialise(0)
    task.eval()
    tokens = torch.randint(1, 4096, (8, 257))
    batch = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
    taken: dict[str, list[float]] = {"with": [], "without": []}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name in taken:
                begun = time.process_time()
                if name == "with":
                    task(batch)
                else:
                    hidden = task.trunk(batch["inputs"]).flatten(0, 1)
                    linear_cross_entropy(hidden, task.head.weight, batch["targets"].flatten())
                taken[name].append(time.process_time() - begun)
    ratio = statistics.median(a / b for a, b in zip(*taken.values(), strict=True))
    print(f"evaluation with the score takes {ratio:.3f} of the time without it (median of {ROUNDS})")


if __name__ == "__main__":
    main()
