from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.simple.rendered import LINK, OTHER, SHA256, WHEEL, Anchors, as_html, as_json, known, page, project
from twistpi.model.records import PageHeader
from twistpi.simple.render import merge, offered_metadata

# What is offered ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "more", "online", "offline"),
    [
        (None, {}, True, None),
        (False, {}, True, None),
        (True, {}, True, None),
        ({"sha256": OTHER}, {}, {"sha256": OTHER}, None),
        ({"sha256": OTHER}, {"metadata_missing": True}, None, None),
        ({"sha256": OTHER}, {"metadata_sha256": SHA256}, {"sha256": SHA256}, {"sha256": SHA256}),
        ({"sha256": OTHER, "md5": "0"}, {"metadata_sha256": OTHER}, {"sha256": OTHER, "md5": "0"}, {"sha256": OTHER, "md5": "0"}),
        ({"sha256": OTHER}, {"sha256": SHA256, "size": 7}, {"sha256": OTHER}, True),
        (None, {"sha256": SHA256, "size": 7, "vanished": True}, True, True),
        (None, {"vanished": True}, None, None),
    ],
)
def test_R23_metadata_is_promised_where_it_can_be_served(claim: Any, more: Any, online: object, offline: object) -> None:
    file = known(attrs.evolve(LINK, core_metadata=claim), **more)
    assert offered_metadata(file) == online
    assert offered_metadata(file, offline=True) == offline


def test_source_distributions_have_the_metadata_their_upstream_promises() -> None:
    link = attrs.evolve(LINK, filename="demo-1.0.tar.gz")
    assert offered_metadata(known(link)) is None
    assert offered_metadata(known(attrs.evolve(link, core_metadata=False))) is None
    assert offered_metadata(known(attrs.evolve(link, core_metadata={"sha256": OTHER}))) == {"sha256": OTHER}


def test_offline_only_what_is_here_is_listed() -> None:
    here = known(sha256=SHA256, size=7, metadata_sha256=OTHER)
    merged = page(here, known(attrs.evolve(LINK, filename="demo-2.0.zip", size=None)))
    assert [entry["filename"] for entry in as_json(merged, offline=True)["files"]] == [WHEEL]
    assert as_json(merged, offline=True)["meta"]["api-version"] == "1.4"
    assert len(Anchors(as_html(merged, offline=True)).found) == 1


# Merging -----------------------------------------------------------------------------------------------------------


def test_what_an_upstream_lists_no_more_stays_while_it_is_here() -> None:
    gone = known(attrs.evolve(LINK, filename="demo-2.0.zip"), vanished=True)
    merged = page(known(), gone, attrs.evolve(gone, link=attrs.evolve(LINK, filename="demo-3.0.zip"), sha256=SHA256, size=7))
    assert [entry["filename"] for entry in as_json(merged)["files"]] == [WHEEL, "demo-3.0.zip"]
    assert [entry.get("_vanished") for entry in as_json(merged)["files"]] == [None, True]
    assert 'data-vanished="true">demo-3.0.zip' in as_html(merged)


def test_of_a_vanished_project_stays_what_is_here_and_says_so() -> None:
    merged = page(known(), known(attrs.evolve(LINK, filename="demo-2.0.zip"), sha256=SHA256, size=7), vanished=True)
    assert [(entry["filename"], entry["_vanished"]) for entry in as_json(merged)["files"]] == [("demo-2.0.zip", True)]
    assert "does not have this project any more" in as_html(merged)


def test_the_nearest_file_of_a_name_wins() -> None:
    mine = project(known(attrs.evolve(LINK, size=1)), index="alice/dev", versions=("1.0",))
    theirs = project(
        known(),
        known(attrs.evolve(LINK, filename="demo-2.0.zip")),
        versions=("2.0", "1.0"),
        header=PageHeader("archived", last_serial=5),
    )
    merged = merge("alice/dev", "demo", [mine, theirs])
    assert [(index, file.link.filename, file.link.size) for index, file in merged.files] == [
        ("alice/dev", WHEEL, 1),
        ("root/pypi", "demo-2.0.zip", 7),
    ]
    assert merged.versions == ("1.0", "2.0")
    assert merged.header == PageHeader("archived")
    others = project(known(), versions=("2.0", "1.0.0", "v1"))
    assert merge("alice/dev", "demo", [mine, others]).versions == ("1.0", "2.0"), "each version in the nearest spelling"


def test_the_upstreams_serial_is_shown_by_the_mirror_itself_only() -> None:
    mirrored = project(header=PageHeader(last_serial=5))
    assert merge("root/pypi", "demo", [mirrored]).header.last_serial == 5
    assert merge("alice/dev", "demo", [mirrored]).header.last_serial is None


def test_a_quarantined_source_does_not_silence_another() -> None:
    mine, theirs = project(known(), index="alice/dev"), project(known(), header=PageHeader("quarantined"))
    assert merge("alice/dev", "demo", [mine, theirs]).header.status is None
    assert [index for index, _file in merge("alice/dev", "demo", [mine, theirs]).files] == ["alice/dev"]
    assert merge("alice/dev", "demo", [theirs, theirs]).header.status == "quarantined"


@pytest.mark.parametrize(
    ("filename", "versions"),
    [
        ("demo-1.0.tar.gz", ("1.0",)),
        ("Demo-1.0.tar.gz", ("1.0",)),
        ("demo-1.0.zip", ("1.0",)),
        ("demo-1.0-py3-none-any.whl", ("1.0",)),
        ("demo-extra-1.0.tar.gz", ("1.0", "extra-1.0")),
        ("demo-1.0.post1.tar.gz", ("1.0", "1.0.post1")),
        ("demo-1.0-1.tar.gz", ("1.0", "1.0-1")),
        ("demo-2.0-py3-none-any.whl", ("1.0", "2.0")),
        ("other-1.0.tar.gz", ("1.0",)),
        ("other-2.0.tar.gz", ("1.0",)),
        ("demo-1.0-1.noarch.rpm", ("1.0",)),
        ("demo_1.0-1_all.deb", ("1.0",)),
        ("demo-1.0.linux-x86_64.tar.gz", ("1.0",)),
        ("demo-1.0-2.fc40.x86_64.rpm", ("1.0",)),
    ],
)
def test_the_version_of_every_file_is_named_once(filename: str, versions: tuple[str, ...]) -> None:
    upstream = project(known(attrs.evolve(LINK, filename=filename)), versions=("1.0",))
    assert merge("root/pypi", "demo", [upstream]).versions == versions
