"""Where a run takes place: one folder, one nginx, one corpus, and one twistpi process that lives through everything."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from bench.corpus import Corpus
from bench.nginx import Nginx
from bench.servers import Twistpi

_SETTLE_SECONDS = 1.5


@attrs.define
class Stage:
    """What every measurement is handed."""

    folder: Path
    quick: bool
    """Fewer and shorter rounds: figures to work with, not to publish."""
    nginx: Nginx
    corpus: Corpus
    _twistpi: Twistpi | None = None
    _idle: Mapping[str, int] | None = None

    @classmethod
    def set_up(cls, folder: Path, quick: bool) -> Stage:
        """Start nginx below ``folder``."""
        nginx = Nginx.start(folder)
        return cls(folder, quick, nginx, Corpus(folder / "upstream", nginx.upstream_url))

    @property
    def twistpi(self) -> Twistpi:
        """The one process; started, and its idle memory noted, when it is first asked for."""
        if self._twistpi is None:
            self._twistpi = Twistpi.start(self.folder / "server", self.corpus.simple_url)
            time.sleep(_SETTLE_SECONDS)
            self._idle = self._twistpi.server.memory()
        return self._twistpi

    @property
    def idle_memory(self) -> Mapping[str, int]:
        """Memory of the process before anything was asked of it."""
        assert self.twistpi
        assert self._idle
        return self._idle

    def rounds(self, full: int, quick: int) -> int:
        """How many rounds a measurement has."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell who waits what is going on."""
        print(text, file=sys.stderr, flush=True)

    def clear_away(self) -> None:
        """Stop all processes."""
        if self._twistpi:
            self._twistpi.stop()
        self.nginx.stop()
