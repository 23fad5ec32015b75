"""The command ``move``: a server directory into a cluster, and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import attrs
import click

from twistpi.backup.writer import missing_lines
from twistpi.cli.administration import require_made
from twistpi.cli.commands.common import now, settings_options, show, show_progress
from twistpi.model.errors import TwistpiError
from twistpi.model.text import counted, in_words
from twistpi.server.settings import Settings

if TYPE_CHECKING:
    from twistpi.move.report import Moved
    from twistpi.move.runs import Run

_ENDPOINT: Final = "The S3 server that has the bucket.  [default: that of AWS]"
_AGAIN: Final = "run this again: it copies what is new since, and completes the move"


@click.command()
@settings_options("s3_endpoint", "s3_region", "s3_addressing")
@click.option("--to-changelog", metavar="URL", help="Move the changelog into this database, which is empty: postgresql://…")
@click.option("--to-blobs", metavar="URL", help="Move the files into this bucket: s3://BUCKET/PREFIX")
@click.option("--from-changelog", metavar="URL", help="Move the changelog of the cluster that has this database.")
@click.option("--from-blobs", metavar="URL", help="Move its files, which are in this bucket.")
@click.option("--s3-endpoint", metavar="URL", help=_ENDPOINT)
@click.option("--s3-region", metavar="NAME", help="The region of the bucket.  [default: us-east-1]")
@click.option("--s3-addressing", type=click.Choice(["auto", "path", "virtual"]), help="How the bucket is addressed.")
@click.option("--accept-missing", is_flag=True, help="Complete the move without uploaded files that are missing.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
def move(
    settings: Settings,
    to_changelog: str | None,
    to_blobs: str | None,
    from_changelog: str | None,
    from_blobs: str | None,
    accept_missing: bool,
    json: bool,
) -> None:
    """Move a server directory into PostgreSQL and a bucket, or out of them.

    Run it while the server (or the nodes) run: it copies all there is. Then stop the server, and run it again: it copies what is
    new since, which takes seconds, and completes the move. Every entry and every file is verified. An interrupted run is
    completed when the command is run again.
    """
    into = to_changelog is not None
    url, bucket = (to_changelog, to_blobs) if into else (from_changelog, from_blobs)
    if (to_changelog is None) == (from_changelog is None) or (from_blobs if into else to_blobs) is not None:
        raise click.UsageError("name --to-changelog with --to-blobs, or --from-changelog with --from-blobs")
    with show_progress(sys.stderr) as progress:
        run = _load()(settings, url or "", bucket, accept_missing, now, progress)
        moved = run.into_cluster(require_made(settings.serverdir)) if into else run.out_of_cluster()
    place = f"the database at {run.database}" + ("" if bucket is None else f" and {bucket}")
    lines = [*missing_lines(moved.missing), *_report(settings.serverdir, place, moved, into=into)]
    if bucket is None:
        lines.append("note: the files were left where they are, because no bucket was named")
    show({"serverdir": settings.serverdir, "database": run.database, **attrs.asdict(moved)} if json else None, lines)


def _report(path: str, place: str, moved: Moved, *, into: bool) -> list[str]:
    new = f"{counted(moved.entries, 'entry', 'entries')} and {counted(moved.files, 'file')}, {in_words(moved.bytes)}"
    source, target = (path, place) if into else (place, path)
    if moved.is_complete:
        after = (
            "Start nodes with --changelog, --blobs and --cache-dir."
            if into
            else f"Start the server: twistpi serve --serverdir {path}"
        )
        return [f"{source}: moved to {target}, up to serial {moved.serial}; new: {new}", after]
    runs = "The server runs." if into else f"These nodes run: {', '.join(moved.nodes)}."
    what = "it" if into else "all nodes"
    return [f"{source}: copied to {target}, up to serial {moved.serial}; new: {new}", f"{runs} Stop {what}, and {_AGAIN}."]


def _load() -> type[Run]:
    try:
        from twistpi.move.runs import Run  # noqa: PLC0415 needs psycopg, and loads botocore
    except ImportError:
        message = "twistpi move needs the library psycopg, which is not installed: pip install 'twistpi[cluster]'."
        raise TwistpiError(message) from None
    return Run
