"""Put first on the path of a worker as `sitecustomize`, it spoils the gradients of some batches, on one rank.

TK_TEST_POISON="12=nan,33=1e6"    batches by number, and what the gradients are multiplied by
TK_TEST_POISON_RANK=1
"""

import importlib.abc
import importlib.util
import os
import sys

POISON = {int(k): float(v) for k, v in (e.split("=") for e in os.environ["TK_TEST_POISON"].split(","))}
ON_RANK = os.environ.get("TK_TEST_POISON_RANK", "0")
TARGET = "toolkit.engine.trainer"


def spoil(module: object) -> None:
    step, norm = module.Trainer.step, module.Sharding.norm
    here = os.environ.get("RANK", "0") == ON_RANK
    now = [1.0]

    def spoiled_step(self, number, micro_batches, *, skipped=0, **rest):
        now[0] = POISON.get(number + skipped, 1.0) if here else 1.0
        return step(self, number, micro_batches, skipped=skipped, **rest)

    def spoiled_norm(self, gradients):
        if now[0] != 1.0:
            for gradient in gradients:
                module.local(gradient).mul_(now[0])
        return norm(self, gradients)

    module.Trainer.step, module.Sharding.norm = spoiled_step, spoiled_norm


class Finder(importlib.abc.MetaPathFinder):
    """Spoils the module once it is imported."""

    def find_spec(self, name, path, target=None):
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def then_spoil(module):
            run(module)
            from toolkit.engine.parallel import local

            module.local = local
            spoil(module)

        spec.loader.exec_module = then_spoil
        return spec


sys.meta_path.insert(0, Finder())
