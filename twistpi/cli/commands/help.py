"""The help of the commands: examples, exit status, completion, and the documentation page of settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click
from click.shell_completion import get_completion_class

from twistpi.server.settings import CONFIG, GROUPS, TABLE, Setting

_EXAMPLES = r"""
twistpi init --serverdir ./data
twistpi init --serverdir ./data --upstream https://upstream.example/simple/
twistpi init --serverdir ./data --root-passwd correct-horse --no-root-pypi
twistpi serve --serverdir ./data
twistpi serve --serverdir ./data --port 4040 --host 0.0.0.0
twistpi serve --config /etc/twistpi/twistpi.toml
twistpi passwd --serverdir ./data root
echo correct-horse | twistpi passwd --serverdir ./data --stdin alice
twistpi gen-config --serverdir ./data --port 4040 --hostname pypi.example
twistpi gen-config --serverdir /srv/twistpi --hostname pkgs.example --prefix /pypi --force
twistpi gen-config --cluster --directory ./cluster --hostname pypi.example
twistpi settings | less
twistpi settings --json | jq '.[].variable'
twistpi doctor --serverdir ./data
twistpi doctor --serverdir ./data https://pkgs.example/
twistpi doctor https://pkgs.example/
twistpi completion bash > ~/.local/share/bash-completion/completions/twistpi
twistpi completion zsh > ~/.zfunc/_twistpi
twistpi completion fish > ~/.config/fish/completions/twistpi.fish
twistpi token create --serverdir ./data --user alice --may read
twistpi token create --serverdir ./data --user alice --may read,upload --index alice/dev --days 90
twistpi token list --serverdir ./data
twistpi token list --serverdir ./data --user alice --json
twistpi token revoke --serverdir ./data 4f1c2d3e4a5b6c7d
twistpi yank --serverdir ./data alice/dev mypkg 1.0 --reason 'broken on Windows'
twistpi yank --serverdir ./data alice/dev mypkg 1.0 --undo
twistpi explain --serverdir ./data alice/dev mypkg
twistpi explain --serverdir ./data alice/dev mypkg 1.0
twistpi explain --serverdir ./data alice/dev 'django>=4' --python 3.12 --platform linux-x86_64
twistpi explain --serverdir ./data --fetch --json alice/dev mypkg
twistpi uses --serverdir ./data requests
twistpi uses --serverdir ./data 'requests==2.31.0'
twistpi uses --serverdir ./data 'requests<2.32' --json | jq '.dependents[].project'
twistpi audit --serverdir ./data
twistpi audit --serverdir ./data --fail-on high --index alice/dev
twistpi audit --serverdir ./data --csv > affected.csv
twistpi policy show --serverdir ./data alice/dev
twistpi policy set --serverdir ./data root/pypi min_release_age 7d
twistpi policy set --serverdir ./data root/pypi allow --from https://lists.example/allowed.txt
twistpi policy set --serverdir ./data root/pypi deny --unset
twistpi advisories show --serverdir ./data
twistpi advisories refresh --serverdir ./data
twistpi advisories refresh --serverdir ./data --force
twistpi quarantine --serverdir ./data root/pypi evil --reason 'it steals passwords'
twistpi quarantine --serverdir ./data root/pypi 'hello==2.0' --reason 'under investigation'
twistpi release --serverdir ./data root/pypi 'hello==2.0'
twistpi sync --serverdir ./data --into root/pypi 'django>=5' numpy
twistpi sync --serverdir ./data --into root/pypi -r uv.lock --python 3.11,3.12 --platform linux-x86_64,macos-arm64
twistpi sync --into https://pkgs.example/root/pypi -r requirements.in --closure
twistpi status --serverdir ./replica
twistpi status --serverdir ./replica --wait 1041 --timeout 60
twistpi status --serverdir ./replica --json | jq '."lag-entries"'
twistpi du --serverdir ./data
twistpi du --serverdir ./data --index root/pypi
twistpi du --serverdir ./data --json | jq .total
twistpi log --serverdir ./data --follow
twistpi log --serverdir ./data --after 1000 --json | jq .changes
twistpi log --serverdir ./data --last 10 --project mypkg --kind FileUploaded --kind FileRemoved
twistpi log --serverdir ./data --since 2026-11-22T17:00+01:00 --index alice/dev
twistpi check --serverdir ./data
twistpi check --serverdir ./data --json | jq '.findings[].text'
twistpi check --serverdir ./data --archive /backup/changelog
twistpi check --config node.toml --download
twistpi backup --serverdir ./data /var/backups/twistpi
twistpi backup --serverdir ./data --keep 30d --with-secret ssh://backup@vault.example/srv/twistpi
twistpi restore --serverdir ./restored /var/backups/twistpi
twistpi restore --serverdir ./restored --to-time 2026-11-22T17:00+01:00 /var/backups/twistpi
twistpi restore --list /var/backups/twistpi
twistpi bundle create --serverdir ./data --since 0 --to first.bundle
twistpi bundle create --serverdir ./data --for offline.state --to december.bundle
twistpi bundle apply --serverdir ./offline --secretfile ./secret first.bundle
twistpi bundle apply --serverdir ./offline december.bundle
twistpi bundle state --serverdir ./offline --to offline.state
twistpi compact --serverdir ./data --before 2025-01-01 --dry-run
twistpi compact --serverdir ./data --before 2025-01-01 --archive /backup/changelog
twistpi compact --serverdir ./data --before 1000000 --json | jq '."summary-bytes"'
twistpi gc --serverdir ./data --dry-run
twistpi gc --serverdir ./data
twistpi evict --serverdir ./data --dry-run
twistpi evict --serverdir ./data --json | jq .bytes
twistpi pin --serverdir ./data root/pypi numpy
twistpi pin --serverdir ./data root/pypi numpy==2.1
twistpi unpin --serverdir ./data root/pypi numpy
twistpi refetch --serverdir ./data root/pypi mypkg-1.0-py3-none-any.whl
twistpi promote --serverdir ./data
twistpi promote --serverdir ./data --force
twistpi resync --serverdir ./data --primary-url https://pkgs.example/
twistpi import --serverdir ./data --dry-run ./devpi-export
twistpi import --serverdir ./data ./devpi-export
twistpi import --serverdir ./data --json ./devpi-export | jq '.differences[]'
twistpi import --serverdir ./data --simple https://pkgs.example/simple/ --into alice/dev
twistpi import --serverdir ./data --simple https://pkgs.example/simple/ --into alice/dev --projects ours.txt
twistpi import --serverdir ./data --live https://root:secret@old.example/
twistpi export --serverdir ./data ./export
twistpi export --serverdir ./data --format devpi7 --hard-links --include-mirrored-files ./export
twistpi move --serverdir ./data --to-changelog postgresql://twistpi@db/twistpi --to-blobs s3://packages/twistpi
twistpi move --serverdir ./new --from-changelog postgresql://twistpi@db/twistpi --from-blobs s3://packages/twistpi
twistpi check-index http://localhost:3141/root/pypi/+simple/
twistpi check-index --user alice --project mypkg https://pkgs.example/alice/dev/+simple/
"""
_GROUPS = ("token", "policy", "advisories", "bundle")
"""Commands whose first word is no command by itself."""
_STATUS = "0 when it is done, 1 when it failed"
_STATUSES: Mapping[str, str] = {
    "audit": "0 when it is shown, 1 when it failed or found something for --fail-on",
    "check": "0 when all is well, 1 when something is wrong",
    "check-index": "0 when nothing failed, 1 when something did or the index cannot be reached",
    "import": "0 when everything is there, 1 when it failed or something could not be taken",
    "export": "0 when everything is exported, 1 when it failed or something is missing",
    "backup": "0 when all is in the backup, 1 when it failed or the server lacks an uploaded file",
    "move": "0 when everything is copied, whether or not the move is complete, 1 when it failed",
    "restore": "0 when everything is restored, 1 when it failed",
    "serve": "0 when it was stopped, 1 when it cannot start or had to end",
    "status": "0 when it is shown, 1 when it failed or the serial did not arrive in time",
    "doctor": "0 when nothing is wrong (there may be advice), 1 when something is",
}
_PROGRAM, _VARIABLE = "twistpi", "_TWISTPI_COMPLETE"


def _by_path(text: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        words = line.partition("twistpi ")[2].split()
        found.setdefault(" ".join(words[: 2 if words[0] in _GROUPS else 1]), []).append(line)
    return found


EXAMPLES = _by_path(_EXAMPLES)
"""Examples for each command, such as ``token list``; each is a command line that the command understands."""


def status_of(path: str) -> str:
    """Return what the exit status of the command ``path`` means."""
    return f"{_STATUSES.get(path, _STATUS)}, 2 for a wrong command line, 130 after Ctrl-C."


def epilog_of(path: str) -> str:
    """Return the end of the help of the command ``path``; empty if it has no examples."""
    if path not in EXAMPLES:
        return ""
    # The mark keeps click from joining the lines.
    lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
    return f"\b\nExamples:\n{lines}\n\nExit status: {status_of(path)}"


def every_command(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield path and command of everything below ``group``."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script with which a shell completes twistpi's commands and options.

    Save it where the shell looks for such scripts, as in the examples, and start a new shell; or use it at once: eval "$(twistpi
    completion bash)".
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click cannot complete for {shell}")
    click.echo(kind(click.Group(), {}, _PROGRAM, _VARIABLE).source())


_SETTINGS_HEAD = """\
Settings
========

