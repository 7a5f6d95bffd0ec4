"""Whether the Hugging Face hub can be reached, found out before its libraries try for half a minute."""

import os
import socket
import urllib.request
from functools import cache
from urllib.parse import urlsplit


@cache
def why_unreachable() -> str | None:
    """Why the hub can't be reached, or None. If it can't, its libraries are told to use their caches only.

    Call it before `datasets` or `huggingface_hub` is imported: they read the setting once.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return "HF_HUB_OFFLINE is set"
    if urllib.request.getproxies():
        return None  # then names are resolved elsewhere
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError as error:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return f"{address.hostname}: {error.strerror or error}"
    return None
