"""What ``twistpi check-index`` and ``twistpi doctor`` say about a server of ours."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.test_live_commands import twistpi

OFTEN_UNKNOWN = {33, 69, 70, 71, 57, 73, 107}
"""What shows only where there is provenance, a login, or too much to do."""


def outcomes(report: str) -> dict[int, tuple[str, str]]:
    """Number -> outcome and sentence."""
    found: dict[str, Any] = json.loads(report)
    return {one["number"]: (one["outcome"], one["sentence"]) for one in found["requirements"]}


@in_reactor
async def test_our_own_index_does_what_is_asked_of_it(server: LiveServer, upstream: FakeUpstream) -> None:
    old, new = wheel_name("six", "1.0"), wheel_name("six", "2.0")
    upstream.add_project(
        "six", {old: make_wheel("six", "1.0"), new: make_wheel("six", "2.0")},
        metadata={old: metadata("six", "1.0"), new: metadata("six", "2.0")},
        extra={old: {"requires-python": ">=3.8", "yanked": 'a "bad" <one>', "upload-time": "2026-11-01T10:00:00Z"}},
    )  # fmt: skip
    upstream.set_names(["six", "seven"])
    await deferToThread(server.start, "--upstream", upstream.index_url, environment={"TWISTPI_BCRYPT_COST": "4"})
    url = f"{server.url}/root/pypi/+simple/"
    found = outcomes(await deferToThread(twistpi, server, "check-index", "--json", url))
    assert {number: one for number, one in found.items() if one[0] == "fails"} == {}
    assert {number for number, one in found.items() if one[0] == "unknown"} == OFTEN_UNKNOWN
