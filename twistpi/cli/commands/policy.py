"""Commands about what comes in from mirrors: ``policy show``, ``policy set``, ``quarantine``, ``release``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from twistpi.cli.administration import Administration, administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.http.blocking import BlockingClient
from twistpi.http.errors import RequestFailed
from twistpi.http.routes import ProxyRules
from twistpi.model.errors import BadRequest, UnknownIndex
from twistpi.model.names import IndexName
from twistpi.model.records import Index, Json
from twistpi.model.text import counted
from twistpi.rules.advisories import BLOCK_MALWARE
from twistpi.rules.file_policy import ADVISORIES, MIN_RELEASE_AGE, POLICY_KEYS, duration
from twistpi.rules.inheritance import resolution_order
from twistpi.rules.quarantine import parse_quarantined, to_quarantine, to_release
from twistpi.server.settings import Settings

_LARGEST: Final = 16 << 20
"""Bytes of a list."""
_TIMEOUT: Final = 30.0
"""Seconds without a byte of a list."""
_SHOWN: Final = 8
"""Items of a list that are shown to people."""


@click.group()
def policy() -> None:
    """Show and set what an index lets in from mirrors."""


@policy.command("show")
@settings_options()
@click.option("--json", "json", is_flag=True, help="Print the rules as JSON, with whole lists.")
@click.argument("index", metavar="USER/INDEX")
def show_(settings: Settings, json: bool, index: str) -> None:
    """Show all rules that count on an index, each with the index that has it.

    An index is at least as strict as its bases, so that the rules of all indexes count from which it inherits.
    """
    with administer(settings, now) as administration:
        reader = administration.reader
        order = resolution_order(_index(administration, index), reader.index)
        has_advisories = reader.advisory_set() is not None
    rows = [(one, key, one.config[key]) for one in order for key in POLICY_KEYS if key in one.config]
    if has_advisories:  # they count without the key, too
        rows += [(one, ADVISORIES, BLOCK_MALWARE) for one in order if one.is_mirror and ADVISORIES not in one.config]
    fields: list[dict[str, Json]] = [{"index": one.name, "rule": key, "value": value} for one, key, value in rows]
    show(fields if json else None, _rule_lines(index, rows))


def _rule_lines(index: str, rows: Sequence[tuple[Index, str, Json]]) -> Iterator[str]:
    if not rows:
        yield f"{index} has no rules: it lets in whatever its mirrors have."
    width = max((len(key) for _, key, _ in rows), default=0)
    for one, key, value in rows:
        origin = "" if one.name == index else f"  (inherited from {one.name})"
        counts = "" if not one.is_mirror or one.name == index else " for its own files"
        yield f"{key:{width}}  {_shown(key, value)}{origin[:-1] + counts + ')' if origin else ''}"


def _shown(key: str, value: Json) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - _SHOWN:,} more" if len(value) > _SHOWN else ""
        return "; ".join(value[:_SHOWN]) + more or "(no items)"
    return duration(value) if key == MIN_RELEASE_AGE else str(value).lower() if isinstance(value, bool) else str(value)


@policy.command("set")
@settings_options()
@click.option("--from", "source", metavar="FILE|URL", help="Read the value here: one item on each line, comments behind #.")
@click.option("--unset", is_flag=True, help="Remove the rule.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("rule", type=click.Choice(POLICY_KEYS), metavar="RULE")
@click.argument("value", required=False)
def set_(settings: Settings, source: str | None, unset: bool, index: str, rule: str, value: str | None) -> None:
    """Set a rule of an index, such as min_release_age, allow or deny.

    The new value takes the place of the old one. It counts at once, on pages and at the addresses of files.
    """
    if [value is not None, source is not None, unset].count(True) != 1:
        raise click.UsageError("give a VALUE, or --from FILE|URL, or --unset")
    text = value if source is None else _read(source)
    if text is not None and not [line for line in text.splitlines() if line.partition("#")[0].strip()]:
        raise BadRequest(f"There is nothing in {source or 'VALUE'}. Remove the rule with --unset, if that is meant.")
    with administer(settings, now) as administration:
        name = _index(administration, index).name
        administration.modify_index(name, [f"{rule}-="] if unset else {rule: text})
        changed = administration.reader.index(name)
    stored = None if changed is None else changed.config.get(rule)
    if unset:
        click.echo(f"{rule} of {name} is removed.")
    elif isinstance(stored, list):
        click.echo(f"{rule} of {name} has {counted(len(stored), 'item')}: {_shown(rule, stored)}.")
    else:
        click.echo(f"{rule} of {name} is {_shown(rule, stored)}.")


def _read(source: str) -> str:
    """Return a text from a file or an address; raise ``BadRequest``."""
    if not source.startswith(("http://", "https://")):
        data = Path(source).read_bytes()
    else:
        with closing(BlockingClient(_TIMEOUT, ProxyRules.from_environment(os.environ))) as client:
            try:
                answer = client.request("GET", source, limit=_LARGEST + 1)
            except RequestFailed as failure:
                raise BadRequest(f"{source} cannot be fetched: {failure}; nothing was changed.") from failure
        if answer.status != 200:
            raise BadRequest(f"{source} answered {answer.status} {answer.reason}; nothing was changed.")
        data = answer.body
    if len(data) > _LARGEST:
        raise BadRequest(f"{source} has more than {_LARGEST >> 20} MB, and is no list.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{source} is no text: {error}.") from error


@click.command()
@settings_options()
@click.option("--reason", metavar="TEXT", required=True, help="Why; those who request the files are told.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("project", metavar="PROJECT[==VERSION]")
def quarantine(settings: Settings, reason: str, index: str, project: str) -> None:
    """Put a project, or a version of it, into quarantine on an index.

    No file of it is offered any more, neither on pages nor by address, on this index and on all that inherit from it: of mirrors
    as well as uploads. What is stored stays. twistpi release takes it back.
    """
    with administer(settings, now) as administration:
        found, requirement = _index(administration, index), parse_quarantined(project)
        administration.modify_index(found.name, to_quarantine(found, requirement, reason))
    click.echo(f"{requirement} on {found.name} is in quarantine: no file of it is offered.")


@click.command()
@settings_options()
@click.argument("index", metavar="USER/INDEX")
@click.argument("project", metavar="PROJECT[==VERSION]")
def release(settings: Settings, index: str, project: str) -> None:
    """Take a project, or a version of it, out of quarantine, exactly as it was put in."""
    with administer(settings, now) as administration:
        found, requirement = _index(administration, index), parse_quarantined(project)
        administration.modify_index(found.name, to_release(found, requirement))
    click.echo(f"{requirement} on {found.name} is not in quarantine any more.")


def _index(administration: Administration, name: str) -> Index:
    """Return an index; raise ``InvalidName`` and ``UnknownIndex``."""
    found = administration.reader.index(str(IndexName.parse(name)))
    if found is None:
        raise UnknownIndex(name)
    return found
