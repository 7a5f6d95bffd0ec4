"""Keys and values of the tokens that a decoder has seen, so that each new token costs one position."""

import torch
from torch import Tensor

from toolkit.spec.model import GPTArchitecture


class KVCache:
    """Room for `capacity` positions of every layer, taken once.

    `length` is the number of positions filled. A trunk's forward pass writes its tokens behind them, layer by
    layer, and moves `length` on when the last layer is done.
    """

    def __init__(
        self,
        arch: GPTArchitecture,
        *,
        batch: int = 1,
        capacity: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.capacity = arch.max_sequence_length if capacity is None else capacity
        self.length = 0
        shape = (arch.n_layers, batch, arch.n_kv_heads, self.capacity, arch.head_dim)
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write `k` and `v`, (batch, kv_heads, new, head_dim), and return all keys and values of the layer: of as
        many heads as there are in `k`.

        Raises ValueError if they don't fit.
        """
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} positions; {end} were asked of it.")
        heads = k.shape[1]
        keys, values = self._keys[layer, :, :heads], self._values[layer, :, :heads]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def repeat(self, times: int) -> "KVCache":
        """As many rows with what the one row of this cache holds. Raises ValueError where it has more rows."""
        if self._keys.shape[1] != 1:
            raise ValueError(f"the cache has {self._keys.shape[1]} rows; one can be repeated.")
        copy = object.__new__(KVCache)
        copy.capacity, copy.length = self.capacity, self.length
        copy._keys, copy._values = (part.repeat(1, times, 1, 1, 1) for part in (self._keys, self._values))
        return copy

    def clear(self) -> None:
        """Forget every position and keep the room."""
        self.length = 0
