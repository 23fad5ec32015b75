"""Where things are in a server directory."""

from __future__ import annotations

import os

import attrs


@attrs.frozen
class Layout:
    """Where things are in a server directory."""

    path: str

    @property
    def changelog(self) -> str:
        """The folder of the changelog's segments."""
        return os.path.join(self.path, "changelog")

    @property
    def view(self) -> str:
        """The view's database."""
        return os.path.join(self.path, "view.sqlite")

    @property
    def names(self) -> str:
        """The folder of the mirrors' name lists."""
        return os.path.join(self.path, "names")

    @property
    def secret(self) -> str:
        """The file with the secret, unless the settings name another."""
        return os.path.join(self.path, "secret")

    @property
    def private(self) -> tuple[str, ...]:
        """What nobody else may read, whether it exists or not."""
        return (self.changelog, self.names, *(self.view + suffix for suffix in ("", "-wal", "-shm", "-journal")))
