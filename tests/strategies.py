"""Hypothesis strategies for the words of ``twistpi/model``: links, changes, entries and the parts they are made of."""

from __future__ import annotations

import string

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from twistpi.model.changes import (
    AdvisoriesAccepted,
    Change,
    Entry,
    EpochBegan,
    FileCached,
    HistoryCompacted,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.records import Json, Link, PageHeader
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    LogLine,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)

_ALNUM = string.ascii_lowercase + string.digits


def project_names() -> SearchStrategy[str]:
    """Normalised names of projects."""
    return st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,2}", fullmatch=True).filter(lambda name: len(name) <= 40)


def spelled_project_names() -> SearchStrategy[str]:
    """Names of projects as people spell them."""
    return st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


def index_names() -> SearchStrategy[str]:
    """``user/name``."""
    part = st.text(_ALNUM + "-_.", min_size=1, max_size=8)
    return st.builds("{}/{}".format, part, part)


def versions() -> SearchStrategy[str]:
    """Versions of releases."""
    return st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}((a|b|rc)[0-9])?", fullmatch=True)


def filenames(project: str = "demo") -> SearchStrategy[str]:
    """File names of wheels and source distributions of ``project``."""
    stem = project.replace("-", "_")
    return versions().flatmap(
        lambda version: st.sampled_from(
            [f"{stem}-{version}-py3-none-any.whl", f"{stem}-{version}.tar.gz", f"{stem}-{version}.zip"]
        )
    )


def digests() -> SearchStrategy[str]:
    """SHA-256 digests in hexadecimal."""
    return st.binary(min_size=32, max_size=32).map(bytes.hex)


def any_text(max_size: int = 20) -> SearchStrategy[str]:
    """Everything that UTF-8 can carry: quotes, line feeds, NULs, other alphabets."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)


def json_values() -> SearchStrategy[Json]:
    """Whatever JSON can say, integers as far as 64 bits go."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | any_text()
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text(), inner, max_size=3), max_leaves=5
    )


def json_objects() -> SearchStrategy[dict[str, Json]]:
    """JSON objects of a few keys."""
    return st.dictionaries(any_text(8), json_values(), max_size=3)


def links(project: str = "demo") -> SearchStrategy[Link]:
    """Links of files of ``project``."""
    return st.builds(
        Link,
        filename=filenames(project),
        url=st.from_regex(r"https://files\.upstream\.example/[a-z0-9/]{1,20}", fullmatch=True),
        hashes=st.just({}) | st.fixed_dictionaries({"sha256": digests()}) | st.fixed_dictionaries({"md5": st.just("0" * 32)}),
        size=st.none() | st.integers(0, 2**40),
        requires_python=st.none() | st.just(">=3.8") | any_text(),
        upload_time=st.none() | st.just("2026-11-22T17:00:00.123456Z"),
        yanked=st.booleans() | any_text(),
        core_metadata=st.none() | st.booleans() | st.fixed_dictionaries({"sha256": digests()}),
        provenance=st.none() | st.just("https://upstream.example/provenance"),
        extra=json_objects(),
    )


def page_headers() -> SearchStrategy[PageHeader]:
    """Headers of project pages."""
    return st.builds(
        PageHeader,
        status=st.none() | st.sampled_from(["active", "archived", "quarantined", "deprecated"]),
        status_reason=st.none() | any_text(),
        last_serial=st.none() | st.integers(0, 2**40),
        extra=json_objects(),
    )


def links_changed(index: SearchStrategy[str] | None = None, project: str = "demo") -> SearchStrategy[LinksChanged]:
    """``LinksChanged`` of one project; a file name stands at most once in each of its lists."""
    some_links = st.lists(links(project), max_size=3, unique_by=lambda link: link.filename).map(tuple)
    some_versions = st.lists(versions(), max_size=3, unique=True).map(tuple)
    return st.builds(
        LinksChanged,
        index=index_names() if index is None else index,
        project=st.just(project),
        added=some_links,
        changed=some_links,
        removed=st.lists(filenames(project), max_size=3, unique=True).map(tuple),
        versions_added=some_versions,
        versions_removed=some_versions,
        header=st.none() | page_headers(),
    )


def user_names() -> SearchStrategy[str]:
    """Names of users; few enough to meet."""
    return st.sampled_from(["root", "alice"]) | st.text(_ALNUM, min_size=1, max_size=8)


def public_halves() -> SearchStrategy[str]:
    """The public halves of API tokens; few enough to meet."""
    return st.sampled_from(["0" * 16, "0123456789abcdef"]) | st.binary(min_size=8, max_size=8).map(bytes.hex)


