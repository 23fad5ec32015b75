"""The command ``du``: where the bytes of a server directory are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from twistpi.cli.administration import require_made
from twistpi.cli.commands.common import settings_options, show
from twistpi.cli.disk_usage import DiskUsage, disk_usage
from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Json
from twistpi.model.text import counted, in_words
from twistpi.server.settings import Settings
from twistpi.server.storage import reading
from twistpi.view.read_sizes import ProjectSize

_COLUMNS = ("FILES", "CACHED", "OWN", "METADATA", "TESTS", "DOCS", "TOTAL")


@click.command()
@settings_options()
@click.option("--index", metavar="USER/INDEX", help="Show the projects of this index, the largest first.")
@click.option("--json", "json", is_flag=True, help="Print the result as JSON, with all projects.")
def du(settings: Settings, index: str | None, json: bool) -> None:
    """Show where the bytes are.

    For each index, or each project of one: distributions that a mirror cached, those that were uploaded, core metadata, test
    results and documentation. A file that several indexes have is stored once. On a replica, files that it has not fetched count,
    too.
    """
    require_made(settings.serverdir)
    if index is not None:
        with reading(settings.serverdir) as reader:
            if reader.index(index) is None:
                raise UnknownIndex(index)
    usage = disk_usage(settings.serverdir, index)
    show(_fields(settings.serverdir, usage) if json else None, _lines(usage, by_project=index is not None))


def _fields(serverdir: str, usage: DiskUsage) -> Json:
    return {
        "serverdir": serverdir,
        "total": usage.total,
        "indexes": [{"index": one.index, **_sizes(one, usage)} for one in usage.indexes()],
        "projects": [{"index": one.index, "project": one.project, **_sizes(one, usage)} for one in usage.projects],
        "shared": [{"indexes": list(one.indexes), "files": one.files, "saved": one.size} for one in usage.shared],
        **{name.replace(" ", "-"): size for name, size in usage.other.items()},
    }


def _sizes(size: ProjectSize, usage: DiskUsage) -> dict[str, int]:
    is_cached = size.index in usage.mirrors
    sizes = (size.distributions * is_cached, size.distributions * (not is_cached), size.metadata, size.results)
    return dict(zip(map(str.lower, _COLUMNS), (size.files, *sizes, size.documentation, size.total), strict=True))


def _lines(usage: DiskUsage, *, by_project: bool) -> Iterator[str]:
    sizes = sorted(usage.projects if by_project else usage.indexes(), key=lambda one: -one.total)
    rows: list[tuple[str, ...]] = [("PROJECT" if by_project else "INDEX", *_COLUMNS)]
    rows += [(one.project if by_project else one.index, *_cells(list(_sizes(one, usage).values()))) for one in sizes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join((name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))))
    for shared in usage.shared:
        saved = f"{counted(shared.files, 'file')} of {', '.join(shared.indexes)}"
        yield f"{saved} {'is' if shared.files == 1 else 'are'} stored once, which saves {in_words(shared.size)}."
    if not by_project:
        yield "; ".join(f"{name} {in_words(size)}" for name, size in usage.other.items())
    yield f"total {in_words(usage.total)}"


def _cells(numbers: Sequence[int]) -> Iterator[str]:
    files, *sizes = numbers
    yield f"{files:,}"
    yield from (in_words(size) if size else "-" for size in sizes)
