"""The command ``uses``: where a project is, and which releases require it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.inventory.uses import Dependent, FileHere, IndexUse, Uses, find_uses, parse_subject
from twistpi.model.text import counted, in_words, one_line
from twistpi.server.directory import Layout
from twistpi.server.settings import Settings
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.downloads import Downloads

_SHOWN: Final = 20
"""Files of an index, and dependents, that are shown to people."""


@click.command()
@settings_options()
@click.option("--json", "json", is_flag=True, help="Print the answer as JSON, with every file and every release.")
@click.argument("project", metavar="PROJECT[SPECIFIERS]")
def uses(settings: Settings, json: bool, project: str) -> None:
    """Show where a project is, and which releases require it.

    For each index: the files that are here with size, downloads and who uploaded them, and how many more an upstream lists. Then
    the releases of private indexes whose metadata requires PROJECT. With a version, as in 'hello==1.0', or specifiers, only
    those files are shown, and only releases that may be installed with one of these versions.
    """
    requirement = parse_subject(project)
    with administer(settings, now) as administration:
        found = find_uses(administration.reader, written_downloads(settings), requirement)
    show(found.fields() if json else None, _lines(found))


def written_downloads(settings: Settings) -> Downloads:
    """Return what was counted and written; the last half minute of a running server may be missing."""
    return Downloads(StatisticsFile(Layout(settings.serverdir).statistics), now)


def _lines(found: Uses) -> Iterator[str]:
    what = found.requirement
    if not found.indexes:
        yield f"No index here has {what}."
    for one in found.indexes:
        yield _index_line(one)
        yield from (f"  {_file_line(file)}" for file in one.files[:_SHOWN])
        if len(one.files) > _SHOWN:
            yield f"  and {counted(len(one.files) - _SHOWN, 'older file')}; --json has them all"
    if not found.dependents:
        yield f"No private release requires {what}."
        return
    yield f"{counted(len(found.dependents), 'private release')} {'requires' if len(found.dependents) == 1 else 'require'} {what}:"
    rows = list(_dependent_lines(found.dependents))
    yield from rows[:_SHOWN]
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} more lines; --json has them all"


def _index_line(one: IndexUse) -> str:
    size = sum(file.size for file in one.files)
    here = f"{counted(len(one.files), 'file')} here, {in_words(size)}" if one.files else "no file here"
    listed = f", {one.not_here:,} more listed by the upstream" if one.is_mirror and one.not_here else ""
    return f"{one.index} ({'mirror' if one.is_mirror else 'private'}): {here}{listed}, {counted(one.downloads, 'download')}"


def _file_line(file: FileHere) -> str:
    origin = "" if file.pushed_from is None else f" from {file.pushed_from}"
    by = "" if file.uploaded_at is None else f", {file.uploaded_by or 'nobody logged in'} {file.uploaded_at}{origin}"
    return f"{file.filename}  {in_words(file.size)}, {counted(file.downloads, 'download')}{by}"


def _dependent_lines(dependents: Sequence[Dependent]) -> Iterator[str]:
    """Yield a line for each requirement of each project, with all versions that have it."""
    versions: dict[tuple[str, str, str], list[str]] = {}
    for one in dependents:
        versions.setdefault((one.index, one.project, one_line(one.requirement)), []).append(one.version)
    yield from _grouped(versions)


def _grouped(versions: Mapping[tuple[str, str, str], Sequence[str]]) -> Iterator[str]:
    for (index, project, requirement), having in versions.items():
        named = ", ".join(having[-_SHOWN:])
        older = "" if len(having) <= _SHOWN else f"{len(having) - _SHOWN} older ones and "
        yield f"  {index}  {project} {older}{named}: {requirement}"
