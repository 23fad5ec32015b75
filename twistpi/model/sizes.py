"""Numbers of bytes for people."""

from __future__ import annotations


def in_words(size: float) -> str:
    """So many bytes in the unit that suits them, with at most four digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
