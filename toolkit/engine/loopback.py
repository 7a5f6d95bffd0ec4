"""Where the ranks of one machine meet: on its loopback interface, which no other machine reaches.

PyTorch's own rendezvous listens on every interface, and unpickles what it is sent.
"""

import os
import socket
import sys

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

BACKEND = "tk-loopback"
ADDRESS = "127.0.0.1"
INTERFACE = "lo0" if sys.platform == "darwin" else "lo"


class Loopback(RendezvousHandler):
    """A rendezvous of one agent with itself, and the store that its ranks use."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        listener = socket.create_server((ADDRESS, 0))
        self._port = int(listener.getsockname()[1])
        self._store = TCPStore(
            ADDRESS, self._port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        place = RendezvousStoreInfo(ADDRESS, self._port)
        return RendezvousInfo(PrefixStore(self._run_id, self._store), 0, 1, place)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


def use_loopback() -> str:
    """Have the ranks that this process starts meet and talk on the loopback interface; the name of the backend."""

    def create(parameters: RendezvousParameters) -> RendezvousHandler:
        return Loopback(parameters.run_id)

    rendezvous_handler_registry.register(BACKEND, create)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", INTERFACE)
    return BACKEND
