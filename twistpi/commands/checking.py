"""Commands that look at servers from outside: ``check-index``."""

from __future__ import annotations

import os
import sys
from urllib.parse import quote, unquote, urlsplit

import click
import orjson

from twistpi.mirror.addresses import Credentials, basic_authorization, origin_of, split_credentials
from twistpi.mirror.proxies import ProxyRules
from twistpi.ops.checking_index.interview import Interview
from twistpi.ops.checking_index.judging import Outcome
from twistpi.ops.checking_index.report import counts, judge, report_fields, report_lines
from twistpi.ops.fetching import Fetcher
from twistpi.ops.progress import show_progress


@click.command("check-index")
@click.option("--project", metavar="NAME", default="", help="The project to look at.  [default: one that is found]")
@click.option("--user", metavar="NAME", help="Log in as this user; the address may hold user:password@ instead.")
@click.option("--password", metavar="TEXT", help="The user's password or token.  [default: asked for]")
@click.option("--json", "json", is_flag=True, help="The report as JSON.")
@click.argument("url")
def check_index(project: str, user: str | None, password: str | None, json: bool, url: str) -> None:
    r"""Check whether the index at URL does what the simple API's standards and the installers in use ask of it.

    URL is what installers are given as index-url. Any index will do, not only one of twistpi's. A few dozen small questions are
    asked, nothing is changed, and there is a sentence for each requirement.

    \b
    Examples:
      twistpi check-index http://localhost:3141/root/pypi/+simple/
      twistpi check-index --user alice --project mypkg https://pkgs.example/alice/dev/+simple/

    Exit status: 0 when nothing failed, 1 when something did or the index cannot be asked, 2 for a wrong command line.
    """
    address, credentials, secret = _login(url, user, password)
    fetcher = Fetcher(credentials, proxies=ProxyRules.from_environment(os.environ))
    try:
        with show_progress(sys.stderr, "questions") as tell:
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
