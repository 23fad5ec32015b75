"""What files of requirements and locks want, and what installers take of it."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.errors import BadRequest
from twistpi.model.records import Link
from twistpi.rules.install_targets import Target, files_to_install, targets_of
from twistpi.rules.lock_files import read_wanted

A, B = "a" * 64, "b" * 64

UV = f"""
version = 1
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0.1"
source = {{ virtual = "." }}

[[package]]
name = "Hello"
version = "1.0"
source = {{ registry = "http://localhost:3141/root/pypi/+simple/" }}
sdist = {{ url = "http://localhost:3141/root/pypi/+f/aaa/hello-1.0.tar.gz", hash = "sha256:{A}", size = 3 }}
wheels = [
    {{ url = "http://localhost:3141/root/pypi/+f/bbb/hello-1.0-py3-none-any.whl#x", hash = "sha256:{B}" }},
]

[[package]]
name = "tool"
version = "2"
source = {{ git = "https://git.example/tool?rev=1#2" }}
"""
POETRY = f"""
[[package]]
name = "hello"
version = "1.0"
files = [
    {{file = "hello-1.0.tar.gz", hash = "sha256:{A}"}},
    {{file = "hello-1.0-py3-none-any.whl", hash = "sha256:{B}"}},
]

[package.source]
type = "legacy"
url = "http://localhost:3141/root/pypi/+simple"

[[package]]
name = "tool"
version = "2"
files = []

[package.source]
type = "git"
url = "https://git.example/tool"
"""
PDM = f"""
[[package]]
name = "hello"
version = "1.0"
groups = ["default"]
files = [
    {{file = "hello-1.0.tar.gz", hash = "sha256:{A}"}},
    {{url = "http://localhost:3141/x/hello-1.0-py3-none-any.whl", hash = "sha256:{B}"}},
]
"""
PYLOCK = f"""
lock-version = "1.0"
created-by = "pip"

[[packages]]
name = "hello"
version = "1.0"
[packages.sdist]
name = "hello-1.0.tar.gz"
url = "http://localhost:3141/hello-1.0.tar.gz"
hashes = {{sha256 = "{A}"}}
[[packages.wheels]]
name = "hello-1.0-py3-none-any.whl"
url = "http://localhost:3141/odd"
hashes = {{sha256 = "{B}"}}

[[packages]]
name = "app"
[packages.directory]
path = "."
"""


@pytest.mark.parametrize(
    ("name", "text"), [("uv.lock", UV), ("poetry.lock", POETRY), ("pdm.lock", PDM), ("pylock.dev.toml", PYLOCK)]
)
def test_a_lock_names_versions_files_and_digests_of_what_is_from_an_index(name: str, text: str) -> None:
    (found,) = read_wanted(name, text)
    assert (found.project, str(found.versions), set(found.sha256)) == ("hello", "==1.0", {A, B})
    assert found.filenames == {"hello-1.0.tar.gz", "hello-1.0-py3-none-any.whl"}


REQUIREMENTS = f"""
# all that we use
-i http://localhost:3141/root/pypi/+simple/
--only-binary :all:
Hello_World==1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}    # two files
django>=4,<5 ; python_version < "3.12"
plain
-e ./here
tool @ https://git.example/tool.zip
"""


def test_requirements_are_read_with_their_digests_and_markers() -> None:
    found = read_wanted("requirements.txt", REQUIREMENTS)
    assert [(one.project, str(one.versions)) for one in found] == [("hello-world", "==1.0"), ("django", "<5,>=4"), ("plain", "")]
    assert found[0].sha256 == {A, B}
    marker = found[1].marker
    assert marker is not None
    assert [marker.evaluate(dict(target.environment)) for target in targets_of(["3.11", "3.12"], ["linux-x86_64"])] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("uv.lock", "= x", "no TOML"),
        ("pyproject.toml", "[project]\nname = 'x'", "no list of packages"),
        ("uv.lock", "package = 3", "no list of packages"),
        ("uv.lock", "[[package]]\nname = 3", "whose name is none"),
        ("uv.lock", "[[package]]\nname = 'a'\nversion = 'x y'", "version that is none"),
        ("requirements.txt", "a b", "no requirement"),
        ("requirements.txt", "-r other.txt", "includes another file"),
    ],
)
def test_what_cannot_be_read_is_told(name: str, text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_wanted(name, text)


LINUX, OLD = Target("3.12", "linux-x86_64"), Target("3.9", "linux-x86_64")
MUSL, MAC, WINDOWS = Target("3.12", "musl-aarch64"), Target("3.12", "macos-arm64"), Target("3.12", "windows-x86_64")
FILES = (
    "a-1.tar.gz",
    "a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "a-1-cp312-cp312-musllinux_1_2_aarch64.whl",
    "a-1-cp312-cp312-macosx_11_0_arm64.whl",
    "a-1-cp312-abi3-win_amd64.whl",
    "a-1-cp311-cp311-win_amd64.whl",
    "a-1.exe",
)


def taken(targets: list[Target], *filenames: str, **more: Any) -> list[str]:
    links = [Link(filename, f"https://files.example/{filename}", **more) for filename in filenames or FILES]
    return [link.filename for link in files_to_install(links, targets)]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (LINUX, "a-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        (OLD, "a-1.tar.gz"),
        (MUSL, "a-1-cp312-cp312-musllinux_1_2_aarch64.whl"),
        (MAC, "a-1-cp312-cp312-macosx_11_0_arm64.whl"),
        (WINDOWS, "a-1-cp312-abi3-win_amd64.whl"),
    ],
)
def test_for_each_target_the_wheel_is_taken_that_an_installer_takes(target: Target, expected: str) -> None:
    assert taken([target]) == [expected]


def test_one_wheel_may_serve_all_and_files_for_other_pythons_serve_none() -> None:
    assert taken([LINUX, MAC, OLD], "a-1.tar.gz", "a-1-py3-none-any.whl") == ["a-1-py3-none-any.whl"]
    assert taken([OLD], "a-1-py3-none-any.whl", requires_python=">=3.10") == []


@pytest.mark.parametrize(
    ("python", "platform"), [("3", "linux-x86_64"), ("2.7", "linux-x86_64"), ("3.12", "linux"), ("3.12", "windows-sparc")]
)
def test_targets_that_are_none_are_refused_by_name(python: str, platform: str) -> None:
    with pytest.raises(BadRequest, match=r"known here|version of Python"):
        Target(python, platform)
