"""Where data lies: a path of this machine, or a URL of a store elsewhere."""

from pathlib import Path


def is_url(path: str) -> bool:
    """Whether `path` is a URL, such as `s3://bucket/texts`, which no folder is put before."""
    return "://" in path


def under(root: str, path: str) -> str:
    """A relative path below `root`, which may be a URL too."""
    if is_url(root) and not path.startswith("/"):
        return f"{root.rstrip('/')}/{path}"
    return str(Path(root) / path)
