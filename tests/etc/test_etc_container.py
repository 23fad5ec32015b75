"""The files that make and run a container image say what the server understands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from twistpi.server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE, (ROOT / "docs/administration.rst").read_text(encoding="utf-8")])
def test_every_variable_is_a_setting(text: str) -> None:
    names = {name.lower() for name in re.findall(r"\bTWISTPI_([A-Z_]+)", text)}
    assert names
    assert names <= set(Settings.__annotations__), names - set(Settings.__annotations__)


def test_the_image_runs_the_server_as_its_own_user_in_the_volume_and_asks_for_its_health() -> None:
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    said = dict(re.findall(r"^([A-Z]+) (.+)$", last_stage, re.MULTILINE))
    assert json.loads(said["ENTRYPOINT"]) == ["twistd", "--nodaemon", "--pidfile=", "twistpi"]
    assert said["USER"] == "twistpi"
    assert said["VOLUME"] == "/data"
    assert "TWISTPI_SERVERDIR=/data" in last_stage
    assert said["EXPOSE"] == "3141"
    assert "http://127.0.0.1:3141/+health" in last_stage


def test_the_port_is_published_on_the_loopback_address_alone() -> None:
    assert re.findall(r"^      - \"(.+)\"$", COMPOSE, re.MULTILINE) == ["127.0.0.1:3141:3141"]
