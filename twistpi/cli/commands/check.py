"""The command ``check``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import click

from twistpi.backup.store import BackupStore
from twistpi.cli.administration import require_made
from twistpi.cli.check import check as findings
from twistpi.cli.commands.common import FOLDER, settings_options, show, show_progress
from twistpi.cli.commands.places import Access, access_options, open_store
from twistpi.cli.file_check import Counts, Finding, Progress
from twistpi.cli.repair import open_repair
from twistpi.model.server_errors import ServerdirRefused
from twistpi.model.text import counted, in_words
from twistpi.server.settings import Settings


@click.command()
@settings_options()
@click.option("--repair", "with_repair", is_flag=True, help="Have missing and damaged files again, and a wrong view built anew.")
@click.option("--backup", "place", metavar="PLACE", help="With --repair: the backup, first of all, to have files from.")
@click.option("--archive", metavar="DIR", type=FOLDER, help="Verify what twistpi compact --archive DIR removed, too.")
@click.option("--download", is_flag=True, help="On a node of a cluster: read every file in the bucket, not only its size.")
@access_options
@click.option("--json", "json", is_flag=True, help="Print the findings as JSON.")
def check(
    settings: Settings, access: Access, with_repair: bool, place: str | None, archive: str | None, download: bool, json: bool
) -> None:
    """Verify the changelog, the view and every stored file; with --repair, put them right.

    The command reads all data, so it takes as long as reading the disk. The server may run. A file of a mirror that is missing is
    not wrong, because it is fetched when it is asked for. Nothing is changed without --repair. With it, files that are missing or
    damaged come from the backup in PLACE, through the running server from the upstream or the primary, or from the primary of a
    replica that does not run.

    On a node of a cluster, with its settings, the changelog in the database is verified, the view of the node, the size of every
    file in the bucket, and what the node has on its disk.
    """
    if place is not None and not with_repair:
        raise click.UsageError("--backup goes with --repair")
    path, found, counts = settings.serverdir, [], Counts()
    with ExitStack() as opened:
        node = require_made(path)
        store = None if place is None else opened.enter_context(open_store(place, access, settings))
        progress = opened.enter_context(show_progress(sys.stderr, "" if node.is_cache else "bytes"))
        if node.is_cache:
            reported = _check_cluster(settings, progress, counts, with_repair, store, download)
        else:
            repair = open_repair(settings, node, store) if with_repair else None
            reported = findings(path, progress, counts, repair, archive)
        for finding in reported:
            found.append(finding)
            if not json:
                mark = "repaired" if finding.repaired else "WRONG" if finding.wrong else "note"
                progress.say(f"{mark}: {finding.text}")
    wrong = sum(finding.wrong for finding in found)
    things = f"{counted(wrong, 'thing is', 'things are')} wrong" if wrong else "all is well"
    verified = f"verified {counted(counts.entries, 'entry', 'entries')} and {counted(counts.files, 'file')}"
    parts = [f"{verified}, {in_words(counts.bytes)}"]
    parts += [f"repaired {counts.repaired:,}"] if with_repair else []
    parts += [f"to be fetched {counts.fetchable:,}"] if counts.fetchable else []
    fields = {"serverdir": path, "wrong": wrong, **attrs.asdict(counts), "findings": [attrs.asdict(one) for one in found]}
    show(fields if json else None, [f"{path}: {things}; {'; '.join(parts)}"])
    sys.exit(1 if wrong else 0)


def _check_cluster(
    settings: Settings, progress: Progress, counts: Counts, with_repair: bool, store: BackupStore | None, download: bool
) -> Iterator[Finding]:
    """Yield what there is to report on a node of a cluster."""
    if settings.changelog is None:
        advice = "name its database and bucket as the node does, with --config, or with TWISTPI_CHANGELOG and TWISTPI_BLOBS"
        raise ServerdirRefused(settings.serverdir, f"it is the cache of a node of a cluster; {advice}")
    from twistpi.cli.cluster_check import ClusterCheck  # noqa: PLC0415 needs psycopg, and loads botocore

    return ClusterCheck(settings, settings.changelog, progress, counts, with_repair, store, download).run()
