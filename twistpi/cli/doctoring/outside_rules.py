"""Judging what was seen through the public address.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from twistpi.cli.checking_index.recording import split
from twistpi.cli.doctoring.facts import Diagnosis, Machine, Outside, Verdict, Visit, days
from twistpi.cli.doctoring.visiting import STRANGER
from twistpi.cli.exchanges import SILENT, Exchange

_OURS = "X-Devpi-Api-Version"
"""On every answer that the server itself gave."""
_SKEW = 30.0
_SOON = 14 * 86400.0
_BEHIND = 60.0
_MIB = 1 << 20

_Finding = tuple[Verdict, str]


def _is_ours(exchange: Exchange) -> bool:
    return bool(exchange.header(_OURS))


def _reachable(outside: Outside) -> _Finding:
    api = outside.exchanges[Visit.API]
    if api.is_untrusted:
        advice = "Give it one that its users' machines trust; SSL_CERT_FILE has this command trust another authority."
        return Verdict.WRONG, f"{outside.url} gives {api.told}. {advice}"
    if not api.status:
        return Verdict.WRONG, f"{outside.url} gives {api.told}. Is the server started, and the address right?"
    if api.status in (502, 503, 504) and not _is_ours(api):
        return (
            Verdict.WRONG,
            f"The proxy at {outside.url} answers {api.told}: it does not reach twistpi. Is that started, and at that port?",
        )
    if api.status == 401 and not _is_ours(api):
        advice = "If that is wanted, write a login into the address: https://user:password@…"
        return Verdict.WRONG, f"The proxy at {outside.url} answers {api.told} before it asks twistpi. {advice}"
    if not isinstance(api.json.get("result"), dict) or "login" not in api.json["result"]:
        return (
            Verdict.WRONG,
            f"{outside.url}/+api is answered {api.told}, but not by twistpi. Is the address right, prefix included?",
        )
    return Verdict.OK, f"{outside.url} answers."


def _headers(outside: Outside) -> _Finding:
    api = outside.exchanges[Visit.API]
    missing = [name for name in (_OURS, "X-Devpi-Serial", "X-Devpi-Uuid", "Date") if not api.header(name)]
    if missing:
        return (
            Verdict.WRONG,
            f"The proxy drops {', '.join(missing)}, which clients and replicas read. Let it pass all headers on.",
        )
    return Verdict.OK, "The server's headers arrive."


def _prefix(outside: Outside) -> _Finding:
    result = outside.exchanges[Visit.API].json.get("result")
    login = str(result.get("login")) if isinstance(result, dict) else ""
    if login == f"{outside.url}/+login" or login.startswith("/"):
        return Verdict.OK, "The server knows the address that users see."
    told = split(login)
    seen = split(outside.url)
    if told.scheme != seen.scheme and told.netloc:
        why = "the proxy does not say which scheme it was asked with"
    elif told.netloc == seen.netloc:
        why = "the proxy does not say below which path it passes requests on, or says a wrong one"
    else:
        why = "the proxy does not say under which address it was asked"
    advice = f"Have it send X-Outside-Url: {outside.url}, and name it in the setting trusted-proxy; or set outside-url."
    return (
        Verdict.WRONG,
        f"The server believes its address is {login.removesuffix('/+login')}, not {outside.url}: {why}. {advice}",
    )


def _ready(outside: Outside) -> _Finding:
    ready = outside.exchanges.get(Visit.READY)
    checks = ready.json.get("checks") if ready is not None else None
    if ready is None or not isinstance(checks, list):
        return Verdict.UNKNOWN, "It does not say whether it is ready."
    troubles = [check for check in checks if isinstance(check, dict) and check.get("result") != "fine"]
    sentences = " ".join(str(check.get("message")) for check in troubles)
    if ready.status != 200:
        return Verdict.WRONG, f"It says that it is not ready. {sentences}"
    return (Verdict.ADVICE, f"It is ready, but warns. {sentences}") if troubles else (Verdict.OK, "It says that it is ready.")


def _links(outside: Outside) -> _Finding:
    page, file = outside.exchanges.get(Visit.PAGE), outside.exchanges.get(Visit.FILE_HEAD)
    if page is None or file is None:
        return Verdict.UNKNOWN, "There is no page with files yet. Install something through the server, then ask again."
    if file.status == 200:
        return Verdict.OK, "Pages lead to files that are there."
    address = file.question.url
    if file.status in (404, 410):
        advice = "If there is a path prefix, the proxy has to say so: X-Outside-Url, or the setting outside-url."
        return Verdict.WRONG, f"{page.question.url} links to {address}, which is answered {file.told}. {advice}"
    return Verdict.WRONG, f"{address} is answered {file.told}. The server's log says why."


def _ranges(outside: Outside) -> _Finding:
    part, page = outside.exchanges.get(Visit.FILE_RANGE), outside.exchanges.get(Visit.FILE_HEAD)
    if part is None or page is None or page.status != 200:
        return Verdict.UNKNOWN, "There is no file to ask a part of."
    if part.status == 206 and len(part.body) == 10 and part.is_whole:
        return Verdict.OK, "Parts of files can be had."
    return (
        Verdict.WRONG,
        f"Ten bytes of a file are answered {part.told} instead of 206: the proxy drops Range. Let it pass that header on.",
    )


def _sending(outside: Outside) -> _Finding:
    part = outside.exchanges.get(Visit.FILE_RANGE)
    if part is None or part.status not in (200, 206):
        return Verdict.UNKNOWN, "There is no file to look at."
    if part.header("Server").lower().startswith("nginx") and part.header("Cache-Status").startswith("twistpi; hit"):
        advice = "The files of twistpi gen-config have it do that, if its user can read the folder +files."
        return Verdict.ADVICE, f"nginx has twistpi send files that it could send itself. {advice}"
    return Verdict.OK, "Nobody passes files on that could be sent at once."


def _gzip(outside: Outside) -> _Finding:
    page = outside.exchanges.get(Visit.PAGE_GZIPPED)
    if page is None or page.status != 200:
        return Verdict.UNKNOWN, "There is no page yet."
    if page.header("Content-Encoding").lower() in ("gzip", "zstd", "br"):
        return Verdict.OK, "Pages travel packed."
    return (
        Verdict.ADVICE,
        "Pages travel unpacked: the proxy drops Accept-Encoding. Let it pass that header on, and large pages are a tenth.",
    )


def _push(outside: Outside) -> _Finding:
    push = outside.exchanges[Visit.PUSH]
    if _is_ours(push):
        return Verdict.OK, "The method PUSH, of devpi push, gets through."
    return (
        Verdict.WRONG,
        f"PUSH is answered {push.told} before it reaches twistpi, so devpi push fails. Let the proxy pass all methods on.",
    )


def _upload(outside: Outside) -> _Finding:
    upload, size = outside.exchanges[Visit.UPLOAD], f"{outside.upload_length // _MIB:,} MiB"
    if upload.status == 413 and not _is_ours(upload):
        advice = f"In nginx: client_max_body_size {outside.upload_length // _MIB}m; or 0 for no limit of its own."
        return Verdict.WRONG, f"The proxy refuses an upload of {size}. {advice}"
    if upload.status == 413:
        return Verdict.ADVICE, f"The server refuses an upload of {size}, by its setting max-upload-size."
    if upload.status and upload.status < 500:
        return Verdict.OK, f"An upload of {size} would not be refused for its size, and reaches the server while it comes."
    if upload.failure == SILENT:
        advice = "In nginx: proxy_request_buffering off."
        return Verdict.ADVICE, f"The proxy takes in a whole upload, such as one of {size}, before it passes it on. {advice}"
    return Verdict.UNKNOWN, f"What becomes of an upload of {size} does not show: {upload.told}."


def _clock(outside: Outside) -> _Finding:
    try:
        theirs = parsedate_to_datetime(outside.exchanges[Visit.API].header("Date")).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return Verdict.UNKNOWN, "The server does not say what time it is."
    seconds = theirs - outside.asked_at
    if abs(seconds) > _SKEW:
        way = "ahead of" if seconds > 0 else "behind"
        return Verdict.WRONG, f"The server's clock is {abs(seconds):,.0f} seconds {way} this machine's. Have both set by NTP."
    return Verdict.OK, "The server's clock and this machine's agree."


def _replication(outside: Outside) -> _Finding:
    status = outside.exchanges.get(Visit.STATUS)
    facts = status.json.get("result") if status is not None else None
    if not isinstance(facts, dict):
        return Verdict.UNKNOWN, "The server does not say what its role is."
    if fenced := facts.get("fenced"):
        return Verdict.WRONG, f"It takes no writes. {fenced} Stop it and make it a replica: twistpi resync"
    if facts.get("role") != "REPLICA":
        followers = facts.get("polling_replicas")
        number = len(followers) if isinstance(followers, dict) else 0
        return Verdict.OK, f"It is a primary, followed by {number} {'server' if number == 1 else 'servers'}."
    primary, lag, missing = facts.get("primary-url"), facts.get("lag-seconds"), facts.get("replication-errors")
    if not isinstance(lag, int | float) or lag > _BEHIND:
        since = f"is {lag:,.0f} seconds behind" if isinstance(lag, int | float) else "does not know how far it is behind"
        why = facts.get("last-error") or "Can it reach that address, and has it the same secretfile?"
        return Verdict.WRONG, f"It {since} its primary {primary}. {why}"
    if isinstance(missing, dict) and missing:
        return (
            Verdict.WRONG,
            f"{len(missing)} files do not come from its primary {primary}, such as {min(missing, key=str)}; /+status says why.",
        )
    return Verdict.OK, f"It is a replica, and has what its primary {primary} has."


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_direct(url: str, machine: Machine | None) -> bool:
    """Whether nobody stands between this machine and the server at ``url``, as far as that can be told."""
    if not _is_loopback(split(url).hostname or ""):
        return False
    ports = [split(address).port for address in machine.running_addresses if address.startswith("http")] if machine else []
    return machine is None or split(url).port in ports


def _tls(outside: Outside) -> _Finding:
    parts = split(outside.url)
    if parts.scheme != "https":
        if _is_loopback(parts.hostname or ""):
            return Verdict.OK, "The way does not leave this machine."
        return (
            Verdict.ADVICE,
            "Passwords and tokens travel readable. Put TLS in front, or have the server do it (--listen ssl:…).",
        )
    if outside.certificate_ends is None:
        return Verdict.UNKNOWN, "The certificate could not be looked at."
    left = outside.certificate_ends - outside.asked_at
    if left < _SOON:
        return Verdict.WRONG, f"The certificate of {parts.netloc} ends in {days(left)}. Renew it."
    return Verdict.OK, f"The certificate is good for {days(left)}."


def _spoofed(outside: Outside, machine: Machine | None) -> _Finding:
    told = outside.exchanges[Visit.SPOOFED].body.decode("utf-8", "replace")
    if STRANGER not in told and "gopher://" not in told:
        return Verdict.OK, "Headers that only a proxy may send are not believed from outside."
    if _is_direct(outside.url, machine):
        return (
            Verdict.UNKNOWN,
            "This machine may speak for users (setting trusted-proxy). Name the address that they have, and ask again.",
        )
    advice = "Have the proxy set X-Outside-Url, Forwarded and X-Forwarded-* itself, and let trusted-proxy name it alone."
    return Verdict.WRONG, f"Anybody can make the server give links to a host of their choice. {advice}"


def _secluded(outside: Outside, machine: Machine) -> _Finding:
    if machine.secluded is None:
        return Verdict.OK, "No kept file is for some only."
    for visit in (Visit.PROTECTED, Visit.TREE):
        exchange = outside.exchanges.get(visit)
        if exchange is not None and exchange.status in (200, 206):
            advice = "Let nginx ask twistpi first, as the files of twistpi gen-config do, and offer the folder +files to nobody."
            return (
                Verdict.WRONG,
                f"{exchange.question.url} is given to everybody, though {machine.secluded.index} is not for all. {advice}",
            )
    return Verdict.OK, f"Files of {machine.secluded.index}, which is not for all, are not given to everybody."


def _same(outside: Outside, machine: Machine) -> _Finding:
    node_id = outside.exchanges[Visit.API].header("X-Devpi-Uuid")
    if not node_id or node_id == machine.node_id:
        return Verdict.OK, f"It is the server of {machine.serverdir}."
    return (
        Verdict.WRONG,
        f"{outside.url} is another server than the one of {machine.serverdir}. Correct the proxy, or --serverdir.",
    )


def _version(outside: Outside, machine: Machine) -> _Finding:
    status = outside.exchanges.get(Visit.STATUS)
    result = status.json.get("result") if status is not None else None
    versions = result.get("versioninfo") if isinstance(result, dict) else None
    running = versions.get("twistpi") if isinstance(versions, dict) else None
    if running is None:
        return Verdict.UNKNOWN, "The server does not say which version it is."
    if running != machine.version:
        return Verdict.ADVICE, f"The server still runs version {running}, but {machine.version} is installed. Restart it."
    return Verdict.OK, f"It runs version {running}, the one that is installed."


_RULES: dict[str, Callable[[Outside], _Finding]] = {
    "headers": _headers,
    "address": _prefix,
    "ready": _ready,
    "links": _links,
    "ranges": _ranges,
    "sending": _sending,
    "packing": _gzip,
    "methods": _push,
    "uploads": _upload,
    "clock": _clock,
    "TLS": _tls,
    "replication": _replication,
}
_RULES_WITH_MACHINE: dict[str, Callable[[Outside, Machine], _Finding]] = {
    "same server": _same,
    "version": _version,
    "seclusion": _secluded,
}


def judge_outside(outside: Outside, machine: Machine | None) -> Iterator[Diagnosis]:
    """What there is to say about the public address; only one thing where nothing answers there."""
    verdict, sentence = _reachable(outside)
    yield Diagnosis("answers", verdict, sentence)
    if verdict is not Verdict.OK:
        return
    for subject, rule in _RULES.items():
        yield Diagnosis(subject, *rule(outside))
    yield Diagnosis("forwarding", *_spoofed(outside, machine))
    for subject, ruling in _RULES_WITH_MACHINE.items() if machine is not None else ():
        if machine is not None:
            yield Diagnosis(subject, *ruling(outside, machine))
