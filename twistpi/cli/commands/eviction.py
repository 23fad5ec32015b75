"""Commands that keep caches within their budgets: ``evict``, ``pin``, ``unpin``."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from twistpi.blobs.interfaces import IBlobs
from twistpi.cli.administration import administer, require_made
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.gc.eviction import Evicted, Eviction
from twistpi.model.records import Json
from twistpi.model.text import counted, in_words
from twistpi.rules.eviction import CachedFile
from twistpi.server.budgets import free_bytes, limits_of
from twistpi.server.optional_bucket import blobs_to_look_at
from twistpi.server.settings import Settings
from twistpi.view.read import Reader


@click.command()
@settings_options()
@click.option("--dry-run", is_flag=True, help="Only list the files.")
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
def evict(settings: Settings, dry_run: bool, json: bool) -> None:
    """Evict cached files that exceed a budget now.

    Those that nobody asked for the longest go first. Pages list them still, and they are fetched again when they are requested. A
    running server does this by itself. The budgets are the settings cache_max_bytes, cache_max_age and cache_min_age of a mirror,
    and those of the server that are called alike.
    """
    listed: list[dict[str, Json]] = []
    with administer(settings, now) as administration:
        if dry_run:
            evicted = Evicted()
            with blobs_to_look_at(settings, require_made(settings.serverdir).log_id) as blobs:
                for file in _planned(settings, administration.reader, blobs, evicted):
                    listed.append({"index": file.index, "project": file.project, "filename": file.filename, "size": file.size})
                    if not json:
                        click.echo(f"{file.index}: {file.filename} ({file.size:,} bytes)")
        else:
            evicted = administration.evict()
    fields: dict[str, Json] = {"dry-run": dry_run, "examined": evicted.examined, "cached-bytes": evicted.cached_bytes}
    fields |= {"evicted": evicted.files, "bytes": evicted.bytes, "files": listed}
    show(fields if json else None, _lines(evicted, dry_run=dry_run))


def _planned(settings: Settings, reader: Reader, blobs: IBlobs, evicted: Evicted) -> Iterator[CachedFile]:
    """Yield what a pass would evict now."""
    eviction = Eviction.of(blobs, limits_of(settings, reader), now().timestamp())
    while eviction.weigh(reader):
        pass
    if eviction.choose(settings.min_free - free_bytes(settings.serverdir)):
        while (found := eviction.find(reader)) is not None:
            eviction.count(found)
            yield from found
    for field in attrs.fields(Evicted):
        setattr(evicted, field.name, getattr(eviction.counts, field.name))


def _lines(evicted: Evicted, *, dry_run: bool) -> Iterator[str]:
    cached = f"{counted(evicted.examined, 'file')} with {in_words(evicted.cached_bytes)}"
    if not evicted.files:
        yield f"Nothing has to go: mirrors cached {cached}."
        return
    gone = f"{counted(evicted.files, 'file')} with {in_words(evicted.bytes)}"
    yield f"Of {cached} that mirrors cached, {gone} {'would go; nothing was changed' if dry_run else 'went'}."


@click.command()
@settings_options()
@click.argument("index", metavar="USER/INDEX")
@click.argument("project", metavar="PROJECT[==VERSION]")
def pin(settings: Settings, index: str, project: str) -> None:
    """Never evict the files of a project, or of one of its versions, from a mirror."""
    with administer(settings, now) as administration:
        administration.modify_index(index, [f"pins+={project}"])
    click.echo(f"{project} on {index} is pinned: its files are not evicted.")


@click.command()
@settings_options()
@click.argument("index", metavar="USER/INDEX")
@click.argument("project", metavar="PROJECT[==VERSION]")
def unpin(settings: Settings, index: str, project: str) -> None:
    """Take a pin back, exactly as it was given."""
    with administer(settings, now) as administration:
        administration.modify_index(index, [f"pins-={project}"])
    click.echo(f"{project} on {index} is not pinned any more.")
