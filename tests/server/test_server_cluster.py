"""The storage of a node of a cluster: what it makes, and what it refuses to use as its cache."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import attrs
import psycopg
import pytest

from tests.fakes.postgres import postgres
from twistpi.changelog.disk import Disk
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import read_secret
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, check_usable_by


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a node of a new cluster."""
    cache = str(tmp_path / "cache")
    url = postgres().new_schema()
    return Settings(changelog=url, cache_dir=cache, serverdir=cache, no_root_pypi=True, bcrypt_cost=4, root_passwd="sesame")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nodes_have_one_log_and_one_secret_and_the_first_one_makes_both(settings: Settings, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two", "one"):
        path = str(tmp_path / name)
        storage = Storage.open(attrs.evolve(settings, serverdir=path, cache_dir=path), now, Disk())
        node = storage.serverdir.node
        found.append((node.log_id, read_secret(path, None), storage.changelog.last, storage.log.last))
        assert not node.is_replica
        storage.close()
    assert found[0] == found[1] == found[2]
    assert found[0][2].serial == 1


def test_a_copy_in_which_damage_was_found_is_fetched_again_by_the_next_start(settings: Settings) -> None:
    storage = Storage.open(settings, now, Disk())
    before = contents(Path(storage.serverdir.layout.changelog))
    assert storage.cluster is not None
    storage.cluster.drop_copy(storage.serverdir)
    storage.close()
    assert not Path(storage.serverdir.layout.changelog).exists()
    Storage.open(settings, now, Disk()).close()
    assert contents(Path(storage.serverdir.layout.changelog)) == before


def test_a_cache_is_no_server_directory(settings: Settings, tmp_path: Path) -> None:
    Storage.open(settings, now, Disk()).close()
    before = contents(tmp_path)
    alone = Settings(serverdir=settings.serverdir)
    for attempt in (check_usable_by, lambda settings: Storage.open(settings, now, Disk())):
        with pytest.raises(ServerdirRefused, match="start that with --changelog and --cache-dir"):
            attempt(alone)
    assert contents(tmp_path) == before


def test_a_server_directory_and_the_cache_of_another_cluster_are_no_cache(settings: Settings, tmp_path: Path) -> None:
    Storage.open(Settings(serverdir=settings.serverdir, no_root_pypi=True, bcrypt_cost=4), now, Disk()).close()
    before = contents(tmp_path)
    with pytest.raises(ServerdirRefused, match="the only copy of its log; name another folder as --cache-dir"):
        Storage.open(settings, now, Disk())
    assert contents(tmp_path) == before
    path = str(tmp_path / "other")
    other = attrs.evolve(settings, changelog=postgres().new_schema(), serverdir=path, cache_dir=path)
    Storage.open(other, now, Disk()).close()
    with pytest.raises(ServerdirRefused, match="another cluster; remove it"):
        Storage.open(attrs.evolve(settings, serverdir=path, cache_dir=path), now, Disk())


def test_a_node_needs_a_cache_and_only_makes_a_cluster_if_it_may(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TwistpiError, match="--cache-dir DIRECTORY"):
        check_usable_by(attrs.evolve(settings, cache_dir=None))
    with pytest.raises(TwistpiError, match="there is no log in it"):
        Storage.open(attrs.evolve(settings, require_initialised=True), now, Disk())
    assert contents(tmp_path) == {}
    Storage.open(settings, now, Disk()).close()
    Storage.open(attrs.evolve(settings, require_initialised=True), now, Disk()).close()


def test_a_log_that_vanished_from_the_database_is_not_begun_again(settings: Settings) -> None:
    Storage.open(settings, now, Disk()).close()
    assert settings.changelog is not None
    with psycopg.connect(settings.changelog) as connection:
        connection.execute("TRUNCATE twistpi_lines")
        connection.execute("UPDATE twistpi_head SET serial = 0, chain = %s", ("0" * 64,))
    with pytest.raises(ServerdirRefused, match="its changelog is empty, though it once was not"):
        Storage.open(settings, now, Disk())


def test_the_setting_upstream_is_applied_through_the_log_of_all(settings: Settings, tmp_path: Path) -> None:
    with_mirror = attrs.evolve(settings, no_root_pypi=False, upstream="https://one.example/simple/")
    Storage.open(with_mirror, now, Disk()).close()
    path = str(tmp_path / "two")
    storage = Storage.open(
        attrs.evolve(with_mirror, serverdir=path, cache_dir=path, upstream="https://two.example/simple/"), now, Disk()
    )
    assert storage.log.last.serial == 2
    storage.close()
    storage = Storage.open(attrs.evolve(with_mirror, upstream=None), now, Disk())
    index = storage.view.reader.index("root/pypi")
    assert index is not None
    assert index.config["mirror_url"] == "https://two.example/simple/"
    storage.close()


def test_a_bucket_needs_the_changelog_of_a_cluster(tmp_path: Path) -> None:
    alone = Settings(serverdir=str(tmp_path / "alone"), blobs="s3://packages", no_root_pypi=True, bcrypt_cost=4)
    for attempt in (check_usable_by, lambda settings: Storage.open(settings, now, Disk())):
        with pytest.raises(TwistpiError, match="blobs needs a changelog that is shared"):
            attempt(alone)
    assert contents(tmp_path) == {}
