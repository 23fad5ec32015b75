"""Commands that change a server's data: ``token``, ``yank``, ``refetch``, ``gc``, ``promote``, ``resync``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import attrs
import click

from twistpi.auth import tokens as api_tokens
from twistpi.auth.tokens import NodeTokens
from twistpi.blobs.tree import ROOT
from twistpi.cli.administration import Administration, administer, require_made
from twistpi.cli.clients import PeerClient
from twistpi.cli.commands.common import FILE, now, serverdir_option, settings_of, settings_options, show, show_progress
from twistpi.cli.promotion import Promoted
from twistpi.cli.resync import Resynced
from twistpi.cli.resync import resync as make_replica
from twistpi.cli.server_administration import MirroredFile, Yank
from twistpi.gc.garbage import FOLDERS, GRACE, Collected, Garbage, collect_alone
from twistpi.model.errors import unknown_user
from twistpi.model.records import ApiToken, Json
from twistpi.model.text import counted
from twistpi.rules.releases import read_yank
from twistpi.rules.token_requests import is_expired, read_token_request, token_facts
from twistpi.server.directory import read_secret
from twistpi.server.optional_bucket import blobs_to_look_at
from twistpi.server.settings import Settings

_HEADINGS = ("TOKEN", "USER", "MAY", "INDEX", "PROJECT", "EXPIRES", "TITLE")


@click.group()
def token() -> None:
    """Create, list and revoke API tokens, which are passwords for programs."""


@token.command()
@settings_options()
@click.option("--user", required=True, metavar="USER", help="The user it belongs to; it has no permission that the user lacks.")
@click.option("--may", default="read", show_default=True, metavar="WORDS", help="What it may do: read, upload or read,upload.")
@click.option("--index", metavar="USER/INDEX", help="The only index it is valid for.  [default: all]")
@click.option("--project", metavar="NAME", help="The only project it may upload to.  [default: all]")
@click.option("--days", metavar="NUMBER", help="How many days it is valid.  [default: until it is revoked]")
@click.option("--title", metavar="TEXT", help="A note on its purpose.")
def create(settings: Settings, user: str, **asked: Json) -> None:
    """Create an API token and print it.

    The token is shown only once. Use it as the password of its user or of the user __token__.
    """
    request = read_token_request({key: value for key, value in asked.items() if value is not None})
    with administer(settings, now) as administration:
        text = administration.create_token(user, request)
    click.echo(text)


@token.command("list")
@settings_options()
@click.option("--user", metavar="USER", help="List this user's tokens only.  [default: all users]")
@click.option("--json", "json", is_flag=True, help="Print a JSON list.")
def list_(settings: Settings, user: str | None, json: bool) -> None:
    """List API tokens, without their secret parts."""
    with administer(settings, now) as administration:
        found = _tokens(administration, user)
    rows = [_HEADINGS, *(_row(one) for one in found)] if found else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    if json or rows:
        show([token_facts(one) for one in found] if json else None, lines)


@token.command()
@settings_options()
@click.option("--user", metavar="USER", help="The user it belongs to.  [default: any]")
@click.argument("token_", metavar="TOKEN")
def revoke(settings: Settings, user: str | None, token_: str) -> None:
    """Revoke an API token, with immediate effect.

    TOKEN is its public part, as token list shows it, or the whole token.
    """
    halves = api_tokens.split(token_)
    public = token_ if halves is None else halves[0]
    with administer(settings, now) as administration:
        known = administration.reader.api_token(public)
        owner = known.user if known is not None and user is None else user
        if owner is None:
            raise click.ClickException(f"nobody has an API token {public}; twistpi token list shows those there are")
        administration.revoke_token(owner, public)
    click.echo(f"The token {public} of {owner} is revoked.")


def _tokens(administration: Administration, user: str | None) -> list[ApiToken]:
    reader = administration.reader
    if user is not None and reader.user(user) is None:
        raise unknown_user(user)
    users = [one.name for one in reader.users()] if user is None else [user]
    return [found for name in users for found in reader.api_tokens(name)]


def _row(one: ApiToken) -> tuple[str, ...]:
    expires = "never" if one.expires is None else f"{one.expires} (over)" if is_expired(one, now()) else one.expires
    return one.token, one.user, ",".join(one.may), one.index or "all", one.project or "all", expires, one.title


@click.command()
@settings_options()
@click.option("--reason", metavar="TEXT", help="The reason, which installers show when a user installs the version anyway.")
@click.option("--undo", is_flag=True, help="Reverse the yank.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("project")
@click.argument("version")
@click.argument("filename", nargs=-1)
def yank(
    settings: Settings, reason: str | None, undo: bool, index: str, project: str, version: str, filename: tuple[str, ...]
) -> None:
    """Yank a release of a private index, or only its files FILENAME.

    Installers choose a yanked release only if a requirement names exactly that version.
    """
    if undo and reason is not None:
        raise click.UsageError("--undo needs no --reason")
    yanked = False if undo else read_yank({"reason": reason})
    with administer(settings, now) as administration:
        administration.yank(Yank(index, project, version, filename, yanked))
    what = ", ".join(filename) or f"{project} {version}"
    click.echo(f"{what} on {index}: {'not yanked any more' if undo else 'yanked'}.")


@click.command()
@settings_options()
@click.argument("index", metavar="USER/INDEX")
@click.argument("file")
def refetch(settings: Settings, index: str, file: str) -> None:
    """Throw away the stored bytes of one mirrored file.

    It is fetched from the upstream again when it is requested next, and so is its metadata. FILE is a file name or a path such as
    +e/https_files.example_a/demo-1.0.zip.
    """
    with administer(settings, now) as administration:
        administration.refetch(MirroredFile(index, file))
    click.echo(f"{file} of {index} will be fetched again when it is requested.")


@click.command()
@settings_options()
@click.option("--dry-run", is_flag=True, help="Only list the files.")
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
def gc(settings: Settings, dry_run: bool, json: bool) -> None:
    """Delete stored files that no index uses any more.

    Files stored within the last hour are kept. A running server does this by itself, an hour after something was removed.
    """
    with administer(settings, now) as administration, show_progress(sys.stderr, "folders") as screen:

        def progress(collected: Collected) -> None:
            screen("files", collected.folders, FOLDERS)

        listed: list[dict[str, Json]] = []

        def name(garbage: Garbage) -> None:
            listed.append({"path": f"{ROOT}/{garbage.address.relative}", "size": garbage.size})
            if not json:
                screen.say(f"{ROOT}/{garbage.address.relative} ({garbage.size:,} bytes)")

        if dry_run:
            stored_before = now().timestamp() - GRACE
            with blobs_to_look_at(settings, require_made(settings.serverdir).log_id) as blobs:
                collected = collect_alone(blobs, administration.reader, stored_before, progress, only_tell=name)
        else:
            collected = administration.collect_garbage(progress)
    found = {"examined": collected.blobs, "unused": collected.removed, "bytes": collected.removed_bytes}
    fields = {"dry-run": dry_run, **found, "kept-as-too-new": collected.young, "files": listed}
    show(fields if json else None, _collected_lines(collected, dry_run=dry_run))


def _collected_lines(collected: Collected, *, dry_run: bool) -> Iterator[str]:
    if collected.removed:
        files = counted(collected.removed, "file")
        text = f"{files} with {collected.removed_bytes:,} bytes {'is' if collected.removed == 1 else 'are'} not used by any index"
        yield f"{text}; {'nothing was changed' if dry_run else 'removed'}."
    else:
        yield (
            "There is nothing to remove yet."
            if collected.young
            else f"Nothing to remove: the indexes use all files (there are {collected.blobs:,})."
        )
    if collected.young:
        those = "1 unused file was" if collected.young == 1 else f"{collected.young:,} unused files were"
        yield f"{those} stored in the last hour and kept, as an upload or download may still need it."


@click.command()
@settings_options()
@click.option(
    "--force",
    is_flag=True,
    help="Continue without entries and files that are missing here, or become the primary again if the new one is lost.",
)
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
def promote(settings: Settings, force: bool, json: bool) -> None:
    """Make a replica the primary, whether or not its server runs.

    If the former primary can be reached, it stops accepting writes, and the replica first receives everything from it. Otherwise,
    when the former primary comes back, it refuses writes and reports what only it has. A running server restarts in place. The
    command ends when the former primary knows, or says for how long it tried.
    """
    with administer(settings, now) as administration:
        promoted = administration.promote(force=force)
    fields = {"serverdir": settings.serverdir, "epoch": promoted.epoch, "serial": promoted.serial, "told": list(promoted.notes)}
    fields |= {"untold-primary": promoted.unaware, "tried-seconds": promoted.tried}
    show(fields if json else None, _promoted_lines(settings.serverdir, promoted))


def _promoted_lines(serverdir: str, promoted: Promoted) -> Iterator[str]:
    yield from promoted.notes
    yield f"{serverdir} is the primary from serial {promoted.serial} on; epoch {promoted.epoch} began."
    if promoted.unaware is not None:
        tried = f", after {promoted.tried:.0f} seconds of trying" if promoted.tried >= 1 else ""
        yield f"The former primary at {promoted.unaware} does not know yet{tried}; a running server tells it until it does."
    yield "Remove primary-url from its configuration, and start the other replicas with its address as primary-url."


@click.command()
@serverdir_option
@click.option("--primary-url", metavar="URL", help="The server to follow.  [default: the new primary, if known]")
@click.option(
    "--secretfile", metavar="PATH", type=FILE, help="A copy of that server's secret.  [default: the server directory's secret]"
)
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
def resync(serverdir: str | None, config: str | None, primary_url: str | None, secretfile: str | None, json: bool) -> None:
    """Make a stopped server whose log diverged a replica.

    Use it for a former primary after another server was promoted, and for a replica whose state is diverged. Entries and files
    that only this server has are saved under diverged/. After an interruption the command can be run again.
    """
    settings = settings_of(serverdir, config, secretfile=secretfile)
    path = os.path.abspath(settings.serverdir)
    tokens = NodeTokens(read_secret(settings.serverdir, settings.secretfile))
    url = primary_url.rstrip("/") if primary_url else settings.primary_url
    done = make_replica(path, url, lambda one, node_id: PeerClient(one, node_id, tokens, settings.ca_file))
    show({"serverdir": path, **attrs.asdict(done)} if json else None, _resynced_lines(path, secretfile, done))


def _resynced_lines(path: str, secretfile: str | None, done: Resynced) -> Iterator[str]:
    if done.other_log:
        yield "That server has another log; everything on this server was saved."
    elif done.common == 0:
        yield "The logs have no entries in common that the replica could continue from."
    else:
        yield f"The logs are the same up to serial {done.common}."
    if done.anew:
        yield "The replica starts empty and fetches everything from its primary."
    if done.saved is not None:
        saved = f"{counted(done.own_entries, 'entry', 'entries')}, {counted(done.blobs, 'file')}"
        yield f"What only this server had is in {done.saved}: {saved}; summary.txt tells more."
    else:
        yield "This server had no entries of its own."
    with_secret = f", and with --secretfile {secretfile}" if secretfile else ""
    yield f"{path} is now the directory of a replica; start its server without settings for a primary{with_secret}."
