"""Where elementwise operations are fused for us, and where every pass over memory is paid for."""

import torch
from torch import Tensor


def pays_for_passes(x: Tensor) -> bool:
    """Whether `x` is worked on by eager CPU kernels. GPUs and `torch.compile` fuse the plain formulas; there,
    hand-written forward and backward passes with few temporaries take a third to a half of the time."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