def changes(index: SearchStrategy[str] | None = None, project: SearchStrategy[str] | None = None) -> SearchStrategy[Change]:
    """Changes of every kind; give few ``index`` and ``project`` names to have them meet."""
    index = index_names() if index is None else index
    project = project_names() if project is None else project
    size = st.integers(0, 2**40)
    some_files = project.flatmap(filenames)
    keys = st.lists(any_text(8), max_size=3).map(tuple)
    may = st.sampled_from([("read",), ("upload",), ("read", "upload")])
    path = st.none() | st.just("+e/https_files.upstream.example_demo/demo-1.tar.gz")
    return st.one_of(
        st.builds(LogStarted, log_id=st.binary(min_size=16, max_size=16).map(bytes.hex), log_format=st.integers(1, 3)),
        st.builds(EpochBegan, epoch=st.integers(2, 9), node_id=st.binary(min_size=16, max_size=16).map(bytes.hex)),
        st.builds(HistoryCompacted, after=st.integers(1, 9), chain=digests(), sha256=digests()),
        st.builds(AdvisoriesAccepted, sha256=digests(), size=size, count=size, source=any_text(), modified=any_text()),
        st.builds(UserCreated, user=user_names(), config=json_objects(), password_hash=st.none() | any_text(8)),
        st.builds(UserModified, user=user_names(), changed=json_objects(), removed=keys, password_hash=st.none() | any_text(8)),
        st.builds(UserDeleted, user=user_names()),
        st.builds(TokenCreated, token=public_halves(), user=user_names(), digest=digests(), may=may, index=st.none() | index),
        st.builds(TokenRevoked, token=public_halves()),
        st.builds(IndexDeleted, index=index),
        st.builds(IndexCreated, index=index, config=json_objects()),
        st.builds(IndexModified, index=index, changed=json_objects(), removed=keys),
        project.flatmap(lambda name: links_changed(index, name)),
        *release_changes(index, project),
        st.builds(ProjectVanished, index=index, project=project),
        st.builds(FileCached, index=index, project=project, filename=some_files, sha256=digests(), size=size, path=path),
        st.builds(MetadataCached, index=index, project=project, filename=some_files, sha256=digests(), size=size, path=path),
        st.builds(MetadataMissing, index=index, project=project, filename=some_files, reason=any_text(), path=path),
    )


def release_changes(index: SearchStrategy[str], name: SearchStrategy[str]) -> list[SearchStrategy[Change]]:
    """Changes to private releases, a strategy for each kind."""
    filename, version, size = name.flatmap(filenames), st.sampled_from(["1.0", "1.00", "2.0"]), st.integers(0, 2**40)
    log = st.lists(log_lines(), max_size=2).map(tuple)
    source = st.none() | st.just("alice/dev")
    attachment = st.sampled_from(["toxresult", "doczip"])
    path = digests().flatmap(lambda digest: filename.map(lambda one: f"+f/{digest[:3]}/{digest[3:16]}/{one}"))
    return [
        st.builds(ReleaseDescribed, index, name, version, json_objects(), st.lists(any_text(8), max_size=2).map(tuple)),
        st.builds(
            FileUploaded, index, name, version, filename, digests(), size, metadata_sha256=st.none() | digests(),
            yanked=st.booleans() | any_text(), pushed_from=source, log=log,
        ),
        st.builds(
            AttachmentAdded, index, name, version, attachment, filename, digests(), size, path,
            for_filename=st.none() | filename, pushed_from=source, log=log,
        ),
        st.builds(AttachmentRemoved, index, name, path),
        st.builds(FileRemoved, index, name, filename),
        st.builds(ReleaseRemoved, index, name, version),
        st.builds(ProjectRemoved, index, name),
        st.builds(FileYanked, index, name, filename, st.booleans() | any_text()),
        st.builds(ProjectMarked, index, name, st.none() | st.sampled_from(["archived", "quarantined"]), st.none() | any_text()),
    ]  # fmt: skip


def log_lines() -> SearchStrategy[LogLine]:
    """What was done with a file."""
    what, who, count = (
        st.sampled_from(["upload", "push", "overwrite"]),
        st.none() | st.just("alice"),
        st.none() | st.integers(0, 9),
    )
    return st.builds(LogLine, what, who, st.just("2026-11-22T17:00:00Z"), st.just("alice/dev"), st.none(), count)


def times() -> SearchStrategy[str]:
    """Times as entries carry them."""
    return st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}".zfill(27))


def entries(serial: SearchStrategy[int] | None = None) -> SearchStrategy[Entry]:
    """Entries of one to three changes."""
    return st.builds(
        Entry,
        serial=st.integers(1, 2**53) if serial is None else serial,
        at=times(),
        by=st.sampled_from(["root", "+mirror", "+init"]) | any_text(),
        changes=st.lists(changes(), min_size=1, max_size=3).map(tuple),
    )
