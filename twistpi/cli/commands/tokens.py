"""Commands for API tokens: ``token create``, ``token list``, ``token revoke``."""

from __future__ import annotations

import click

from twistpi.auth import tokens as api_tokens
from twistpi.cli.administration import Administration, administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.model.errors import unknown_user
from twistpi.model.records import ApiToken, Json
from twistpi.rules.accounts import is_expired, read_token_request, token_facts
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
