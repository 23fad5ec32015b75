"""Judging what was seen on the server's machine.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twistpi.cli.doctoring.facts import Diagnosis, Machine, Upstream, Verdict, days
from twistpi.model.text import in_words

_LITTLE, _FEW = 0.05, 0.02
"""Parts of what there is in all."""
_MUCH = 10 << 30
"""Free bytes that are enough on any disk."""
_DESCRIPTORS = 4096
_SOON = 7 * 86400.0

_Finding = tuple[Verdict, str]


def _process(machine: Machine) -> _Finding:
    if machine.running_pid is None:
        return Verdict.WRONG, f"No server runs on {machine.serverdir}. Start it: twistd twistpi --serverdir {machine.serverdir}"
    if not machine.running_addresses:
        return Verdict.ADVICE, "A process has the directory, but does not say where it answers; it may just be starting."
    return Verdict.OK, f"The process {machine.running_pid} serves {machine.serverdir}."


def _disk(machine: Machine) -> _Finding:
    free = f"{in_words(machine.disk_free)} of {in_words(machine.disk_total)}"
    if machine.disk_free < machine.disk_reserve:
        reserve = f"the setting disk-reserve asks for {in_words(machine.disk_reserve)}"
        return Verdict.WRONG, f"The disk of {machine.serverdir} has only {free} left, and {reserve}. Make room."
    if machine.inodes_total and machine.inodes_free < machine.inodes_total * _FEW:
        return Verdict.WRONG, f"The disk of {machine.serverdir} can hold only {machine.inodes_free:,} more files. Make room."
    if machine.disk_free < min(machine.disk_total * _LITTLE, _MUCH):
        return Verdict.ADVICE, f"The disk of {machine.serverdir} has {free} left. twistpi gc removes what no index has any more."
    return Verdict.OK, f"The disk has {free} left."


def _descriptors(machine: Machine) -> _Finding:
    if machine.descriptors is None:
        return Verdict.UNKNOWN, "How many files and connections it may have open is not known."
    if machine.descriptors < _DESCRIPTORS:
        advice = f"Give it at least {_DESCRIPTORS}: LimitNOFILE in systemd, minfds in supervisord.conf, ulimit -n in a shell."
        return (
            Verdict.ADVICE,
            f"The process may have {machine.descriptors} files and connections open; a thousand clients need more. {advice}",
        )
    return Verdict.OK, f"It may have {machine.descriptors:,} files and connections open."


def _secret(machine: Machine) -> _Finding:
    if machine.secret_mode & 0o077:
        return Verdict.WRONG, f"Others may read the secret that signs logins. chmod 600 {machine.secret}"
    return Verdict.OK, "Nobody else may read the secret that signs logins."


def _modes(machine: Machine) -> _Finding:
    if machine.hidden is not None:
        advice = f"chmod o+rX {machine.hidden}, where a web server under another user is to send files itself."
        return Verdict.ADVICE, f"{machine.hidden} can be read by its owner only. {advice}"
    if machine.closed is not None:  # as most homes are
        advice = f"For a web server that is to send files itself: chmod o+x {machine.closed}"
        return Verdict.OK, f"The kept files can be read by whoever gets there; only the owner of {machine.closed} can. {advice}"
    return Verdict.OK, "A web server in front can read the kept files."


def _root(machine: Machine) -> _Finding:
    if machine.root_is_blank:
        return (
            Verdict.ADVICE,
            "root has a blank password, which is good from this machine, for everybody on it. twistpi passwd root",
        )
    return Verdict.OK, "root has a password."


def _trust(machine: Machine) -> _Finding:
    if machine.trusts_everybody:
        advice = "Anybody can say from where a request comes and what the server is called. Name the proxies alone."
        return Verdict.WRONG, f"The setting trusted-proxy names every address there is. {advice}"
    return Verdict.OK, "The setting trusted-proxy does not name everybody."


_RULES: dict[str, Callable[[Machine], _Finding]] = {
    "process": _process,
    "disk": _disk,
    "descriptors": _descriptors,
    "secret": _secret,
    "file modes": _modes,
    "root": _root,
    "trust": _trust,
}


def _upstream(upstream: Upstream, now: float) -> _Finding:
    exchange, name = upstream.exchange, f"{upstream.index} mirrors {upstream.url}"
    if not exchange.status:
        advice = "Is mirror_url right? Look at HTTPS_PROXY and NO_PROXY in the server's environment."
        if exchange.is_untrusted:
            advice = "If it is the right server, name the authority behind its certificate with the setting ca-file."
        return Verdict.WRONG, f"{name}, which gives {exchange.told}. {advice}"
    if exchange.status in (401, 403):
        return Verdict.WRONG, f"{name}, which answers {exchange.told}. Write a login into its mirror_url: https://user:password@…"
    if exchange.status >= 500:
        return Verdict.WRONG, f"{name}, which answers {exchange.told}. Pages go on being served as they are known."
    if exchange.status == 404:
        return Verdict.ADVICE, f"{name}, which answers {exchange.told}. Is mirror_url the address of a simple index?"
    if upstream.certificate_ends is not None and upstream.certificate_ends - now < _SOON:
        left = upstream.certificate_ends - now
        return Verdict.ADVICE, f"{name}, whose certificate ends in {days(left)}. Tell those who run it."
    return Verdict.OK, f"{name}, which answers."


def judge_machine(machine: Machine, now: float) -> Iterator[Diagnosis]:
    """What there is to say about the machine; ``now`` is its Unix time in seconds."""
    for subject, rule in _RULES.items():
        yield Diagnosis(subject, *rule(machine))
    if not machine.asks_upstreams:
        yield Diagnosis("upstream", Verdict.OK, "The server asks no upstream: it is offline by its settings, or a replica.")
    for upstream in machine.upstreams:
        yield Diagnosis("upstream", *_upstream(upstream, now))
