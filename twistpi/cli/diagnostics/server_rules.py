"""The rules of doctor for a server's answers through the address that its users have."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, each, judge, when
from twistpi.cli.diagnostics.machine import PROXY_LOGIN, Machine, in_days, judge_machine, wants_proxy_login
from twistpi.cli.diagnostics.server_survey import (
    API,
    BLOB,
    FILE_HEAD,
    FILE_RANGE,
    OURS,
    PAGE,
    PAGE_GZIPPED,
    PEER,
    PROTECTED,
    PUSH,
    READY,
    SPOOFED,
    STRANGER,
    Site,
)
from twistpi.cli.diagnostics.survey import as_object, split
from twistpi.http.blocking import SILENT, UNTRUSTED
from twistpi.model.text import counted


def diagnose(site: Site | None, machine: Machine | None) -> list[Finding]:
    """Return the findings of all rules that apply."""
    found = [] if machine is None else judge_machine(machine)
    if site is None:
        text = "No request was sent. Give the address that users have: twistpi doctor URL"
        return [*found, Finding("answers", UNKNOWN, text)]
    found += judge(ANSWERS_RULE, site)
    if found[-1].verdict is not OK:
        return found
    return found + judge({**SITE_RULES, **(BOTH_RULES if machine is not None else {})}, site)


def _answers(site: Site) -> Said:
    api = site[API]
    proxy, gives = f"The proxy at {site.url} answers {api.outcome}", f"{site.url} gives {api.outcome}."
    if wants_proxy_login(api):
        yield WRONG, f"{gives} {PROXY_LOGIN}"
    elif api.failure.startswith(UNTRUSTED):
        yield WRONG, f"{gives} Use one that users' machines trust; SSL_CERT_FILE makes this command trust another authority."
    elif not api.status:
        yield WRONG, f"{gives} Does the server run, and is the address right?"
    elif api.status in (502, 503, 504) and not api[OURS]:
        yield WRONG, f"{proxy}: it does not reach twistpi. Does the server run, at the port that the proxy uses?"
    elif api.status == 401 and not api[OURS]:
        yield WRONG, f"{proxy} before it reaches twistpi. If this is intended, name a login: https://user:password@…"
    elif "login" not in as_object(api.json.get("result")):
        yield WRONG, f"{gives} That is not twistpi. Is the address right, including the path prefix?"


def _headers(site: Site) -> Said:
    if missing := [name for name in (OURS, "X-Devpi-Serial", "X-Devpi-Uuid", "Date") if not site[API][name]]:
        yield WRONG, f"The proxy drops {', '.join(missing)}, which clients and replicas need. Let it pass on all headers."


def _address(site: Site) -> Said:
    login = str(as_object(site[API].json.get("result")).get("login"))
    if login == f"{site.url}/+login" or login.startswith("/"):
        return
    believed, seen = split(login), split(site.url)
    lacks = "the address that the client used"
    if believed.scheme != seen.scheme and believed.netloc:
        lacks = "the scheme that the client used"
    elif believed.netloc == seen.netloc:
        lacks = "the right path prefix"
    text = f"The server takes its address for {login.removesuffix('/+login')}, not {site.url}: the proxy does not send {lacks}."
    yield WRONG, f"{text} Let it send X-Outside-Url: {site.url}, and name it in the setting trusted-proxy; or set outside-url."


def _ready(site: Site) -> Said:
    ready, checks = site[READY], site[READY].json.get("checks")
    failed = [as_object(check) for check in (checks if isinstance(checks, list) else ())]
    messages = [str(check.get("message")) for check in failed if check.get("result", "fine") != "fine"]
    if not isinstance(checks, list):
        yield UNKNOWN, "The server does not say whether it is ready."
    elif ready.status != 200:
        yield WRONG, f"The server is not ready. {' '.join(messages)}"
    elif messages:
        yield ADVICE, f"The server is ready, with warnings. {' '.join(messages)}"


def _links(site: Site) -> Said:
    page, file = site[PAGE], site[FILE_HEAD]
    text = f"{page.url} links to {file.url}, which is answered {file.outcome}."
    if file.status in (404, 410):
        yield WRONG, f"{text} If there is a path prefix, the proxy must send it in X-Outside-Url; or set outside-url."
    elif file.status != 200:
        yield WRONG, f"{text} The server's log says why."


def _logins(site: Site) -> Said:
    status = as_object(site[API].json.get("result")).get("authstatus")
    is_logged_in, reason = isinstance(status, list) and status[:1] == ["ok"], site[PEER].json.get("reason")
    if reason == "missing" and not is_logged_in:
        yield (
            WRONG,
            "The proxy drops the header Authorization, so installers and twine cannot log in. Let it pass on that header.",
        )
    elif not is_logged_in and site.has_login:
        yield UNKNOWN, "The server does not accept the login in the address."
    elif not is_logged_in and not reason:
        yield UNKNOWN, "Whether the proxy passes on logins can be checked with a login in the address: https://user:password@…"


def _uploads(site: Site) -> Said:
    upload, mib = site[site.upload], site.upload.announced >> 20
    if upload.status == 413 and not upload[OURS]:
        yield WRONG, f"The proxy refuses an upload of {mib:,} MiB. In nginx: client_max_body_size {mib}m; or 0 for no limit."
    elif upload.status == 413:
        yield ADVICE, f"The server refuses an upload of {mib:,} MiB, by its setting max-upload-size."
    elif upload.failure == SILENT and site[API]["Server"].lower().startswith("nginx"):
        yield ADVICE, "nginx stores the whole of an upload before it passes it on. In nginx: proxy_request_buffering off."
    elif not upload.status or upload.status >= 500:  # other proxies stream, but pass the answer on only when all has come
        yield UNKNOWN, f"What happens to an upload of {mib:,} MiB cannot be checked: {upload.outcome}."


def _clock(site: Site) -> Said:
    try:
        ahead = parsedate_to_datetime(site[API]["Date"]).timestamp() - site.asked_at
    except (ValueError, TypeError, OverflowError, OSError):
        yield UNKNOWN, "The server's answers have no Date."
    else:
        if abs(ahead) > 30.0:
            difference = f"{abs(ahead):,.0f} seconds {'ahead of' if ahead > 0 else 'behind'} this machine's"
            yield WRONG, f"The server's clock is {difference}. Synchronise both with NTP."


def _tls(site: Site) -> Said:
    parts, days = split(site.url), site.certificate_days
    if parts.scheme != "https":
        if not _is_loopback(parts.hostname):
            yield ADVICE, "Passwords and tokens are sent unencrypted. Use TLS, in the proxy or in the server (--listen ssl:…)."
    elif days is None:
        yield UNKNOWN, "The certificate could not be read."
    elif days < 14:
        yield WRONG, f"The certificate of {parts.netloc} ends in {in_days(days)}. Renew it."
    else:
        yield OK, f"The certificate is valid for {in_days(days)}."


def _replication(site: Site) -> Said:
    facts = site.status
    if not facts:
        yield UNKNOWN, "The server does not say what its role is."
        return
    if fenced := facts.get("fenced"):
        yield WRONG, f"The server accepts no writes. {fenced} Stop it and make it a replica: twistpi resync"
    if facts.get("role") != "REPLICA":
        number = len(as_object(facts.get("polling_replicas")))
        yield OK, f"The server is a primary, followed by {number} {'server' if number == 1 else 'servers'}."
    primary, lag, missing = facts.get("primary-url"), facts.get("lag-seconds"), as_object(facts.get("replication-errors"))
    if not isinstance(lag, int | float) or lag > 60.0:
        known = f"is {lag:,.0f} seconds behind" if isinstance(lag, int | float) else "does not know how far it is behind"
        why = facts.get("last-error") or "Can it reach that address, and does it have the same secretfile?"
        yield WRONG, f"The server {known} its primary {primary}. {why}"
    if missing:
        text = f"{counted(len(missing), 'file')} cannot be fetched from the primary {primary}, such as {min(missing, key=str)}"
        yield WRONG, f"{text}; /+status says why."
    yield OK, f"The server is a replica, and has what its primary {primary} has."


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost" or (host or "").endswith(".localhost")


def _forwarding(site: Site) -> Said:
    claimed, here, machine = site[SPOOFED].text, split(site.url), site.machine
    if STRANGER not in claimed and "gopher://" not in claimed:
        return
    addresses = machine.running.addresses if machine is not None and machine.running is not None else ()
    ports = [split(address).port for address in addresses if address.startswith("http")]
    if _is_loopback(here.hostname) and (machine is None or here.port in ports):
        how = "Run doctor with the address that users have."
        yield UNKNOWN, f"This machine is a trusted proxy (setting trusted-proxy), so this cannot be checked from here. {how}"
    how = "Let the proxy overwrite X-Outside-Url, Forwarded and X-Forwarded-*, and let trusted-proxy name only the proxy."
    yield WRONG, f"Any client can make the server give links to a host of its choice. {how}"


def _same_server(site: Site) -> Said:
    machine = site.machine
    if machine is not None and site[API]["X-Devpi-Uuid"] not in ("", machine.node_id):
        text = f"{site.url} is another server than the one of {machine.settings.serverdir}."
        yield WRONG, f"{text} Correct the proxy, or --serverdir."


def _seclusion(site: Site) -> Said:
    index = site.machine.protected.index if site.machine is not None and site.machine.protected is not None else None
    for one in site.of((PROTECTED, BLOB)):
        if one.status in (200, 206):
            text = f"Everybody can read {one.url}, although {index} is protected."
            how = "Let nginx ask twistpi first, as in the files of twistpi gen-config, and do not serve the folder +files."
            yield WRONG, f"{text} {how}"
    if index is not None:
        yield OK, f"Files of the protected index {index} are not accessible without a login."


ANSWERS_RULE: Rules[Site] = {"answers": [_answers, "{0.url} answers."]}
SITE_RULES: Rules[Site] = {
    "headers": [_headers, "The proxy passes on the server's headers."],
    "address": [_address, "The server knows the address that users see."],
    "ready": [_ready, "The server is ready."],
    "links": [_links, "Links on pages lead to files."],
    "ranges": [
        each(FILE_HEAD, lambda it: it.status not in (200, 404, 410), "There is no file to request a range of.", UNKNOWN),
        each(
            FILE_RANGE,
            lambda it: it.status != 206 or len(it.body) != 10 or not it.is_whole,
            "The proxy drops Range: a request for ten bytes gets {0.outcome}.",
        ),
        "Range requests work.",
    ],
    "sending": [
        each(FILE_RANGE, lambda it: it.status not in (200, 206), "There is no file to request.", UNKNOWN),
        each(
            FILE_RANGE,
            lambda it: it["Server"].lower().startswith("nginx") and it["Cache-Status"].startswith("twistpi; hit"),
            "nginx could send files itself: see twistpi gen-config.",
            ADVICE,
        ),
        "No proxy lets twistpi send files that it could send itself.",
    ],
    "packing": [
        each(PAGE_GZIPPED, lambda it: it.status != 200, "There is no page yet.", UNKNOWN),
        each(
            PAGE_GZIPPED,
            lambda it: it["Content-Encoding"].lower() not in ("gzip", "zstd", "br"),
            "Pages are not compressed: the proxy drops Accept-Encoding.",
            ADVICE,
        ),
        "Pages are compressed.",
    ],
    "methods": [
        each(PUSH, lambda it: not it[OURS], "The proxy answers PUSH {0.outcome}, so devpi push fails. Let it allow all methods."),
        "The method PUSH, which devpi push uses, is allowed.",
    ],
    "logins": [_logins, "The proxy passes on logins."],
    "uploads": [_uploads, "A large upload is accepted and streamed."],
    "clock": [_clock, "The server's clock and this machine's agree."],
    "TLS": [_tls, "The connection does not leave this machine."],
    "replication": [_replication, "The server reports its role."],
    "forwarding": [_forwarding, "Forwarding headers of clients are ignored."],
}
BOTH_RULES: Rules[Site] = {
    "same server": [_same_server, "The address leads to the server of {0.machine.settings.serverdir}."],
    "version": [
        when(lambda it: it.version is None, "The server does not say which version it is.", UNKNOWN),
        when(
            lambda it: it.machine is not None and it.version != it.machine.version,
            "The server runs version {0.version}, but {0.machine.version} is installed. Restart it.",
            ADVICE,
        ),
        "The server runs the installed version {0.version}.",
    ],
    "seclusion": [_seclusion, "No stored file belongs to a protected index only."],
}
"""For a server whose directory is on this machine."""
