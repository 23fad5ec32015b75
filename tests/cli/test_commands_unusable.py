"""Every command says in one sentence why a server directory cannot be used, without a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cli.deprived import COMMANDS, run_all, run_deprived
from twistpi.cli.commands.help import every_command
from twistpi.cli.main import main


def check(found: Mapping[str, tuple[int, str]], *told: str, fine: tuple[str, ...] = ()) -> None:
    """Check that each command but those of ``fine`` failed with one of the sentences ``told``."""
    for name, (status, output) in found.items():
        assert "Traceback" not in output, (name, output)
        if name not in fine:
            assert status == 1, (name, output)
            assert len(output.strip().splitlines()) == 1, (name, output)
            assert any(sentence in output for sentence in told), (name, output)


def test_every_command_on_a_directory_is_tried() -> None:
    others = {"serve", "gen-config", "settings", "completion", "check-index", "restore", "sync", "move"} | {
        f"bundle {name}" for name in ("create", "apply", "state")
    }
    assert {path for path, _ in every_command(main)} == set(COMMANDS) | others


def lock_everything(path: Path) -> None:
    path.chmod(0o700 if path.stat().st_uid == 0 else 0)


def lock_the_private(path: Path) -> None:
    for name in ("secret", "changelog", "view.sqlite"):
        (path / name).chmod(0)
    path.chmod(0o755)


def let_read_only(path: Path) -> None:
    for one in path.rglob("*"):
        one.chmod(0o755 if one.is_dir() else 0o644)
    (path / "secret").chmod(0o600)
    path.chmod(0o555)


@pytest.mark.parametrize(
    ("deprive", "fine"),
    [(lock_everything, ()), (lock_the_private, ()), (let_read_only, ("init", "log", "check", "compact", "resync"))],
)
def test_a_user_without_access_is_told_so(made: Path, deprive: Callable[[Path], None], fine: tuple[str, ...]) -> None:
    deprive(made)
    try:
        check(run_deprived(made), "Permission denied", fine=fine)
    finally:
        made.chmod(0o700)
        for one in made.iterdir():
            one.chmod(0o700)


def remove(path: Path) -> None:
    shutil.rmtree(path)


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def put_something_else(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()
    (path / "notes.txt").write_text("x")


def put_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


def spoil_node(path: Path) -> None:
    (path / "node.json").write_text("{")


def spoil_log(path: Path) -> None:
    segment = next((path / "changelog").iterdir())
    content = segment.read_bytes()
    segment.write_bytes(content[:60] + b"XX" + content[62:])
    (path / "view.sqlite").unlink()


def remove_log(path: Path) -> None:
    shutil.rmtree(path / "changelog")
    (path / "view.sqlite").unlink()


@pytest.mark.parametrize(
    ("spoil", "told", "fine"),
    [
        (remove, ("it is missing or empty", "secret cannot be used: No such file"), ("init", "import")),
        (empty, ("it is missing or empty", "secret cannot be used: No such file"), ("init", "import")),
        (put_something_else, ("it is not twistpi's", "secret cannot be used: No such file"), ()),
        (put_a_file, ("it is a file, not a directory", "secret cannot be used: Not a directory"), ()),
        (spoil_node, ("its node.json is damaged",), ()),
        (
            spoil_log,
            ("is damaged", "already", "its view cannot be read"),
            ("check", "log", "compact", "status", "doctor", "resync"),
        ),
        (
            remove_log,
            ("its changelog is empty", "already", "its view cannot be read"),
            ("check", "log", "status", "doctor", "resync"),
        ),
    ],
)
def test_a_directory_that_is_none_or_damaged_is_refused(
    made: Path, spoil: Callable[[Path], None], told: tuple[str, ...], fine: tuple[str, ...]
) -> None:
    check(run_all(made, lambda: spoil(made)), *told, fine=fine)


def spoil_view(path: Path) -> None:
    (path / "view.sqlite").write_bytes(b"garbage" * 1000)


def test_a_damaged_view_is_made_anew_or_told_of(made: Path) -> None:
    found = run_all(made, lambda: spoil_view(made))
    assert {name for name, (status, _) in found.items() if status == 0} > {
        "passwd",
        "token create",
        "token list",
        "explain",
        "gc",
    }
    check({name: found[name] for name in ("doctor", "status")}, "its view cannot be read")
    assert not any("Traceback" in output for _, output in found.values())
