"""The help of the commands: examples, exit status, completion, and the documentation page of all commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import click
from click.shell_completion import get_completion_class

_EXAMPLES = r"""
twistpi init --serverdir ./data
twistpi init --serverdir ./data --upstream https://upstream.example/simple/
twistpi init --serverdir ./data --root-passwd correct-horse --no-root-pypi
twistpi passwd --serverdir ./data root
echo correct-horse | twistpi passwd --serverdir ./data --stdin alice
twistpi gen-config --serverdir ./data --port 4040 --hostname pypi.example
twistpi gen-config --serverdir /srv/twistpi --hostname pkgs.example --prefix /pypi --force
twistpi settings | less
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
twistpi status --serverdir ./replica
twistpi status --serverdir ./replica --wait 1041 --timeout 60
twistpi status --serverdir ./replica --json | jq '."lag-entries"'
twistpi log --serverdir ./data --follow
twistpi log --serverdir ./data --after 1000 --json | jq .changes
twistpi check --serverdir ./data
twistpi gc --serverdir ./data --dry-run
twistpi gc --serverdir ./data
twistpi promote --serverdir ./data
twistpi promote --serverdir ./data --force
twistpi resync --serverdir ./data --primary-url https://pkgs.example/
twistpi check-index http://localhost:3141/root/pypi/+simple/
twistpi check-index --user alice --project mypkg https://pkgs.example/alice/dev/+simple/
"""
_STATUS = "0 when it is done, 1 when it failed"
_STATUSES: Mapping[str, str] = {
    "check": "0 when all is well, 1 when something is wrong",
    "check-index": "0 when nothing failed, 1 when something did or the index cannot be reached",
    "status": "0 when it is shown, 1 when it failed or the serial did not arrive in time",
    "doctor": "0 when nothing is wrong (there may be advice), 1 when something is",
}
_PROGRAM, _VARIABLE = "twistpi", "_TWISTPI_COMPLETE"
_HEAD = """\
Commands
========

.. Made by "make docs" from twistpi/cli/commands.

The server is started with ``twistd twistpi``; its options are the :doc:`settings`. All other tasks have a command of ``twistpi``;
``twistpi COMMAND --help`` prints the same text as this page.

Commands for a server directory take ``--serverdir``, or read it from ``TWISTPI_SERVERDIR`` or the file in ``--config`` or
``TWISTPI_CONFIG``, like the server. They work whether or not a server runs on the directory. If one runs, they send it a request,
so that changes take effect at once.

Long commands show their progress, as a bar on a terminal, otherwise as lines on the error stream. Ctrl-C ends every
command safely, with exit status 130. Otherwise the exit status is 0, 1 when something failed or is wrong, or 2
when the command line is wrong. ``twistpi completion`` prints a script that completes commands and options in a shell.
"""


def _by_path(text: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        words = line.partition("twistpi ")[2].split()
        found.setdefault(" ".join(words[: 2 if words[0] == "token" else 1]), []).append(line)
    return found


EXAMPLES = _by_path(_EXAMPLES)
"""Examples for each command, such as ``token list``; each is a command line that the command understands."""


def _status_of(path: str) -> str:
    return f"{_STATUSES.get(path, _STATUS)}, 2 for a wrong command line, 130 after Ctrl-C."


def epilog_of(path: str) -> str:
    """Return the end of the help of the command ``path``; empty if it has no examples."""
    if path not in EXAMPLES:
        return ""
    # The mark keeps click from joining the lines.
    lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
    return f"\b\nExamples:\n{lines}\n\nExit status: {_status_of(path)}"


def every_command(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield path and command of everything below ``group`` that is not hidden, groups after their commands."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group) and not command.hidden:
            yield from every_command(command, f"{above}{name} ")
        elif not command.hidden:
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


@click.command("commands-page", hidden=True)
@click.pass_context
def commands_page(context: click.Context) -> None:
    """Print the documentation of the commands."""
    root = context.find_root().command
    if not isinstance(root, click.Group):
        sys.exit(1)
    click.echo("\n".join([_HEAD, *(_section(path, command) for path, command in every_command(root))]), nl=False)


def _section(path: str, command: click.Command) -> str:
    """Return the section of the page on the command ``path``, as reStructuredText."""
    title, context = f"twistpi {path}", click.Context(command, info_name=f"{_PROGRAM} {path}")
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    lines = [title, "-" * len(title), "", "::", "", f"    {usage}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        lines += [_plain(paragraph), ""]
    options = (option.get_help_record(context) for option in command.params if isinstance(option, click.Option))
    for names, text in (record for record in options if record is not None):
        lines += [f"``{names}``", f"    {_plain(text)}", ""]
    examples = [f"    {example}" for example in EXAMPLES.get(path, ())]
    return "\n".join([*lines, "Examples::", "", *examples, "", f"Exit status: {_status_of(path)}", ""])


def _plain(text: str) -> str:
    """Return ``text`` on one line, with reStructuredText's special characters escaped, except double backquotes."""
    return " ".join(text.split()).replace("*", r"\*").replace("|", r"\|").replace("_ ", r"\_ ")
