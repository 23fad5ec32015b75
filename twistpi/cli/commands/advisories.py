"""Commands about advisories: ``advisories show``, ``advisories refresh``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import click

from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.cli.server_administration import result_of
from twistpi.model.records import Json
from twistpi.rules.file_policy import utc
from twistpi.server.settings import Settings

_PATH = "/+advisories"


@click.group()
def advisories() -> None:
    """Show which advisories count, and read their feed now."""


@advisories.command("show")
@settings_options()
@click.option("--json", "json", is_flag=True, help="Print the same as JSON.")
def show_(settings: Settings, json: bool) -> None:
    """Show which advisories count, where they come from, and whether that can be read."""
    with administer(settings, now) as administration:
        answer = administration.ask(_PATH, "application/json")
        accepted = administration.reader.advisory_set()
    facts: Mapping[str, Json] = {} if answer is None else result_of(settings.serverdir, answer)
    if answer is None:
        facts = {"accepted": None if accepted is None else attrs.asdict(accepted)}
    show(facts if json else None, _lines(facts, is_running=answer is not None))


def _lines(facts: Mapping[str, Json], *, is_running: bool) -> Iterator[str]:
    accepted, feed = facts.get("accepted"), facts.get("refresh")
    if accepted is None:
        yield "No advisories were accepted so far, so nothing is refused because of one."
    else:
        yield f"advisories: {accepted['count']:,} of {accepted['source']}, accepted {accepted['accepted']}"
        yield f"newest record: {accepted['modified'] or 'unknown'}"
    if facts.get("load-failure"):
        yield f"They do not count here yet: {facts['load-failure']}."
    if not is_running:
        yield "No server runs here; when it starts, it reads the feed of its setting advisories."
    elif feed is None:
        yield "This server reads no feed: it has no setting advisories, or another server reads it."
    else:
        yield from _feed_lines(feed)


def _feed_lines(feed: Mapping[str, Json]) -> Iterator[str]:
    checked, probed = (_time(feed[key]) for key in ("checked-at", "probed-at"))
    yield f"feed: {feed['feed']}, read {checked}, looked at for new records {probed}"
    if feed["refused-records"]:
        yield f"records that cannot be read: {feed['refused-records']:,}; the first is {feed['first-refusal']}"
    if feed["failure"]:
        yield f"problem: {feed['failure']}"
    if feed["is-stale"]:
        yield "The advisories are old; they still count."


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else utc(seconds)


@advisories.command("refresh")
@settings_options()
@click.option("--force", is_flag=True, help="Accept what the feed has also if it lost most of its advisories.")
def refresh(settings: Settings, force: bool) -> None:
    """Have the running server read its feed now.

    A server does so by itself once a day, and looks for new records every ten minutes.
    """
    with administer(settings, now) as administration:
        facts = administration.refresh_advisories(force=force)
    click.echo("\n".join(_lines(facts, is_running=True)))
