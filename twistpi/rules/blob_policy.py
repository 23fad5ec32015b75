"""Which files a replica fetches before they are requested."""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.model.errors import InvalidName
from twistpi.model.names import IndexName

ALL: Final = "all"
ON_DEMAND: Final = "on-demand"


@attrs.frozen
class BlobPolicy:
    """The setting ``replicate-files``."""

    everything: bool = True
    indexes: frozenset[str] = frozenset()
    """The indexes whose files are fetched when not everything is."""

    @classmethod
    def parse(cls, text: str) -> BlobPolicy:
        """Parse ``all``, ``on-demand``, or a comma-separated list of indexes.  Raise ``ValueError``."""
        if text in (ALL, ON_DEMAND):
            return cls(everything=text == ALL)
        names = [name.strip() for name in text.split(",")]
        try:
            return cls(False, frozenset(str(IndexName.parse(name)) for name in names))
        except InvalidName as error:
            raise ValueError(text) from error

    def wants(self, index: str) -> bool:
        """Whether files of ``index`` are fetched."""
        return self.everything or index in self.indexes

    @property
    def wants_nothing(self) -> bool:
        """Whether no files are fetched."""
        return not self.everything and not self.indexes

    def __str__(self) -> str:
        if self.everything:
            return ALL
        return ",".join(sorted(self.indexes)) or ON_DEMAND
