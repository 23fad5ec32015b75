"""What ``twistpi log`` shows people, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import run, write
from twistpi.model.changes import IndexCreated

ADDRESS = "https://me:secret@upstream.example/simple/"


def test_people_are_shown_no_login_of_an_upstream_and_programs_get_the_entry_as_it_is(made: Path) -> None:
    write(made, IndexCreated("root/other", {"type": "mirror", "mirror_url": ADDRESS}))
    told = run(made, "log").stdout
    assert "secret" not in told
    assert "https://***@upstream.example/simple/" in told
    (change,) = json.loads(run(made, "log", "--json").stdout.splitlines()[-1])["changes"]
    assert change["config"]["mirror_url"] == ADDRESS
