"""The rules of doctor for the server's machine and the upstreams of its mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, judge
from twistpi.cli.diagnostics.machine import Machine, Upstream
from twistpi.cli.diagnostics.survey import Exchange
from twistpi.model.text import in_words

MACHINE_RULES: Rules = {
    "process": ("A server runs.", ()),
    "disk": ("The disk has room left.", ()),
    "descriptors": ("It may have enough files and connections open.", ()),
    "secret": ("Nobody else may read the secret that signs logins.", ()),
    "file modes": ("A web server in front can read the kept files.", ()),
    "root": ("root has a password.", ()),
    "trust": ("The setting trusted-proxy does not name everybody.", ()),
}
DAY = 86400.0
_DESCRIPTORS = 4096


def judge_machine(machine: Machine, now: float) -> list[Finding]:
    """Return what there is to say about the machine; ``now`` is its Unix time in seconds."""
    found = judge(MACHINE_RULES, {}, chain(_process(machine), _access(machine)))
    if not machine.asks_upstreams:
        found.append(Finding("upstream", OK, "The server asks no upstream: it is offline by its settings, or a replica."))
    return found + [next(Finding(*said) for said in _upstream(upstream, now)) for upstream in machine.upstreams]


def _process(machine: Machine) -> Iterator[Said]:
    serverdir, running = machine.settings.serverdir, machine.running
    if running is None:
        start = f"Start it: twistd twistpi --serverdir {serverdir}"
        yield "process", WRONG, f"No server runs on {serverdir}. {start}"
    elif not running.addresses:
        yield "process", ADVICE, "A process has the directory, but does not say where it answers; it may just be starting."
    else:
        yield "process", OK, f"The process {running.pid} serves {serverdir}."
    free, reserve = f"{in_words(machine.disk_free)} of {in_words(machine.disk_total)}", machine.settings.disk_reserve
    if machine.disk_free < reserve:
        wanted = f"the setting disk-reserve asks for {in_words(reserve)}"
        yield "disk", WRONG, f"The disk of {serverdir} has only {free} left, and {wanted}. Make room."
    if machine.inodes_free < machine.inodes_total * 0.02:
        yield "disk", WRONG, f"The disk of {serverdir} can hold only {machine.inodes_free:,} more files. Make room."
    if machine.disk_free < min(machine.disk_total * 0.05, 10 << 30):
        yield "disk", ADVICE, f"The disk of {serverdir} has {free} left. twistpi gc removes what no index has any more."
    yield "disk", OK, f"The disk has {free} left."
    limit = machine.descriptors
    if limit is None:
        yield "descriptors", UNKNOWN, "How many files and connections it may have open is not known."
    elif limit < _DESCRIPTORS:
        told = f"The process may have {limit} files and connections open; a thousand clients need more."
        how = "LimitNOFILE in systemd, minfds in supervisord.conf, ulimit -n in a shell"
        yield "descriptors", ADVICE, f"{told} Give it at least {_DESCRIPTORS}: {how}."
    else:
        yield "descriptors", OK, f"It may have {limit:,} files and connections open."


def _access(machine: Machine) -> Iterator[Said]:
    if machine.secret_mode & 0o077:
        yield "secret", WRONG, f"Others may read the secret that signs logins. chmod 600 {machine.secret}"
    if machine.hidden is not None:
        how = f"chmod o+rX {machine.hidden}, where a web server under another user is to send files itself."
        yield "file modes", ADVICE, f"{machine.hidden} can be read by its owner only. {how}"
    if machine.closed is not None:  # as most homes are
        told = f"The kept files can be read by whoever gets there; only the owner of {machine.closed} can."
        yield "file modes", OK, f"{told} For a web server that is to send files itself: chmod o+x {machine.closed}"
    if machine.root_is_blank:
        told = "root has a blank password, which is good from this machine, for everybody on it."
        yield "root", ADVICE, f"{told} twistpi passwd root"
    if any(network.prefixlen == 0 for network in machine.settings.trusted_proxy):
        risk = "Anybody can say from where a request comes and what the server is called. Name the proxies alone."
        yield "trust", WRONG, f"The setting trusted-proxy names every address there is. {risk}"


def wants_proxy_login(exchange: Exchange) -> bool:
    """Return whether a forward proxy refused the request, by itself or as the way to an HTTPS server."""
    return exchange.status == 407 or (not exchange.status and " 407 " in exchange.failure)


PROXY_LOGIN = "The forward proxy wants a login: HTTPS_PROXY=http://user:password@… (HTTP_PROXY); or name the host in NO_PROXY."


def _upstream(upstream: Upstream, now: float) -> Iterator[Said]:
    exchange, name = upstream.exchange, f"{upstream.index} mirrors {upstream.url}"
    status, answers = exchange.status, f"{name}, which answers {exchange.told}."
    if wants_proxy_login(exchange):
        yield "upstream", WRONG, f"{name}, which is not reached: {exchange.told}. {PROXY_LOGIN}"
    if exchange.is_untrusted:
        how = "If it is the right server, name the authority behind its certificate with the setting ca-file."
        yield "upstream", WRONG, f"{name}, which gives {exchange.told}. {how}"
    if not status:
        how = "Is mirror_url right? Look at HTTPS_PROXY and NO_PROXY in the server's environment."
        yield "upstream", WRONG, f"{name}, which gives {exchange.told}. {how}"
    if status in (401, 403):
        yield "upstream", WRONG, f"{answers} Write a login into its mirror_url: https://user:password@…"
    if status >= 500:
        yield "upstream", WRONG, f"{answers} Pages go on being served as they are known."
    if status == 404:
        yield "upstream", ADVICE, f"{answers} Is mirror_url the address of a simple index?"
    if upstream.certificate_ends is not None and (left := upstream.certificate_ends - now) < 7 * DAY:
        yield "upstream", ADVICE, f"{name}, whose certificate ends in {days(left)}. Tell those who run it."
    yield "upstream", OK, f"{name}, which answers."


def days(seconds: float) -> str:
    """Return so many seconds in days, in words."""
    number = round(seconds / DAY)
    return "1 day" if number == 1 else f"{number:,} days"
