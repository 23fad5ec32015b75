"""The command ``twistpi``: creates, administers and inspects server directories.

The server itself is ``twistpi serve``, or ``twistd twistpi``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from twistpi import __version__
from twistpi.cli.commands.administration import gc, promote, refetch, resync, token, yank
from twistpi.cli.commands.advisories import advisories
from twistpi.cli.commands.audit import audit
from twistpi.cli.commands.backup import backup, restore
from twistpi.cli.commands.bundle import bundle
from twistpi.cli.commands.check import check
from twistpi.cli.commands.common import Commands
from twistpi.cli.commands.compaction import compact
from twistpi.cli.commands.disk_usage import du
from twistpi.cli.commands.eviction import evict, pin, unpin
from twistpi.cli.commands.help import completion, epilog_of, every_command
from twistpi.cli.commands.inspection import check_index, doctor, explain, settings_, status
from twistpi.cli.commands.inventory import uses
from twistpi.cli.commands.log import log
from twistpi.cli.commands.move import move
from twistpi.cli.commands.policy import policy, quarantine, release
from twistpi.cli.commands.setup import gen_config, init, passwd, serve
from twistpi.cli.commands.sync import sync
from twistpi.cli.commands.transfer import export, import_


@click.group(cls=Commands, epilog="twistpi COMMAND --help shows examples.")
@click.version_option(__version__, prog_name="twistpi", message="%(prog)s %(version)s")
def main() -> None:
    """Set up, administer and check Python package index servers.

    The server itself is started by twistpi serve --serverdir ./data --port 4040, or with twistd, which can make a daemon of it:
    twistd twistpi --serverdir ./data. Commands for a server directory work whether or not a server runs on it.
    """


GROUPS: Mapping[str, Sequence[click.Command]] = {
    "Set up": (init, serve, passwd, gen_config, settings_, doctor, completion),
    "Use": (token, yank, explain, uses, sync),
    "Protect": (audit, policy, advisories, quarantine, release),
    "Maintain": (status, du, log, check, compact, gc, evict, pin, unpin, refetch),
    "Replicate": (promote, resync),
    "Back up": (backup, restore, bundle),
    "Move": (import_, export, move),
    "Check any index": (check_index,),
}
"""Every command, under the heading that ``twistpi --help`` shows it by."""

for heading, commands in GROUPS.items():
    main.add_group(heading, commands)
for path, command in every_command(main):
    command.epilog = epilog_of(path)
