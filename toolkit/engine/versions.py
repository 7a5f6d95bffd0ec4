"""The versions that a result can depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Of what a result can depend on."""
    found = {"python": platform.python_version()}
    for package in ("tk-pretrain", "torch", "tokenizers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
