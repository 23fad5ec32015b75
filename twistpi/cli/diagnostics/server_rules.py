"""The rules of doctor for the answers at the public address."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, each, fine, judge, when
from twistpi.cli.diagnostics.machine import PROXY_LOGIN, Machine, in_days, judge_machine, wants_proxy_login
from twistpi.cli.diagnostics.server_survey import STRANGER, Site, Visit
from twistpi.cli.diagnostics.survey import Exchange, as_object, split
from twistpi.http.blocking import SILENT, UNTRUSTED

_OURS = "X-Devpi-Api-Version"
"""A header of every answer that the server itself gave."""


def diagnose(site: Site | None, machine: Machine | None) -> list[Finding]:
    """Return the findings of all rules that apply."""
    found = [] if machine is None else judge_machine(machine)
    if site is None:
        told = "No request was sent. Give the address that users have: twistpi doctor URL"
        return [*found, Finding("answers", UNKNOWN, told)]
    found += judge({"answers": SITE_RULES["answers"]}, site)
    if found[-1].verdict is not OK:
        return found
    has_login, has_machine = Visit.OTHER_LOGIN in site.got, site.machine is not None
    return found[:-1] + judge({**SITE_RULES, **(LOGIN_RULES if has_login else {}), **(BOTH_RULES if has_machine else {})}, site)


def _answers(site: Site) -> Said:
    api = site[Visit.API]
    is_ours, proxy, gives = api[_OURS], f"The proxy at {site.url} answers {api.told}", f"{site.url} gives {api.told}."
    if wants_proxy_login(api):
        yield WRONG, f"{gives} {PROXY_LOGIN}"
    elif api.failure.startswith(UNTRUSTED):
        how = "Use a certificate that users' machines trust. SSL_CERT_FILE makes this command trust another authority."
        yield WRONG, f"{gives} {how}"
    elif not api.status:
        yield WRONG, f"{gives} Does the server run, and is the address right?"
    elif api.status in (502, 503, 504) and not is_ours:
        yield WRONG, f"{proxy}: it does not reach twistpi. Does the server run, at the port that the proxy uses?"
    elif api.status == 401 and not is_ours:
        how = "If this is intended, put a login into the address: https://user:password@…"
        yield WRONG, f"{proxy} before it reaches twistpi. {how}"
    elif "login" not in as_object(api.json.get("result")):
        told = f"{site.url}/+api is answered {api.told}, but not by twistpi."
        yield WRONG, f"{told} Is the address right, including the path prefix?"


def _headers(site: Site) -> Said:
    missing = [name for name in (_OURS, "X-Devpi-Serial", "X-Devpi-Uuid", "Date") if not site[Visit.API][name]]
    if missing:
        yield (
            WRONG,
            f"The proxy drops {', '.join(missing)}, which clients and replicas need. Let it pass on all headers.",
        )


def _address(site: Site) -> Said:
    login = str(as_object(site[Visit.API].json.get("result")).get("login"))
    if login == f"{site.url}/+login" or login.startswith("/"):
        return
    believed, seen = split(login), split(site.url)
    lacks = "the address that the client used"
    if believed.scheme != seen.scheme and believed.netloc:
        lacks = "the scheme that the client used"
    elif believed.netloc == seen.netloc:
        lacks = "the right path prefix"
    told = f"The server takes its address for {login.removesuffix('/+login')}, not {site.url}: the proxy does not send {lacks}."
    yield WRONG, f"{told} Let it send X-Outside-Url: {site.url}, and name it in the setting trusted-proxy; or set outside-url."


def _ready(site: Site) -> Said:
    ready, checks = site[Visit.READY], site[Visit.READY].json.get("checks")
    if not isinstance(checks, list):
        yield UNKNOWN, "The server does not say whether it is ready."
        return
    messages = [str(as_object(check).get("message")) for check in checks if as_object(check).get("result", "fine") != "fine"]
    if ready.status != 200:
        yield WRONG, f"The server is not ready. {' '.join(messages)}"
    elif messages:
        yield ADVICE, f"The server is ready, with warnings. {' '.join(messages)}"


def _links(site: Site) -> Said:
    page, file = site[Visit.PAGE], site[Visit.FILE_HEAD]
    told = f"{page.url} links to {file.url}, which is answered {file.told}."
    if file.status in (404, 410):
        yield WRONG, f"{told} If there is a path prefix, the proxy must send it in X-Outside-Url; or set outside-url."
    elif file.status != 200:
        yield WRONG, f"{told} The server's log says why."


def _is_part(one: Exchange) -> bool:
    return one.status == 206 and len(one.body) == 10 and one.is_whole


def _is_sent_by_us(one: Exchange) -> bool:
    return one["Server"].lower().startswith("nginx") and one["Cache-Status"].startswith("twistpi; hit")


def _is_packed(one: Exchange) -> bool:
    return one["Content-Encoding"].lower() in ("gzip", "zstd", "br")


def _is_logged_in(exchange: Exchange) -> bool:
    status = as_object(exchange.json.get("result")).get("authstatus")
    return isinstance(status, list) and status[:1] == ["ok"]


def _logins(site: Site) -> Said:
    if _is_logged_in(site[Visit.API]):
        return
    if _is_logged_in(site[Visit.OTHER_LOGIN]):
        told = "The login in the address works in X-Devpi-Auth, but not in Authorization: the proxy drops that header."
        yield WRONG, f"{told} Configure it to pass on the header, or installers and twine cannot log in."
    yield UNKNOWN, "The server does not accept the login in the address, so this cannot be checked."


def _uploads(site: Site) -> Said:
    upload, mib = site[Visit.UPLOAD], site.upload_length >> 20
    one = f"an upload of {mib:,} MiB"
    if upload.status == 413 and not upload[_OURS]:
        how = f"In nginx: client_max_body_size {mib}m; or 0 for no limit."
        yield WRONG, f"The proxy refuses {one}. {how}"
    elif upload.status == 413:
        yield ADVICE, f"The server refuses {one}, by its setting max-upload-size."
    elif upload.failure == SILENT and site[Visit.API]["Server"].lower().startswith("nginx"):
        told = f"The proxy stores the whole of {one} before it passes it on."
        yield ADVICE, f"{told} In nginx: proxy_request_buffering off."
    elif upload.failure == SILENT:  # Apache and Varnish pass uploads on, but answers only when all of them has come
        yield UNKNOWN, f"Whether the proxy streams {one} cannot be checked."
    elif not upload.status or upload.status >= 500:
        yield UNKNOWN, f"What happens to {one} cannot be checked: {upload.told}."


def _clock(site: Site) -> Said:
    try:
        ahead = parsedate_to_datetime(site[Visit.API]["Date"]).timestamp() - site.asked_at
    except (ValueError, TypeError, OverflowError, OSError):
        yield UNKNOWN, "The server's answers have no Date."
    else:
        if abs(ahead) > 30.0:
            told = f"{abs(ahead):,.0f} seconds {'ahead of' if ahead > 0 else 'behind'} this machine's"
            yield WRONG, f"The server's clock is {told}. Synchronise both with NTP."


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
        told = f"{len(missing)} files cannot be fetched from the primary {primary}, such as {min(missing, key=str)}"
        yield WRONG, f"{told}; /+status says why."
    yield OK, f"The server is a replica, and has what its primary {primary} has."


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost" or (host or "").endswith(".localhost")


def _forwarding(site: Site) -> Said:
    told, here, machine = site[Visit.SPOOFED].text, split(site.url), site.machine
    if STRANGER not in told and "gopher://" not in told:
        return
    addresses = machine.running.addresses if machine is not None and machine.running is not None else ()
    ports = [split(address).port for address in addresses if address.startswith("http")]
    if _is_loopback(here.hostname) and (machine is None or here.port in ports):
        how = "Run doctor with the address that users have."
        yield UNKNOWN, f"This machine is a trusted proxy (setting trusted-proxy), so this cannot be checked from here. {how}"
    how = "Let the proxy overwrite X-Outside-Url, Forwarded and X-Forwarded-*, and let trusted-proxy name only the proxy."
    yield WRONG, f"Any client can make the server give links to a host of its choice. {how}"


def _same_server(site: Site) -> Said:
    node_id, machine = site[Visit.API]["X-Devpi-Uuid"], site.machine
    if machine is not None and node_id not in ("", machine.node_id):
        told = f"{site.url} is another server than the one of {machine.settings.serverdir}."
        yield WRONG, f"{told} Correct the proxy, or --serverdir."


def _is_outdated(site: Site) -> bool:
    return site.machine is not None and site.version != site.machine.version


def _seclusion(site: Site) -> Said:
    file = None if site.machine is None else site.machine.protected
    for one in site.of((Visit.PROTECTED, Visit.BLOB)):
        if file is not None and one.status in (200, 206):
            told = f"Everybody can read {one.url}, although {file.index} is protected."
            how = "Let nginx ask twistpi first, as in the files of twistpi gen-config, and do not serve the folder +files."
            yield WRONG, f"{told} {how}"
    if file is not None:
        yield OK, f"Files of the protected index {file.index} are not accessible without a login."


SITE_RULES: Rules[Site] = {
    "answers": [_answers, fine("{0.url} answers.")],
    "headers": [_headers, fine("The proxy passes on the server's headers.")],
    "address": [_address, fine("The server knows the address that users see.")],
    "ready": [_ready, fine("The server is ready.")],
    "links": [_links, fine("Links on pages lead to files.")],
    "ranges": [
        each(Visit.FILE_HEAD, lambda one: one.status not in (200, 404, 410), "There is no file to request a range of.", UNKNOWN),
        each(Visit.FILE_RANGE, lambda one: not _is_part(one), "The proxy drops Range: a request for ten bytes gets {0.told}."),
        fine("Range requests work."),
    ],
    "sending": [
        each(Visit.FILE_RANGE, lambda one: one.status not in (200, 206), "There is no file to request.", UNKNOWN),
        each(
            Visit.FILE_RANGE,
            _is_sent_by_us,
            "nginx could send files itself: see twistpi gen-config.",
            ADVICE,
        ),
        fine("No proxy lets twistpi send files that it could send itself."),
    ],
    "packing": [
        each(Visit.PAGE_GZIPPED, lambda one: one.status != 200, "There is no page yet.", UNKNOWN),
        each(
            Visit.PAGE_GZIPPED,
            lambda one: not _is_packed(one),
            "Pages are not compressed: the proxy drops Accept-Encoding.",
            ADVICE,
        ),
        fine("Pages are compressed."),
    ],
    "methods": [
        each(
            Visit.PUSH,
            lambda one: not one[_OURS],
            "The proxy answers PUSH {0.told}, so devpi push fails. Configure it to allow all methods.",
        ),
        fine("The method PUSH, which devpi push uses, is allowed."),
    ],
    "uploads": [_uploads, fine("A large upload is accepted and streamed.")],
    "clock": [_clock, fine("The server's clock and this machine's agree.")],
    "TLS": [_tls, fine("The connection does not leave this machine.")],
    "replication": [_replication, fine("The server reports its role.")],
    "forwarding": [_forwarding, fine("Forwarding headers of clients are ignored.")],
}
LOGIN_RULES: Rules[Site] = {"logins": [_logins, fine("The proxy passes on logins.")]}
"""For an address that has a login."""
BOTH_RULES: Rules[Site] = {
    "same server": [_same_server, fine("The address leads to the server of {0.machine.settings.serverdir}.")],
    "version": [
        when(lambda it: it.version is None, "The server does not say which version it is.", UNKNOWN),
        when(_is_outdated, "The server runs version {0.version}, but {0.machine.version} is installed. Restart it.", ADVICE),
        fine("The server runs the installed version {0.version}."),
    ],
    "seclusion": [_seclusion, fine("No stored file belongs to a protected index only.")],
}
"""For a server whose directory is on this machine."""
