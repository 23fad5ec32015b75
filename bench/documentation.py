"""The measured figures into ``docs/performance.rst``, between its two markers; the words around them are written by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.builds import PROJECT
from bench.figures import Figure, as_restructured_text

_PAGE = PROJECT / "docs" / "performance.rst"
_BEGIN = ".. Figures begin; python -m bench.run --write-docs replaces them.\n"
_END = ".. Figures end.\n"


def write_documentation(figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    """Replace what stands between the markers; raises ``ValueError`` when one is missing."""
    head, begin, rest = _PAGE.read_text().partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{_PAGE} has lost the comments between which the figures stand")
    described = "\n".join(f":{name}: {value}" for name, value in machine.items())
    _PAGE.write_text(f"{head}{begin}\n{described}\n\n{as_restructured_text(figures)}\n{end}{tail}")