.. Made by "make docs" from twistpi/server/settings.py.

Every setting can be given in three places, in order of precedence:

1. on the command line: ``twistpi serve --request-timeout 10``;
2. in the environment: ``TWISTPI_REQUEST_TIMEOUT=10``;
3. in a TOML file: ``request-timeout = 10``, with ``--config twistpi.toml`` or ``TWISTPI_CONFIG``.

The server does not start if a value is not allowed, or if the file has an unknown setting; a message says where the error is
and what is allowed. An unknown environment variable ``TWISTPI_…`` is only mentioned, by commands and in the log. A flag is
``true`` if it is on the command line; in the environment and the file it is ``true`` or ``false``. Relative paths start at the
directory in which the server is started.
"""


def settings_page() -> str:
    """Return the page as reStructuredText."""
    settings = {setting.name: setting for setting in (*TABLE, CONFIG)}
    parts = [_SETTINGS_HEAD]
    for heading, names in GROUPS.items():
        parts += [f"{heading}\n{'-' * len(heading)}\n", *(_setting_section(settings[name]) for name in names)]
    return "\n".join(parts)


def settings_fields() -> list[dict[str, str | bool]]:
    """Return the same for programs."""
    names = [name for group in GROUPS.values() for name in group]
    rows = sorted((CONFIG, *TABLE), key=lambda setting: names.index(setting.name))
    return [
        {
            "name": setting.name,
            "variable": setting.variable,
            "value": setting.kind.placeholder or "true or false",
            "unit": setting.unit,
            "repeatable": setting.repeatable,
            "default": setting.shown_default,
            "allowed": setting.kind.allowed,
            "meaning": setting.help,
        }
        for setting in rows
    ]


def _setting_section(setting: Setting) -> str:
    placeholder = f" {setting.kind.placeholder}" if setting.kind.placeholder else ""
    places = f"``--{setting.name}{placeholder}``, ``{setting.variable}``"
    unit = f" ({setting.unit})" if setting.unit else ""
    allowed = setting.kind.allowed.removeprefix("it must be ").removeprefix("it ")
    several = f"as repeated options ``--{setting.name}``, as words separated by spaces in the variable, or as a list in the file"
    about = f"{setting.help[0].upper()}{setting.help[1:]}{unit}."
    facts = [f":given as: {places}", f":default: {setting.shown_default}", f":allowed: {allowed}"]
    lines = [setting.name, "~" * len(setting.name), "", about, "", *facts, ""]
    return "\n".join([*lines, f"Several values can be given {several}.\n"] if setting.repeatable else lines)
