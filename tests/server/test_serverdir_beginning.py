"""What a new server directory holds, and what another upstream changes."""

from __future__ import annotations

import subprocess
import sys

from pip._internal.models.index import PyPI

from twistpi.model.changes import IndexCreated, IndexModified, LogStarted, UserCreated
from twistpi.model.records import Index
from twistpi.server.storage import decide_upstream, first_changes, mirror_config

ELSEWHERE = "https://user:secret@elsewhere.example/simple/"


def test_a_new_log_begins_with_its_id_the_user_root_and_a_mirror_of_the_public_index() -> None:
    changes = first_changes("ab" * 16, upstream=None, with_mirror=True)
    public = f"{PyPI.simple_url}/"
    config = {
        "type": "mirror",
        "volatile": False,
        "title": "PyPI",
        "mirror_url": public,
        "mirror_web_url_fmt": public.replace("/simple/", "/project/{name}/"),
    }
    assert list(changes) == [LogStarted("ab" * 16), UserCreated("root", password_hash=""), IndexCreated("root/pypi", config)]


def test_root_begins_with_the_password_that_is_given() -> None:
    assert first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=False, root_password_hash="$hash")[1] == UserCreated(
        "root", password_hash="$hash"
    )


def test_the_mirror_can_be_of_another_index_or_left_out() -> None:
    created = first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=True)[2]
    config = {"type": "mirror", "volatile": False, "title": "elsewhere.example", "mirror_url": ELSEWHERE}
    assert created == IndexCreated("root/pypi", config)
    assert len(first_changes("ab" * 16, upstream=ELSEWHERE, with_mirror=False)) == 2


def test_the_same_upstream_changes_nothing() -> None:
    assert decide_upstream(Index("root/pypi", mirror_config(ELSEWHERE)), ELSEWHERE) == ()


def test_another_upstream_takes_the_description_along() -> None:
    changes = decide_upstream(Index("root/pypi", mirror_config(None)), ELSEWHERE)
    changed = {"mirror_url": ELSEWHERE, "title": "elsewhere.example"}
    assert changes == (IndexModified("root/pypi", changed, ("mirror_web_url_fmt",)),)


def test_a_description_that_people_gave_stays() -> None:
    index = Index("root/pypi", {"type": "mirror", "mirror_url": "https://a.example/", "title": "Ours", "mirror_web_url_fmt": "x"})
    assert decide_upstream(index, ELSEWHERE) == (IndexModified("root/pypi", {"mirror_url": ELSEWHERE}),)


def test_the_upstream_must_be_given_where_pip_is_not_installed() -> None:
    code = "import sys; sys.modules['pip'] = None; from twistpi.server.storage import mirror_config; mirror_config(None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: The setting upstream is '' (from its default); it must be given (--upstream URL)" in done.stderr
