"""Commands that look at servers as their users see them: ``check-index``, ``doctor``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

import click
import orjson

from twistpi.cli.checking_index.interview import Interview
from twistpi.cli.checking_index.judging import Outcome
from twistpi.cli.checking_index.report import counts, judge, report_fields, report_lines
from twistpi.cli.commands.common import serverdir_option, settings_of
from twistpi.cli.doctoring.facts import Machine, Outside
from twistpi.cli.doctoring.machine import look_at_machine
from twistpi.cli.doctoring.report import diagnose, diagnosis_fields, diagnosis_lines, is_wrong
from twistpi.cli.doctoring.visiting import Visitor
from twistpi.cli.fetching import Fetcher
from twistpi.cli.progress import show_progress
from twistpi.mirror.addresses import Credentials, basic_authorization, origin_of, split_credentials
from twistpi.mirror.proxies import ProxyRules

_DOCTORS_PATIENCE = 20.0
"""Seconds without a byte."""


@click.command("check-index")
@click.option("--project", metavar="NAME", default="", help="The project to look at.  [default: one that is found]")
@click.option("--user", metavar="NAME", help="Log in as this user; the address may hold user:password@ instead.")
@click.option("--password", metavar="TEXT", help="The user's password or token.  [default: asked for]")
@click.option("--json", "json", is_flag=True, help="The report as JSON.")
@click.argument("url")
def check_index(project: str, user: str | None, password: str | None, json: bool, url: str) -> None:
    """Check whether the index at URL does what standards and installers ask of it.

    URL is what installers are given as index-url. Any index will do, not only one of twistpi's. A few dozen small questions are
    asked, nothing is changed, and there is a sentence for each requirement.
    """
    address, credentials, secret = _login(url, user, password)
    fetcher = Fetcher(credentials, proxies=ProxyRules.from_environment(os.environ))
    try:
        with show_progress(sys.stderr) as tell:
            recording = Interview(fetcher.ask, tell, secret).hold(address, project)
    finally:
        fetcher.close()
    judgements = judge(recording)
    if json:
        click.echo(orjson.dumps(report_fields(recording, judgements), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in report_lines(recording, judgements):
            click.echo(line)
    sys.exit(1 if counts(judgements)[Outcome.FAILS] else 0)


@click.command()
@serverdir_option
@click.option("--json", "json", is_flag=True, help="The report as JSON.")
@click.argument("url", required=False)
def doctor(serverdir: str | None, config: str | None, json: bool, url: str | None) -> None:
    """Tell what is wrong with how a server is set up, and what to change.

    URL is the address users have, such as https://pkgs.example/ or http://pkgs.example/devpi; without it, outside-url, or
    where the server on this machine answers. The server directory is looked at where there is one on this machine. Nothing
    is changed; the questions asked through URL are few, and need no login.
    """
    settings, proxies = settings_of(serverdir, config), ProxyRules.from_environment(os.environ)
    with show_progress(sys.stderr) as tell:
        machine = None
        if serverdir is not None or url is None or os.path.exists(os.path.join(settings.serverdir, "node.json")):
            machine = look_at_machine(settings, proxies, tell)
        outside = _visit(url or _address_of(machine), machine, proxies, tell)
    diagnoses = diagnose(outside, machine, time.time())
    if json:
        click.echo(orjson.dumps(diagnosis_fields(diagnoses), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in diagnosis_lines(diagnoses):
            click.echo(line)
    sys.exit(1 if is_wrong(diagnoses) else 0)


def _address_of(machine: Machine | None) -> str | None:
    """Where the server of a directory answers, as far as it tells; with TLS, only users' own address fits the certificate."""
    if machine is None or machine.outside_url is not None:
        return machine.outside_url if machine is not None else None
    return next((address for address in machine.running_addresses if address.startswith("http://")), None)


def _visit(
    url: str | None, machine: Machine | None, proxies: ProxyRules, tell: Callable[[str, int, int], object]
) -> Outside | None:
    if url is None:
        return None
    try:
        address, credentials = split_credentials(url)
    except ValueError as error:
        raise click.BadParameter(f"{url}: {error}", param_hint="URL") from None
    fetcher = Fetcher(credentials, proxies, patience=_DOCTORS_PATIENCE)
    try:
        return Visitor(fetcher, time.time, tell).visit(address, machine)
    finally:
        fetcher.close()


def _login(url: str, user: str | None, password: str | None) -> tuple[str, Credentials | None, str | None]:
    """The address alone, the login for it, and the secret in that; a password that is missing is asked for."""
    try:
        address, credentials = split_credentials(url)
    except ValueError as error:
        raise click.BadParameter(f"{url}: {error}", param_hint="URL") from None
    if user is None:
        return address, credentials, None if credentials is None else unquote(urlsplit(url).password or "")
    secret: str = click.prompt(f"password of {user}", hide_input=True, err=True) if password is None else password
    return address, Credentials(origin_of(address), basic_authorization(f"{quote(user)}:{quote(secret, safe='')}")), secret
