"""The command ``audit``: which versions here an advisory affects."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import attrs
import click

from twistpi.advisories.store import AdvisoryStore
from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.cli.commands.inventory import written_downloads
from twistpi.inventory.audit import ANY, MALWARE, AffectedVersion, audit_csv, audit_fields, find_affected
from twistpi.model.errors import TwistpiError, UnknownIndex
from twistpi.model.records import AdvisorySet, Json
from twistpi.model.text import counted
from twistpi.rules.advisories import SEVERITIES, Finding
from twistpi.rules.inheritance import resolution_order
from twistpi.server.directory import Layout
from twistpi.server.settings import Settings
from twistpi.view.read import Reader

_SHOWN: Final = 50
"""Versions that are shown to people."""
_LEVELS: Final = (ANY, *SEVERITIES, MALWARE)


@click.command()
@settings_options()
@click.option(
    "--fail-on", metavar="LEVEL", type=click.Choice(_LEVELS), help=f"Exit with 1 for a finding this bad: {', '.join(_LEVELS)}."
)
@click.option("--index", metavar="USER/INDEX", multiple=True, help="Only this index and what it inherits from; can be repeated.")
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
@click.option("--csv", "csv", is_flag=True, help="Print the result as CSV, a line for each advisory.")
def audit(settings: Settings, fail_on: str | None, index: Sequence[str], json: bool, csv: bool) -> None:
    """Show which versions here an advisory affects.

    It looks at all files that are here: those that mirrors cached, and copies of them in private indexes. What is downloaded most
    comes first. Your own projects are left out, even if a public one of the same name is affected.
    """
    if json and csv:
        raise click.UsageError("Take --json or --csv, not both.")
    with administer(settings, now) as administration:
        reader = administration.reader
        included, accepted = _included(reader, index), _accepted(reader)
        store = _opened(settings, accepted)
        affected = find_affected(reader, store, written_downloads(settings), lambda name: included is None or name in included)
        store.close()
    fields: dict[str, Json] | None = {"advisories": attrs.asdict(accepted), "affected": audit_fields(affected)} if json else None
    if csv:
        click.echo(audit_csv(affected), nl=False)
    else:
        show(fields, _lines(affected, accepted))
    grave = [] if fail_on is None else [one for one in affected if one.is_as_bad_as(fail_on)]
    if grave:
        click.echo(f"{counted(len(grave), 'version')} with findings for --fail-on {fail_on}.", err=True)
        sys.exit(1)


def _included(reader: Reader, names: Sequence[str]) -> Collection[str] | None:
    """Return the indexes to look at, with what they inherit from; None for all.  Raise ``UnknownIndex``."""
    if not names:
        return None
    found: set[str] = set()
    for name in names:
        index = reader.index(name)
        if index is None:
            raise UnknownIndex(name)
        found |= {one.name for one in resolution_order(index, reader.index)}
    return found


def _accepted(reader: Reader) -> AdvisorySet:
    """Return the set that counts; raise ``TwistpiError`` where there is none: nothing found would mean nothing."""
    accepted = reader.advisory_set()
    if accepted is None:
        raise TwistpiError("There are no advisories here, so nothing can be said: give the server the setting advisories.")
    return accepted


def _opened(settings: Settings, accepted: AdvisorySet) -> AdvisoryStore:
    """Return what looks advisories up; raise ``TwistpiError`` if it does not have the accepted set."""
    store = AdvisoryStore(Layout(settings.serverdir).advisories)
    store.open()
    if store.digest != accepted.sha256:
        store.close()
        raise TwistpiError("The accepted advisories are not loaded here yet: start the server, and try again in a minute.")
    return store


def _lines(affected: Sequence[AffectedVersion], accepted: AdvisorySet) -> Iterator[str]:
    known = f"{counted(accepted.count, 'advisory', 'advisories')} of {accepted.source}, accepted {accepted.accepted}"
    number = counted(len(affected), "version")
    yield f"{number if affected else 'No version'} here {'is' if len(affected) < 2 else 'are'} affected ({known})."
    for one in affected[:_SHOWN]:
        kind = "malware" if one.is_malware else one.severity or "severity unknown"
        yield f"{one.project} {one.version} on {one.index}: {kind}, {counted(one.downloads, 'download')}"
        yield from (f"  {_finding_text(finding)}" for finding in one.findings)
    if len(affected) > _SHOWN:
        yield f"and {counted(len(affected) - _SHOWN, 'version')} with fewer downloads; --json and --csv have them all"


def _finding_text(finding: Finding) -> str:
    kind = "malware" if finding.is_malware else finding.severity or "severity unknown"
    fixed = f", fixed in {finding.fixed}" if finding.fixed else ""
    return f"{finding.advisory} ({kind}{fixed}): {finding.summary}"
