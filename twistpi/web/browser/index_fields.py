"""The settings of an index as fields of a form, with a help text each; what they mean is decided in ``rules.index_config``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs
import orjson

from twistpi.model.errors import BadRequest
from twistpi.model.records import Json
from twistpi.model.urls import without_credentials
from twistpi.rules.advisories import SETTINGS
from twistpi.rules.file_policy import MIN_RELEASE_AGE
from twistpi.rules.index_config import KEYS, Key
from twistpi.rules.policy_keys import age_text
from twistpi.rules.upload_checks import UPLOAD_CHECKS

YES_NO: Final = ("yes", "no")
_CUSTOM: Final = "custom_data"
_URL: Final = "mirror_url"


@attrs.frozen
class Help:
    """What a form says about a key."""

    label: str
    text: str
    choices: tuple[str, ...] = ()
    """The values that can be chosen; empty for a text."""
    is_long: bool = False
    """Whether the text may have several lines."""


_PEOPLE: Final = "Names of users with commas between them, or :ANONYMOUS: for everybody, :AUTHENTICATED: for every login."
_OF_MIRRORS: Final = "Files of mirrors"
_ONE_A_LINE: Final = "Projects, one a line, perhaps with versions: django>=4,<5, or acme-* for all that begin so."
HELP: Final[Mapping[str, Help]] = {
    "title": Help("Title", "One line about the index."),
    "description": Help("Description", "What it is for.", is_long=True),
    "bases": Help("Bases", "Indexes it inherits from, the nearest first, with commas between them: root/pypi."),
    "volatile": Help("Volatile", "Yes: what was published may be replaced and removed. No: it stays.", YES_NO),
    "acl_read": Help("Who may read it", f"{_PEOPLE} Empty: only the owner and root."),
    "acl_upload": Help("Who may upload", f"{_PEOPLE} The owner needs to be named, too."),
    "acl_toxresult_upload": Help("Who may add test results", _PEOPLE),
    "mirror_whitelist": Help(
        "Projects that mirrors may add to",
        "Names with commas between them, or * for all. Any other project that this index has comes from no mirror.",
    ),
    "mirror_whitelist_inheritance": Help(
        "Whitelists of bases",
        "intersection: a project has to be on the whitelist of each index on the way. union: one is enough.",
        ("intersection", "union"),
    ),
    "reserved": Help(
        "Reserved names",
        "Names, and beginnings of names such as acme-*, that never come from a mirror, whether they exist or not.",
    ),
    "reuse_filenames": Help(
        "Reuse file names",
        "Whether the name of a removed file can be used for other bytes where the index is not volatile.",
        YES_NO,
    ),
    "upload_checks": Help(
        "Checks of uploads",
        "strict: what every installer reads in the same way. lenient: what some read. none: any bytes. Not set: as the server.",
        UPLOAD_CHECKS,
    ),
    "trusted_publishers": Help(
        "Trusted publishers",
        "Who may upload without a password, one a line: a project, the issuer of tokens, and claims:"
        " hello https://issuer.example repository=acme/hello",
        is_long=True,
    ),
    "mirror_url": Help(
        "Upstream",
        "The simple index that is copied. User and password may stand before the host. They are not shown, and stay as long as"
        " the address does; https://@… removes them.",
    ),
    "mirror_url_kind": Help("Kind of page", "flat: one page lists the files of all projects.", ("simple", "flat")),
    "mirror_cache_expiry": Help("Seconds a page counts as new", "Then the upstream is asked again. Not set: as the server."),
    "mirror_use_external_urls": Help("Send installers to the upstream", "Files are not stored here then.", YES_NO),
    "mirror_no_project_list": Help("No list of projects", "The upstream has no list of all projects.", YES_NO),
    "mirror_ignore_serial_header": Help("Ignore serials", "Accept pages whose serial went backwards.", YES_NO),
    "mirror_unknown_status": Help(
        "Status of unknown projects", "What the upstream answers for a project that it does not have.", ("401", "403", "404")
    ),
    "mirror_provides_core_metadata": Help(
        "Upstream has metadata", "Accepted for the sake of devpi; metadata is always offered.", YES_NO
    ),
    "mirror_web_url_fmt": Help("Pages of the upstream", "Where its pages for people are, with {name} for the project."),
    "cache_max_bytes": Help("Most bytes that are kept", "Of its files, such as 500G; the longest not asked for go first."),
    "cache_max_age": Help("Days files are kept", "After which a file goes that nobody asked for."),
    "cache_min_age": Help("Days new files are kept", "For which every file stays after it was fetched. Not set: as the server."),
    "pins": Help("Pins", "Projects whose files always stay, with commas between them: numpy, or numpy==2.1."),
    "min_release_age": Help("Age of files", f"{_OF_MIRRORS} are offered this long after their upload: 7d, 36h. Empty: at once."),
    "min_release_age_exempt": Help("Offered at once", f"{_ONE_A_LINE} Whatever their age.", is_long=True),
    "allow": Help("Allowed projects", f"{_ONE_A_LINE} Nothing else comes from mirrors. Empty: everything does.", is_long=True),
    "deny": Help("Denied projects", f"{_ONE_A_LINE} They do not come from mirrors.", is_long=True),
    "quarantined": Help("Quarantine", "As the denied ones, each with a reason behind a blank.", is_long=True),
    "allow_platforms": Help("Platforms", "Beginnings of platform tags of wheels: manylinux, win_amd64. Empty: all."),
    "allow_python_tags": Help("Python versions", "Beginnings of Python tags of wheels: cp312, py3. Empty: all."),
    "deny_sdists": Help("Wheels only", f"{_OF_MIRRORS} that are source distributions are not offered.", YES_NO),
    "deny_prereleases": Help("Final releases only", f"{_OF_MIRRORS} that are pre-releases are not offered.", YES_NO),
    "max_file_size": Help("Largest file", f"{_OF_MIRRORS} that are larger are not offered: 200M. Empty: any size."),
    "advisories": Help(
        "Advisories",
        f"{_OF_MIRRORS} are not offered that are malware (block-malware), or that have a vulnerability of at least a severity."
        " report: they are offered, and requests for them are listed. Not set: block-malware on mirrors.",
        SETTINGS,
    ),
    "policy_mode": Help("Mode", "report: nothing is refused; what would be is counted and logged.", ("enforce", "report")),
    "custom_data": Help("Other data", "Anything programs keep here, as JSON: text stands in quotes.", is_long=True),
}
"""Key -> what a form says about it; in the order of the form."""


@attrs.frozen
class Field:
    """A key with its value."""

    key: Key
    value: str
    """As the form shows it; empty for what is not set."""

    @property
    def name(self) -> str:
        """The key's name."""
        return self.key.name

    @property
    def help(self) -> Help:
        """What the form says about it."""
        return HELP[self.key.name]

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that can be chosen, with an empty one where none has to be."""
        return self.help.choices if self.key.has_default or not self.help.choices else ("", *self.help.choices)


def fields_of(kind: str, config: Mapping[str, Json]) -> tuple[Field, ...]:
    """Return the fields of an index of the type ``kind`` with the settings ``config``."""
    keys = KEYS[kind]
    return tuple(Field(keys[name], _shown(keys[name], config)) for name in HELP if name in keys)


Entered = Callable[[str], str | None]
"""Returns the text in a field; None for a field that was not sent."""


def entered_body(kind: str, config: Mapping[str, Json], entered: Entered) -> dict[str, Json]:
    """Return what the API takes for a new index of the type ``kind``: the fields that differ from ``config``, the defaults."""
    texts = {field.name: text for field in fields_of(kind, config) if (text := entered(field.name)) not in (None, field.value)}
    return {"type": kind, **{name: custom_data(text) if name == _CUSTOM else text for name, text in texts.items()}}


def entered_items(kind: str, config: Mapping[str, Json], entered: Entered, shown: Entered) -> tuple[list[str], dict[str, Json]]:
    """Return the modifications that the API takes: ``key=value`` and ``key-=``, and separately what is no text.

    A field counts that differs from what the form had ``shown``, so that nothing is undone that somebody else did meanwhile.
    """
    items: list[str] = []
    others: dict[str, Json] = {}
    for field in fields_of(kind, config):
        name, text = field.name, entered(field.name)
        if text is None or text == shown(name):
            continue
        if not text and not field.key.has_default and not field.key.is_list:
            items += [f"{name}-="] if name in config else []
        elif name == _CUSTOM:
            others[name] = custom_data(text)
        else:
            items.append(f"{name}={text}")
    return items, others


def custom_data(text: str | None) -> Json:
    """Return the JSON in ``text``; raise ``BadRequest``."""
    try:
        return orjson.loads(text or "")
    except orjson.JSONDecodeError:
        raise BadRequest("The other data is no JSON; text stands in quotes there.") from None


def foreign(kind: str, config: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Return the settings that no field is for, which stay as they are."""
    return ((key, value) for key, value in sorted(config.items()) if key not in KEYS[kind] and key != "type")


def _shown(key: Key, config: Mapping[str, Json]) -> str:
    if key.name not in config:
        return ", ".join(key.unset_means)
    value = config[key.name]
    if key.name == _CUSTOM:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if isinstance(value, bool):
        return YES_NO[0] if value else YES_NO[1]
    if isinstance(value, list | tuple):
        return ("\n" if HELP[key.name].is_long else ", ").join(map(str, value))
    if key.name == MIN_RELEASE_AGE and isinstance(value, int):
        return age_text(value)
    return without_credentials(str(value)) if key.name == _URL else str(value)
