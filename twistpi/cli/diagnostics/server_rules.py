"""The rules of doctor for what was seen through the public address."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import chain

from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, judge
from twistpi.cli.diagnostics.machine import Machine
from twistpi.cli.diagnostics.machine_rules import DAY, PROXY_LOGIN, days, judge_machine, wants_proxy_login
from twistpi.cli.diagnostics.server_survey import STRANGER, Site, Visit
from twistpi.cli.diagnostics.survey import Exchange, as_object, split
from twistpi.http.blocking import SILENT

SITE_RULES: Rules = {
    "answers": ("The server answers.", ()),
    "headers": ("The server's headers arrive.", ()),
    "address": ("The server knows the address that users see.", ()),
    "ready": ("It says that it is ready.", ()),
    "links": ("Pages lead to files that are there.", (Visit.FILE_HEAD,)),
    "ranges": ("Parts of files can be had.", (Visit.FILE_RANGE,)),
    "sending": ("Nobody passes files on that could be sent at once.", (Visit.FILE_RANGE,)),
    "packing": ("Pages travel packed.", (Visit.PAGE_GZIPPED,)),
    "methods": ("The method PUSH, of devpi push, gets through.", ()),
    "uploads": ("A large upload reaches the server while it comes.", ()),
    "clock": ("The server's clock and this machine's agree.", ()),
    "TLS": ("The way does not leave this machine.", ()),
    "replication": ("The server says what its role is.", ()),
    "forwarding": ("Headers that only a proxy may send are not believed from outside.", ()),
}
LOGIN_RULES: Rules = {"logins": ("A login that comes with a request arrives.", ())}
"""For an address that has a login."""
BOTH_RULES: Rules = {
    "same server": ("It is the server of the directory.", ()),
    "version": ("It runs the version that is installed.", ()),
    "seclusion": ("No kept file is for some only.", ()),
}
"""For a server whose directory is on this machine."""

_OURS = "X-Devpi-Api-Version"
"""A header of every answer that the server itself gave."""


def diagnose(site: Site | None, machine: Machine | None, now: float) -> list[Finding]:
    """Return everything there is to say; ``now`` is this machine's Unix time in seconds."""
    found = [] if machine is None else judge_machine(machine, now)
    if site is None:
        told = "It was not asked anything. Name the address that users have: twistpi doctor URL"
        return [*found, Finding("answers", UNKNOWN, told)]
    answers = next(Finding(*said) for said in _answers(site))
    if answers.verdict is not OK:
        return [*found, answers]
    examiners = (_answers, _proxy, _files, _logins, _uploads, _time, _replication, _forwarding, _directory)
    has_login, has_machine = Visit.OTHER_LOGIN in site.got, site.machine is not None
    rules = {**SITE_RULES, **(LOGIN_RULES if has_login else {}), **(BOTH_RULES if has_machine else {})}
    return found + judge(rules, site.got, chain.from_iterable(examine(site) for examine in examiners))


def _is_ours(exchange: Exchange) -> bool:
    return bool(exchange.header(_OURS))


def _answers(site: Site) -> Iterator[Said]:
    api = site[Visit.API]
    if wants_proxy_login(api):
        yield "answers", WRONG, f"{site.url} is not reached: {api.told}. {PROXY_LOGIN}"
    if api.is_untrusted:
        how = "Give it one that its users' machines trust; SSL_CERT_FILE has this command trust another authority."
        yield "answers", WRONG, f"{site.url} gives {api.told}. {how}"
    if not api.status:
        yield "answers", WRONG, f"{site.url} gives {api.told}. Is the server started, and the address right?"
    if api.status in (502, 503, 504) and not _is_ours(api):
        told = f"The proxy at {site.url} answers {api.told}: it does not reach twistpi."
        yield "answers", WRONG, f"{told} Is that started, and at that port?"
    if api.status == 401 and not _is_ours(api):
        how = "If that is wanted, write a login into the address: https://user:password@…"
        yield "answers", WRONG, f"The proxy at {site.url} answers {api.told} before it asks twistpi. {how}"
    if "login" not in as_object(api.json.get("result")):
        told = f"{site.url}/+api is answered {api.told}, but not by twistpi."
        yield "answers", WRONG, f"{told} Is the address right, prefix included?"
    yield "answers", OK, f"{site.url} answers."


