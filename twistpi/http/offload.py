"""Running what blocks in another thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Offload(Protocol):
    """Runs a blocking function in another thread, as ``deferToThread`` does."""

    def __call__(
        self, function: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Deferred[_Result]:
        """Return a Deferred with the function's result."""
