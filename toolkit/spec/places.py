"""Where data lies: a path of this machine, or a URL of a store elsewhere."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit


def is_url(path: str) -> bool:
    """Whether `path` is a URL, such as `s3://bucket/texts`, which no folder is put before."""
    return "://" in path


def under(root: str, path: str) -> str:
    """A relative path below `root`, which may be a URL too."""
    if is_url(root) and not path.startswith("/"):
        return f"{root.rstrip('/')}/{path}"
    return str(Path(root) / path)


def beside(folder: Path, parent: str) -> str:
    """A parent that is a spec, where it lies in `folder`; else the parent as it is written."""
    name, at, selector = parent.partition("@")
    found = folder / name
    return f"{found}{at}{selector}" if name.endswith(".toml") and found.is_file() else parent


def credentials_of(path: str) -> bool:
    """Whether a URL names a user with a password, or a signature: what belongs in no spec."""
    if not is_url(path):
        return False
    parts = urlsplit(path)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    return ":" in parts.netloc.rpartition("@")[0] or not names.isdisjoint(_SECRET)


_SECRET = {"key", "secret", "token", "password", "sig", "signature", "x-amz-signature", "x-goog-signature"}
"""Parameters of URLs that open what is closed."""
