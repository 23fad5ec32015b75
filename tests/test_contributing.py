"""The habits that ``docs/contributing.rst`` describes hold: pinned tools, news fragments, one command for everything."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PREPARED = ("-o", "programs", "-o", ".venv/installed-to-test")
"""Arguments of make: all programs are there."""
LOCK = [line for line in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_the_lock_pins_what_the_project_requires() -> None:
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, LOCK)}
    required = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]
    for requirement in map(Requirement, required):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in requirements-dev.lock: make lock"
        (version,) = (one.version for one in pin.specifier)
        assert requirement.specifier.contains(version), f"{pin} is not {requirement}: make lock"


def test_the_lock_names_no_place_to_download_from() -> None:
    assert [line for line in LOCK if "://" in line or line.startswith("-")] == []


def test_news_fragments_are_of_a_known_kind_and_say_something() -> None:
    kinds = "|".join(kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"])
    for path in (ROOT / PROJECT["tool"]["towncrier"]["directory"]).iterdir():
        assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.rst|\.gitignore", path.name), path
        assert path.name == ".gitignore" or path.read_text(encoding="utf-8").strip().endswith("."), path


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    command = "make test"
    assert f"``{command}`` sets up what it needs and runs every check" in (ROOT / "README.rst").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == f"CI=true exec {command}"


def test_hooks_before_a_commit_and_a_push_are_targets_of_the_makefile() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
    for target in re.findall(r"entry: make (.+)", hooks):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_without_a_browser_the_tests_end_by_saying_what_was_left_out() -> None:
    command = ["make", "-s", *PREPARED, "check-behaviour", "PYTEST=echo", "BROWSING=no-such-browser"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[0] == "--ignore=tests/browser"
    assert told.endswith("Left out: tests/browser, which need no-such-browser. As root: apt-get install no-such-browser\n")


def test_the_tests_of_a_file_run_in_one_process() -> None:
    """They share servers and databases, which each further process would start for itself."""
    files = ("tests/auth/test_auth_secret_file.py", "tests/changelog/test_changelog_places.py")
    arguments = f"PYTEST_ARGUMENTS=-vv {' '.join(files)}"
    command = ["make", "-s", *PREPARED, "check-behaviour", "BROWSING=", "AGAIN=false", arguments]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    runs = re.findall(r"^\[(gw\d)\] .+ PASSED ([\w/.]+)::", told, re.MULTILINE)
    assert len(runs) > 20, told
    assert sorted(file for _process, file in set(runs)) == sorted(files)


@pytest.mark.parametrize(
    ("first", "again", "status"), [("true", "false", 0), ("exit 1", "true", 0), ("exit 1", "false", 2), ("exit 2", "true", 2)]
)
def test_only_failed_tests_are_run_again_and_count_then(first: str, again: str, status: int) -> None:
    command = ["make", "-s", *PREPARED, "check-behaviour", f"PYTEST=sh -c '{first}'", f"AGAIN={again}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended
    assert ("Running what failed again" in ended.stdout) == (first == "exit 1")
    assert ("passed by itself" in ended.stdout) == (first == "exit 1" and status == 0)


def test_the_places_that_are_named_exist() -> None:
    page = (ROOT / "docs" / "contributing.rst").read_text(encoding="utf-8")
    places = re.findall(r"``((?:twistpi|etc|tests|bench|docs)/[\w./-]+)``", page)
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("variable", ["SLOW_TESTS", "CLUSTER_TESTS", "ALL_CLUSTER_TESTS"])
def test_the_makefile_names_tests_that_exist(variable: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    names = re.search(rf"^{variable} := (.+)$", makefile, re.MULTILINE)
    assert names
    assert [name for name in names[1].split() if not (ROOT / "tests" / name.partition("::")[0]).exists()] == []


def test_with_cluster_tests_about_a_directory_are_left_out() -> None:
    file = "tests/push/test_push_releases.py"
    command = [sys.executable, "-m", "pytest", "--quiet", "--collect-only", "--cluster", "-p", "no:cacheprovider", file]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "::test_a_file_that_is_not_on_disk_is_told" not in told
    assert "1 deselected" in told
