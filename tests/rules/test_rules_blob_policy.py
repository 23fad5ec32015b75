"""Which files a replica fetches unasked."""

from __future__ import annotations

import pytest

from twistpi.rules.replication import BlobPolicy


def test_all_and_nothing_and_some_indexes() -> None:
    assert BlobPolicy.parse("all").wants("alice/dev")
    nothing = BlobPolicy.parse("on-demand")
    assert (nothing.wants("alice/dev"), nothing.wants_nothing) == (False, True)
    some = BlobPolicy.parse("root/pypi, alice/dev")
    assert [some.wants(index) for index in ("alice/dev", "root/pypi", "alice/prod")] == [True, True, False]
    assert [str(policy) for policy in (BlobPolicy(), nothing, some)] == ["all", "on-demand", "alice/dev,root/pypi"]
    assert not some.wants_nothing


@pytest.mark.parametrize("text", ["", "none", "alice", "alice/dev,", "alice/dev;bob/dev", "a/b/c"])
def test_what_is_no_index_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        BlobPolicy.parse(text)
