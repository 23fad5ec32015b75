"""Commands that look and change nothing: ``status``, ``check``, ``explain``, ``doctor``, ``check-index``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count as count_up
from urllib.parse import quote, unquote, urlsplit

import click

from twistpi.cli.administration import administer
from twistpi.cli.advisories import advisories_of
from twistpi.cli.commands.common import now, serverdir_option, settings_of, settings_options, show, show_progress
from twistpi.cli.commands.help import settings_fields, settings_page
from twistpi.cli.diagnostics.cluster_rules import judge_cluster
from twistpi.cli.diagnostics.findings import (
    UNKNOWN,
    WRONG,
    Finding,
    count,
    doctor_fields,
    doctor_lines,
    index_fields,
    index_lines,
)
from twistpi.cli.diagnostics.index_rules import judge_index
from twistpi.cli.diagnostics.index_survey import survey_index
from twistpi.cli.diagnostics.machine import Machine, days_left, look_at_machine
from twistpi.cli.diagnostics.server_rules import diagnose
from twistpi.cli.diagnostics.server_survey import survey_server
from twistpi.cli.diagnostics.survey import Fetcher
from twistpi.cli.explanations import explain_project, explanation_fields, explanation_lines, parse_question
from twistpi.cli.reports import status_in, status_lines, wait_for_serial
from twistpi.http.blocking import BlockingClient
from twistpi.http.routes import ProxyRules
from twistpi.http.urls import Credentials, basic_authorization, origin_of, split_credentials
from twistpi.server.settings import Settings

_INDEX_TIMEOUT, _SERVER_TIMEOUT = 60.0, 20.0
"""Seconds without a byte; a mirror may have to fetch its whole list of projects first."""
_INDEX_QUESTIONS, _SERVER_QUESTIONS = 55, 20
"""About how many are asked."""


@click.command()
@settings_options()
@click.option("--wait", metavar="SERIAL", type=click.IntRange(min=0), help="First wait until the server has this serial.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="The longest time to wait.  [default: no limit]")
@click.option("--json", "json", is_flag=True, help="Print the answer of /+status as JSON.")
def status(settings: Settings, wait: int | None, timeout: float | None, json: bool) -> None:
    """Show a server's role, the state of its log and its files, and its followers.

    If no server runs, show what the directory contains.
    """
    path = settings.serverdir
    found = status_in(path) if wait is None else wait_for_serial(path, wait, timeout, time.monotonic, time.sleep)
    show(found if json else None, status_lines(found, time.time()))
    if wait is not None and int(found["serial"]) < wait:
        click.echo(f"Serial {wait} has not arrived yet.", err=True)
        sys.exit(1)


@click.command()
@settings_options()
@click.option("--fetch", is_flag=True, help="First have the running server ask the upstreams of mirrors that may answer.")
@click.option("--python", metavar="VERSION", help="Choose the version for this Python, such as 3.12; needs --platform.")
@click.option("--platform", metavar="NAME", help="Choose the version for this platform, such as linux-x86_64; needs --python.")
@click.option("--json", "json", is_flag=True, help="Print the explanation as JSON, with every file.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("project", metavar="PROJECT[SPECIFIERS]")
@click.argument("version", required=False)
def explain(
    settings: Settings,
    fetch: bool,
    python: str | None,
    platform: str | None,
    json: bool,
    index: str,
    project: str,
    version: str | None,
) -> None:
    """Show which version of a project would be installed, and what hides what.

    It tells which index answers for PROJECT at USER/INDEX. For each newer version the rule is named that keeps it away, until
    when, and what to do. The newest files of each index are listed; with VERSION, all files of that. Mirrors are shown as this
    server knows them; no upstream is asked without --fetch.
    """
    question = parse_question(index, project, version, python, platform, fetch=fetch)
    with administer(settings, now) as administration, advisories_of(settings.serverdir, administration.reader) as advisories:
        found = explain_project(administration, question, now().timestamp(), advisories.of)
    show(explanation_fields(question, *found) if json else None, explanation_lines(question, *found))


@click.command("settings")
@click.option("--json", "json", is_flag=True, help="Print a JSON list with name, variable, default and meaning of each.")
def settings_(json: bool) -> None:
    """Print the documentation of every setting of the server."""
    if json:
        show(settings_fields(), ())
    else:
        click.echo(settings_page(), nl=False)


@click.command("check-index")
@click.option("--project", metavar="NAME", default="", help="The project to check.  [default: a well-known one, or the first]")
@click.option("--user", metavar="NAME", help="Log in as this user; the URL may contain user:password@ instead.")
@click.option("--password", metavar="TEXT", help="The user's password or token.  [default: prompt]")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("url")
def check_index(project: str, user: str | None, password: str | None, json: bool, url: str) -> None:
    """Check whether the index at URL meets the standards and the needs of installers.

    URL is the index-url of installers, of any index, not only of twistpi. The command sends a few dozen small requests,
    changes nothing, and prints a sentence for each requirement.
    """
    address, credentials, secret = _login(url, user, password)
    with _fetcher(credentials, _INDEX_TIMEOUT, _INDEX_QUESTIONS) as fetcher:
        index = survey_index(fetcher.ask, address, project, secret)
        findings = judge_index(index)
    fields = index_fields(index.base, index.project, len(index.got), findings)
    show(fields if json else None, index_lines(index.base, index.project, findings))
    sys.exit(1 if count(findings, WRONG) else 0)


@click.command()
@serverdir_option
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("url", required=False)
def doctor(serverdir: str | None, config: str | None, json: bool, url: str | None) -> None:
    """Report what is wrong with the set-up of a server, and how to fix it.

    URL is the address that users have, such as https://pkgs.example/ or http://pkgs.example/devpi. The default is the setting
    outside-url, or the address of the server on this machine. The server directory is checked if there is one on this machine.
    The command changes nothing, sends few requests to URL, and needs no login. On a node of a cluster, database and bucket are
    checked, too: one small object is stored and removed.
    """
    settings, machine = settings_of(serverdir, config), None
    if serverdir is not None or url is None or os.path.exists(os.path.join(settings.serverdir, "node.json")):
        with _counted(_SERVER_QUESTIONS) as count_question:
            machine = look_at_machine(settings, ProxyRules.from_environment(os.environ), count_question, time.time())
    findings = [*_visit(url or _address_of(machine), machine), *_visit_cluster(settings, machine)]
    show(doctor_fields(findings) if json else None, doctor_lines(findings))
    sys.exit(1 if count(findings, WRONG) else 0)


def _visit_cluster(settings: Settings, machine: Machine | None) -> list[Finding]:
    """Return what is to say of the database and the bucket, if the server is a node of a cluster."""
    if settings.changelog is None:
        if machine is None or not machine.is_cache:
            return []
        advice = "Name both as the node does, with --config, or with TWISTPI_CHANGELOG and TWISTPI_BLOBS."
        return [Finding("database", UNKNOWN, f"Database and bucket of the cluster are not known here. {advice}")]
    try:
        from twistpi.cli.diagnostics.cluster_survey import survey_bucket, survey_database  # noqa: PLC0415 needs psycopg
    except ImportError:
        return [Finding("database", WRONG, "psycopg is not installed, which a node needs: pip install 'twistpi[cluster]'")]
    database = survey_database(settings.changelog, time.time)
    bucket = None if settings.blobs is None else survey_bucket(settings, database, time.time, os.environ)
    return judge_cluster(database, bucket)


def _address_of(machine: Machine | None) -> str | None:
    """Return where the server of a directory answers, if known. A TLS address is useless: it would not fit the certificate."""
    if machine is None or machine.settings.outside_url is not None:
        return machine.settings.outside_url if machine is not None else None
    addresses = machine.running.addresses if machine.running is not None else ()
    return next((address for address in addresses if address.startswith("http://")), None)


def _visit(url: str | None, machine: Machine | None) -> list[Finding]:
    if url is None:
        return diagnose(None, machine)
    address, credentials = _split(url)
    with _fetcher(credentials, _SERVER_TIMEOUT, _SERVER_QUESTIONS) as fetcher:
        site = survey_server(fetcher.ask, time.time, address, machine)
        site.has_login = credentials is not None
        site.certificate_days = days_left(fetcher.client, f"{site.url}/", time.time())
        return diagnose(site, machine)


@contextmanager
def _fetcher(credentials: Credentials | None, timeout: float, expected: int) -> Iterator[Fetcher]:
    with (
        _counted(expected) as count_question,
        closing(BlockingClient(timeout, ProxyRules.from_environment(os.environ))) as client,
    ):
        yield Fetcher(client, credentials, count_question)


@contextmanager
def _counted(expected: int) -> Iterator[Callable[[], object]]:
    """Show the progress of about so many questions; what is yielded is called before each."""
    numbers = count_up(1)
    with show_progress(sys.stderr) as progress:
        yield lambda: progress("questions", min(next(numbers), expected), expected)


def _split(url: str) -> tuple[str, Credentials | None]:
    """Return the address alone, and the login that stands in it."""
    try:
        return split_credentials(url)
    except ValueError as error:
        raise click.BadParameter(f"{url}: {error}", param_hint="URL") from None


def _login(url: str, user: str | None, password: str | None) -> tuple[str, Credentials | None, str | None]:
    """Return the address alone, the login for it, and the secret in that; a password that is missing is asked for."""
    address, credentials = _split(url)
    if user is None:
        return address, credentials, None if credentials is None else unquote(urlsplit(url).password or "")
    secret: str = click.prompt(f"password of {user}", hide_input=True, err=True) if password is None else password
    return address, Credentials(origin_of(address), basic_authorization(f"{quote(user)}:{quote(secret, safe='')}")), secret
