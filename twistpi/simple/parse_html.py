"""Parsing of a project page in HTML (PEP 503, 592, 658, 714, 740, 792).

The upstream may be a registry, a folder listing of a web server or one flat page with the files of many projects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from twistpi.model.errors import InvalidName
from twistpi.model.names import check_filename, is_wheel, project_of_filename
from twistpi.model.records import Link, PageHeader
from twistpi.simple import fields as field
from twistpi.simple.urls import absolute, filename_of

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252", "utf-16", "utf-16le", "utf-16be"})
"""Charsets of web pages; Python knows many more, some of them no text."""
_SUFFIXES: Final = (
    ".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar.z", ".tar",
    ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg",
)  # fmt: skip
_SERIAL: Final = re.compile(r"<!--SERIAL (\d{1,15})-->\s*\Z")
_TAG: Final = re.compile(r"<(?!(?:a|br)[\s/>])[a-z]", re.IGNORECASE)
_OTHER_TAG: Final = re.compile(r"</?(?!(?:a|base|meta|title|script|style)[\s/>])[a-z][^>]*>", re.IGNORECASE)
_MANY_TAGS: Final = 100


def parse_html(body: bytes, content_type: str, url: str, project: str) -> tuple[PageHeader, Iterator[Link]]:
    """Parse the header and links of an HTML page at ``url``; raise ``BadUpstreamPage`` for an API version above 1."""
    text = body.removeprefix(b"\xef\xbb\xbf").decode(charset_of(content_type), errors="replace")
    tree = LexborHTMLParser(_without_nesting(text))
    metas = _metas(tree)
    field.check_api_version(metas.get("pypi:repository-version"), url)
    serial = _SERIAL.search(text[-200:])
    header = PageHeader(
        status=field.clean_status(metas.get("pypi:project-status")),
        status_reason=field.clean_reason(metas.get("pypi:project-status-reason")),
        last_serial=field.clean_serial(int(serial[1])) if serial else None,
    )
    node = tree.css_first("base[href]")
    reference = node.attributes["href"] if node is not None else None
    base = (absolute(url, reference) if reference else None) or url
    return header, filter(None, (_link(node, base, project) for node in tree.css("a[href]")))


def charset_of(content_type: str) -> str:
    """Return the charset of an HTML page; unknown ones are taken for UTF-8."""
    charset = _CHARSET.search(content_type)
    name = charset[1].lower() if charset else ""
    return name if name in _CHARSETS else "utf-8"


def _without_nesting(text: str) -> str:
    """Return ``text`` without tags that mean nothing here, when there are many of them.

    Building the tree of deeply nested elements takes time that grows with the square of their number; a hostile page could
    stop the server with it.  A title, head and list of links stays far below the limit.
    """
    tags = _TAG.finditer(text)
    if next((True for number, _tag in enumerate(tags) if number >= _MANY_TAGS), False):
        # Nothing behind the last '>' is a tag; cutting it off keeps the search linear.
        return _OTHER_TAG.sub(" ", text[: text.rfind(">") + 1])
    return text


def _metas(tree: LexborHTMLParser) -> Mapping[str, str | None]:
    """Return the page's ``<meta name=… content=…>``; of several with one name the first."""
    metas: dict[str, str | None] = {}
    for node in tree.css("meta[name]"):
        attributes = node.attributes
        metas.setdefault((attributes["name"] or "").strip().lower(), attributes.get("content"))
    return metas


def _link(node: LexborNode, base: str, project: str) -> Link | None:
    attributes = node.attributes
    reference = attributes["href"]
    url = absolute(base, reference) if reference else None
    if reference is None or url is None:
        return None
    filename = filename_of(url)
    is_named = node.text().strip() == filename
    try:
        check_filename(filename)
    except InvalidName:
        return None
    # Folder listings link to other things, too; a file that is no distribution counts if its link shows its name.
    if not (is_named or filename.lower().endswith(_SUFFIXES)) or not _belongs(filename, project):
        return None
    size = attributes.get("data-size")
    return Link(
        filename,
        url,
        field.hash_of_fragment(reference),
        field.clean_size(int(size)) if size and len(size) <= 16 and size.isascii() and size.isdigit() else None,
        field.clean_requires_python(attributes.get("data-requires-python")),
        field.clean_upload_time(attributes.get("data-upload-time")),
        "data-yanked" in attributes and (field.clean_yanked(attributes["data-yanked"]) or True),
        _core_metadata(attributes),
        field.clean_provenance(attributes.get("data-provenance")),
    )


def _belongs(filename: str, project: str) -> bool:
    """Return whether a file can be one of ``project``; flat pages list the files of other projects, too."""
    if is_wheel(filename):
        return _beginning(project, "[_.]+", "-").match(filename) is not None
    start = _beginning(project, "[-_.]+", "[-_.]+").match(filename)
    if start is None:
        return False
    # "foo-1.0.zip" is foo's in any case; "foo-bar-1.0.zip" is foo-bar's, but "foo-latest.zip" is foo's again.
    rest = filename[start.end() :]
    return rest[:2].lstrip("vV")[:1].isdigit() or project_of_filename(filename) in (None, project)


@functools.lru_cache(maxsize=64)
def _beginning(project: str, separator: str, end: str) -> re.Pattern[str]:
    """Match the beginning of a file name of ``project``, in any spelling of the name."""
    return re.compile(separator.join(map(re.escape, project.split("-"))) + end, re.IGNORECASE)


def _core_metadata(attributes: Mapping[str, str | None]) -> bool | Mapping[str, str] | None:
    for name in ("data-core-metadata", "data-dist-info-metadata"):
        if name in attributes:
            value = (attributes[name] or "").strip()
            algorithm, _equals, digest = value.partition("=")
            return field.clean_hash(algorithm, digest) or value.lower() != "false"
    return None