def _proxy(site: Site) -> Iterator[Said]:
    api, push, ready = site[Visit.API], site[Visit.PUSH], site[Visit.READY]
    if missing := [name for name in (_OURS, "X-Devpi-Serial", "X-Devpi-Uuid", "Date") if not api.header(name)]:
        told = f"The proxy drops {', '.join(missing)}, which clients and replicas read."
        yield "headers", WRONG, f"{told} Let it pass all headers on."
    login = str(as_object(api.json.get("result")).get("login"))
    if login != f"{site.url}/+login" and not login.startswith("/"):
        believed, seen = split(login), split(site.url)
        why = "under which address it was asked"
        if believed.scheme != seen.scheme and believed.netloc:
            why = "which scheme it was asked with"
        elif believed.netloc == seen.netloc:
            why = "below which path it passes requests on, or says a wrong one"
        how = f"Have it send X-Outside-Url: {site.url}, and name it in the setting trusted-proxy; or set outside-url."
        told = f"The server believes its address is {login.removesuffix('/+login')}, not {site.url}"
        yield "address", WRONG, f"{told}: the proxy does not say {why}. {how}"
    if not _is_ours(push):
        told = f"PUSH is answered {push.told} before it reaches twistpi, so devpi push fails."
        yield "methods", WRONG, f"{told} Let the proxy pass all methods on."
    checks = ready.json.get("checks")
    if not isinstance(checks, list):
        yield "ready", UNKNOWN, "It does not say whether it is ready."
        return
    troubles = [str(as_object(check).get("message")) for check in checks if as_object(check).get("result", "fine") != "fine"]
    if ready.status != 200:
        yield "ready", WRONG, f"It says that it is not ready. {' '.join(troubles)}"
    if troubles:
        yield "ready", ADVICE, f"It is ready, but warns. {' '.join(troubles)}"


def _files(site: Site) -> Iterator[Said]:
    for page, file in zip(site.of(Visit.PAGE), site.of(Visit.FILE_HEAD), strict=False):
        if file.status in (404, 410):
            how = "If there is a path prefix, the proxy has to say so: X-Outside-Url, or the setting outside-url."
            yield "links", WRONG, f"{page.url} links to {file.url}, which is answered {file.told}. {how}"
        elif file.status != 200:
            yield "links", WRONG, f"{file.url} is answered {file.told}. The server's log says why."
            yield "ranges", UNKNOWN, "There is no file to ask a part of."
    for part in site.of(Visit.FILE_RANGE):
        if part.status != 206 or len(part.body) != 10 or not part.is_whole:
            told = f"Ten bytes of a file are answered {part.told} instead of 206: the proxy drops Range."
            yield "ranges", WRONG, f"{told} Let it pass that header on."
        if part.status not in (200, 206):
            yield "sending", UNKNOWN, "There is no file to look at."
        if part.header("Server").lower().startswith("nginx") and part.header("Cache-Status").startswith("twistpi; hit"):
            how = "The files of twistpi gen-config have it do that, if its user can read the folder +files."
            yield "sending", ADVICE, f"nginx has twistpi send files that it could send itself. {how}"
    for page in site.of(Visit.PAGE_GZIPPED):
        if page.status != 200:
            yield "packing", UNKNOWN, "There is no page yet."
        if page.header("Content-Encoding").lower() not in ("gzip", "zstd", "br"):
            how = "Let it pass that header on, and large pages are a tenth."
            yield "packing", ADVICE, f"Pages travel unpacked: the proxy drops Accept-Encoding. {how}"


def _is_logged_in(exchange: Exchange) -> bool:
    status = as_object(exchange.json.get("result")).get("authstatus")
    return isinstance(status, list) and status[:1] == ["ok"]


def _logins(site: Site) -> Iterator[Said]:
    if _is_logged_in(site[Visit.API]):
        return
    for other in site.of(Visit.OTHER_LOGIN):
        if _is_logged_in(other):
            told = "The login of the address counts in X-Devpi-Auth, but not in Authorization: the proxy drops that header."
            yield "logins", WRONG, f"{told} Let it pass it on, or installers and twine cannot log in."
        yield "logins", UNKNOWN, "The server does not take the login of the address, so whether logins arrive does not show."


def _uploads(site: Site) -> Iterator[Said]:
    upload, size, mib = site[Visit.UPLOAD], f"{site.upload_length >> 20:,} MiB", site.upload_length >> 20
    if upload.status == 413 and not _is_ours(upload):
        how = f"In nginx: client_max_body_size {mib}m; or 0 for no limit of its own."
        yield "uploads", WRONG, f"The proxy refuses an upload of {size}. {how}"
    elif upload.status == 413:
        yield "uploads", ADVICE, f"The server refuses an upload of {size}, by its setting max-upload-size."
    elif upload.status and upload.status < 500:
        told = f"An upload of {size} would not be refused for its size, and reaches the server while it comes."
        yield "uploads", OK, told
    elif upload.failure == SILENT and site[Visit.API].header("Server").lower().startswith("nginx"):
        told = f"The proxy takes in a whole upload, such as one of {size}, before it passes it on."
        yield "uploads", ADVICE, f"{told} In nginx: proxy_request_buffering off."
    elif upload.failure == SILENT:  # Apache and Varnish pass uploads on, but answers only when all of them has come
        yield "uploads", UNKNOWN, f"Whether the proxy passes an upload of {size} on while it comes does not show."
    else:
        yield "uploads", UNKNOWN, f"What becomes of an upload of {size} does not show: {upload.told}."


