"""What ranks tell each other, as JSON: nothing that arrives is unpickled, so nothing that arrives can run."""

import base64
import json
from collections import namedtuple
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

_DTYPES = {str(np.dtype(code)): np.dtype(code) for code in "?bBhHiIlLefd"}


def pack(value: Any) -> str:
    """JSON of tensors, arrays, text, numbers and None, in lists, tuples and named tuples. Raises TypeError for
    anything else."""
    return json.dumps(_plain(value), separators=(",", ":"))


def unpack(text: str) -> Any:
    """What was packed. A named tuple comes back as one of the same name and fields.

    Raises ValueError, KeyError or TypeError for what was not packed.
    """
    return _rebuilt(json.loads(text))


def tell(text: str | None, group: ProcessGroup) -> str:
    """The text of the group's first rank, on every rank."""
    data = b"" if text is None else text.encode()
    size = torch.tensor([len(data)])
    dist.broadcast(size, group_src=0, group=group)
    buffer = _bytes(data, int(size))
    dist.broadcast(buffer, group_src=0, group=group)
    return buffer.numpy().tobytes().decode()


def collect(text: str, group: ProcessGroup) -> list[str]:
    """The texts of all ranks, in their order, on every rank."""
    data = text.encode()
    sizes = [torch.empty(1, dtype=torch.int64) for _ in range(group.size())]
    dist.all_gather(sizes, torch.tensor([len(data)]), group=group)
    longest = max(int(size) for size in sizes)
    buffers = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(buffers, _bytes(data, longest), group=group)
    return [
        buffer[: int(size)].numpy().tobytes().decode() for buffer, size in zip(buffers, sizes, strict=True)
    ]


def _bytes(data: bytes, size: int) -> Tensor:
    return torch.frombuffer(bytearray(data.ljust(size, b"\0") or b"\0"), dtype=torch.uint8)[:size]


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_plain(item) for item in value]
        case tuple():
            fields = getattr(value, "_fields", None)
            items = [_plain(item) for item in value]
            return {"tuple": items} if fields is None else {type(value).__name__: [list(fields), items]}
        case Tensor():
            bits = value.detach().cpu().contiguous()
            # numpy has no bfloat16, which float32 holds exactly.
            narrow = bits.dtype == torch.bfloat16
            array = (bits.float() if narrow else bits).numpy()
            return {"tensor": [_array(array), str(bits.dtype).removeprefix("torch.")]}
        case np.ndarray():
            return {"array": _array(value)}
        case np.generic():
            return _plain(value.item())
    raise TypeError(f"ranks don't tell each other values of type {type(value).__name__}")


def _array(array: Any) -> list[Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    if str(array.dtype) not in _DTYPES:
        raise TypeError(f"ranks don't tell each other arrays of type {array.dtype}")
    return [str(array.dtype), list(array.shape), data]


def _rebuilt(value: Any) -> Any:
    if isinstance(value, list):
        return [_rebuilt(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, found),) = value.items()
    match kind:
        case "tuple":
            return tuple(_rebuilt(item) for item in found)
        case "tensor":
            dtype = getattr(torch, found[1])
            if not isinstance(dtype, torch.dtype):
                raise TypeError(f"{found[1]} is no type of tensors")
            return torch.from_numpy(_array_again(*found[0])).to(dtype)
        case "array":
            return _array_again(*found)
    return namedtuple(kind, found[0])(*(_rebuilt(item) for item in found[1]))


def _array_again(dtype: str, shape: list[int], data: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(data), _DTYPES[dtype]).reshape(shape).copy()
