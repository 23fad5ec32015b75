"""Installers, by their User-Agent."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.statistics.agents import Agent, parse_agent

PIP = (
    'pip/24.0 {"ci":null,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.12.1"},'
    '"installer":{"name":"pip","version":"24.0"},"python":"3.12.1","system":{"name":"Linux"}}'
)
UV = 'uv/0.8.17 {"installer":{"name":"uv","version":"0.8.17","subcommand":["pip","install"]},"python":"3.13.0rc2","ci":true}'
_NAME = re.compile(r"(?:[a-z0-9][a-z0-9._-]{0,31})?")
_VERSION = re.compile(r"(?:\d{1,4}(?:\.\d{1,4})?)?")


@pytest.mark.parametrize(
    ("user_agent", "agent"),
    [
        (PIP, ("pip", "24.0", "3.12")),
        (UV, ("uv", "0.8", "3.13")),
        ("poetry/1.8.3 CPython/3.11.2 Linux/6.1.0", ("poetry", "1.8", "3.11")),
        ("pdm/2.15.4 CPython/3.12.3 Linux/6.8", ("pdm", "2.15", "3.12")),
        ("setuptools/69.0.3 Python-urllib/3.9", ("setuptools", "69.0", "3.9")),
        ("python-requests/2.31.0", ("python-requests", "2.31", "")),
        ("Python-urllib/3.11", ("python-urllib", "3.11", "3.11")),
        ("twine/5.1.0 requests/2.32.3 CPython/3.12.4", ("twine", "5.1", "3.12")),
        ("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", ("browser", "", "")),
        ("curl/8.5.0", ("curl", "8.5", "")),
        ("Wget", ("wget", "", "")),
        ("pip/24.0 {broken", ("pip", "24.0", "")),
        ('pip/24.0 {"python":["3.12"]} CPython/3.8', ("pip", "24.0", "3.8")),
        ("", ("", "", "")),
        (None, ("", "", "")),
        ("<script>/1.0", ("", "", "")),
    ],
)
def test_the_installer_and_its_python_are_read(user_agent: str | None, agent: tuple[str, str, str]) -> None:
    assert parse_agent(user_agent) == Agent(*agent)


def _json() -> st.SearchStrategy[object]:
    leaf = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300)
    return st.recursive(
        leaf, lambda part: st.lists(part, max_size=4) | st.dictionaries(st.sampled_from(["python", "installer"]), part)
    )


@given(st.text(max_size=6000) | st.builds(lambda told: f"pip/1 {orjson.dumps(told).decode()}", _json()))
def test_whatever_is_sent_gives_something_short_and_harmless(user_agent: str) -> None:
    agent = parse_agent(user_agent)
    assert _NAME.fullmatch(agent.installer)
    assert _VERSION.fullmatch(agent.version)
    assert _VERSION.fullmatch(agent.python)


def test_json_that_is_nested_without_end_is_no_json() -> None:
    assert parse_agent("pip/24.0 " + '{"a":' * 700) == Agent("pip", "24.0", "")