def _time(site: Site) -> Iterator[Said]:
    try:
        ahead = parsedate_to_datetime(site[Visit.API].header("Date")).timestamp() - site.asked_at
    except (ValueError, TypeError, OverflowError, OSError):
        yield "clock", UNKNOWN, "The server does not say what time it is."
    else:
        if abs(ahead) > 30.0:
            told = f"{abs(ahead):,.0f} seconds {'ahead of' if ahead > 0 else 'behind'} this machine's"
            yield "clock", WRONG, f"The server's clock is {told}. Have both set by NTP."
    parts, ends = split(site.url), site.certificate_ends
    if parts.scheme != "https":
        if not _is_loopback(parts.hostname):
            how = "Put TLS in front, or have the server do it (--listen ssl:…)."
            yield "TLS", ADVICE, f"Passwords and tokens travel readable. {how}"
    elif ends is None:
        yield "TLS", UNKNOWN, "The certificate could not be looked at."
    elif (left := ends - site.asked_at) < 14 * DAY:
        yield "TLS", WRONG, f"The certificate of {parts.netloc} ends in {days(left)}. Renew it."
    else:
        yield "TLS", OK, f"The certificate is good for {days(left)}."


def _replication(site: Site) -> Iterator[Said]:
    facts = site[Visit.STATUS].json.get("result")
    if not isinstance(facts, dict):
        yield "replication", UNKNOWN, "The server does not say what its role is."
        return
    if fenced := facts.get("fenced"):
        yield "replication", WRONG, f"It takes no writes. {fenced} Stop it and make it a replica: twistpi resync"
    if facts.get("role") != "REPLICA":
        number = len(as_object(facts.get("polling_replicas")))
        yield "replication", OK, f"It is a primary, followed by {number} {'server' if number == 1 else 'servers'}."
    primary, lag, missing = facts.get("primary-url"), facts.get("lag-seconds"), as_object(facts.get("replication-errors"))
    if not isinstance(lag, int | float) or lag > 60.0:
        known = f"is {lag:,.0f} seconds behind" if isinstance(lag, int | float) else "does not know how far it is behind"
        why = facts.get("last-error") or "Can it reach that address, and has it the same secretfile?"
        yield "replication", WRONG, f"It {known} its primary {primary}. {why}"
    if missing:
        told = f"{len(missing)} files do not come from its primary {primary}, such as {min(missing, key=str)}"
        yield "replication", WRONG, f"{told}; /+status says why."
    yield "replication", OK, f"It is a replica, and has what its primary {primary} has."


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost" or (host or "").endswith(".localhost")


def _forwarding(site: Site) -> Iterator[Said]:
    told, here = site[Visit.SPOOFED].text, split(site.url)
    if STRANGER not in told and "gopher://" not in told:
        return
    addresses = site.machine.running.addresses if site.machine is not None and site.machine.running is not None else ()
    ports = [split(address).port for address in addresses if address.startswith("http")]
    if _is_loopback(here.hostname) and (site.machine is None or here.port in ports):
        how = "Name the address that they have, and ask again."
        yield "forwarding", UNKNOWN, f"This machine may speak for users (setting trusted-proxy). {how}"
    how = "Have the proxy set X-Outside-Url, Forwarded and X-Forwarded-* itself, and let trusted-proxy name it alone."
    yield "forwarding", WRONG, f"Anybody can make the server give links to a host of their choice. {how}"


def _directory(site: Site) -> Iterator[Said]:
    """Compare what answers with the server directory of this machine."""
    if (machine := site.machine) is None:
        return
    serverdir, node_id = machine.settings.serverdir, site[Visit.API].header("X-Devpi-Uuid")
    if node_id and node_id != machine.node_id:
        told = f"{site.url} is another server than the one of {serverdir}."
        yield "same server", WRONG, f"{told} Correct the proxy, or --serverdir."
    yield "same server", OK, f"It is the server of {serverdir}."
    running = as_object(as_object(site[Visit.STATUS].json.get("result")).get("versioninfo")).get("twistpi")
    if running is None:
        yield "version", UNKNOWN, "The server does not say which version it is."
    elif running != machine.version:
        yield "version", ADVICE, f"The server still runs version {running}, but {machine.version} is installed. Restart it."
    yield "version", OK, f"It runs version {running}, the one that is installed."
    if machine.protected is None:
        return
    for one in site.of(Visit.PROTECTED, Visit.BLOB):
        if one.status in (200, 206):
            how = "Let nginx ask twistpi first, as the files of twistpi gen-config do, and offer the folder +files to nobody."
            told = f"{one.url} is given to everybody, though {machine.protected.index} is not for all."
            yield "seclusion", WRONG, f"{told} {how}"
    yield "seclusion", OK, f"Files of {machine.protected.index}, which is not for all, are not given to everybody."
