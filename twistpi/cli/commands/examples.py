"""What stands below the help of each command: examples, and what the exit status says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

EXAMPLES: Mapping[str, Sequence[str]] = {
    "init": (
        "twistpi init --serverdir ./data",
        "twistpi init --serverdir ./data --upstream https://upstream.example/simple/",
        "twistpi init --serverdir ./data --root-passwd correct-horse --no-root-pypi",
    ),
    "passwd": (
        "twistpi passwd --serverdir ./data root",
        "echo correct-horse | twistpi passwd --serverdir ./data --stdin alice",
    ),
    "gen-config": (
        "twistpi gen-config --serverdir ./data --port 4040 --hostname pypi.example",
        "twistpi gen-config --serverdir /srv/twistpi --hostname pkgs.example --prefix /pypi --force",
    ),
    "settings": ("twistpi settings | less",),
    "doctor": (
        "twistpi doctor --serverdir ./data",
        "twistpi doctor --serverdir ./data https://pkgs.example/",
        "twistpi doctor https://pkgs.example/",
    ),
    "completion": (
        "twistpi completion bash > ~/.local/share/bash-completion/completions/twistpi",
        "twistpi completion zsh > ~/.zfunc/_twistpi",
        "twistpi completion fish > ~/.config/fish/completions/twistpi.fish",
    ),
    "token create": (
        "twistpi token create --serverdir ./data --user alice --may read",
        "twistpi token create --serverdir ./data --user alice --may read,upload --index alice/dev --days 90",
    ),
    "token list": (
        "twistpi token list --serverdir ./data",
        "twistpi token list --serverdir ./data --user alice --json",
    ),
    "token revoke": ("twistpi token revoke --serverdir ./data 4f1c2d3e4a5b6c7d",),
    "yank": (
        "twistpi yank --serverdir ./data alice/dev mypkg 1.0 --reason 'broken on Windows'",
        "twistpi yank --serverdir ./data alice/dev mypkg 1.0 --undo",
    ),
    "explain": (
        "twistpi explain --serverdir ./data alice/dev mypkg",
        "twistpi explain --serverdir ./data alice/dev mypkg 1.0",
    ),
    "status": (
        "twistpi status --serverdir ./replica",
        "twistpi status --serverdir ./replica --wait 1041 --timeout 60",
        "twistpi status --serverdir ./replica --json | jq '.\"lag-entries\"'",
    ),
    "log": (
        "twistpi log --serverdir ./data --follow",
        "twistpi log --serverdir ./data --after 1000 --json | jq .changes",
    ),
    "check": ("twistpi check --serverdir ./data",),
    "gc": (
        "twistpi gc --serverdir ./data --dry-run",
        "twistpi gc --serverdir ./data",
    ),
    "promote": (
        "twistpi promote --serverdir ./data",
        "twistpi promote --serverdir ./data --force",
    ),
    "resync": ("twistpi resync --serverdir ./data --primary-url https://pkgs.example/",),
    "check-index": (
        "twistpi check-index http://localhost:3141/root/pypi/+simple/",
        "twistpi check-index --user alice --project mypkg https://pkgs.example/alice/dev/+simple/",
    ),
}
"""Command -> what one may type; each is a command line that the command understands."""

_STATUS = "0 when it is done, 1 when it is refused, 2 for a wrong command line, 130 after Ctrl-C."
_STATUSES: Mapping[str, str] = {
    "check": "0 when all is well, 1 when something is wrong, 2 for a wrong command line, 130 after Ctrl-C.",
    "check-index": (
        "0 when nothing failed, 1 when something did or the index cannot be asked, 2 for a wrong command line, 130 after Ctrl-C."
    ),
    "status": ("0 when it is told, 1 when it is refused or waited in vain, 2 for a wrong command line, 130 after Ctrl-C."),
    "doctor": "0 when nothing is wrong (there may be advice), 1 when something is, 2 for a wrong command line, 130 after Ctrl-C.",
}


def epilog_of(path: str) -> str:
    """What stands below the help of the command ``path``, such as ``token list``; empty where there are no examples."""
    if path not in EXAMPLES:
        return ""
    # The mark keeps click from joining the lines.
    lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
    return f"\b\nExamples:\n{lines}\n\nExit status: {status_of(path)}"


def status_of(path: str) -> str:
    """What the exit status of a command says."""
    return _STATUSES.get(path, _STATUS)


def every_command(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Path and command of everything below ``group`` that is not hidden, groups after their commands."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command
