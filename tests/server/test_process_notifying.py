"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from twistpi.server.process import Notifier


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def _heard(ear: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(ear.recv(1000).decode())
        except BlockingIOError:
            return words


def _notifier(clock: Clock, **environment: str) -> Notifier:
    return Notifier.from_environment(environment, clock, os.getpid(), lambda: 12.5)


def test_ready_reloading_and_stopping_are_told(ear: socket.socket, tmp_path: Path) -> None:
    notifier = _notifier(Clock(), NOTIFY_SOCKET=str(tmp_path / "notify"))
    notifier.ready()
    assert _heard(ear) == [f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Answering."]
    notifier.reloading()
    assert _heard(ear) == ["RELOADING=1\nMONOTONIC_USEC=12500000"]
    notifier.stopping()
    assert _heard(ear)[0].startswith("STOPPING=1\n")


def test_a_watched_process_says_twice_in_its_time_that_it_is_alive(ear: socket.socket, tmp_path: Path) -> None:
    clock = Clock()
    address = str(tmp_path / "notify")
    notifier = _notifier(clock, NOTIFY_SOCKET=address, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    notifier.ready()
    assert _heard(ear)[1:] == ["WATCHDOG=1"]
    clock.advance(14.9)
    assert _heard(ear) == []
    clock.advance(0.2)
    assert _heard(ear) == ["WATCHDOG=1"]
    notifier.stopped()
    clock.advance(60)
    assert _heard(ear) == []


@pytest.mark.parametrize(
    "watch", [{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {}]
)
def test_who_is_not_watched_says_nothing_more(ear: socket.socket, tmp_path: Path, watch: dict[str, str]) -> None:
    clock = Clock()
    _notifier(clock, NOTIFY_SOCKET=str(tmp_path / "notify"), **watch).ready()
    clock.advance(1000)
    assert len(_heard(ear)) == 1


def test_nobody_listening_is_no_trouble(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nowhere")}, {"NOTIFY_SOCKET": "@twistpi-nobody"}):
        notifier = _notifier(Clock(), **environment)
        notifier.ready()
        notifier.stopping()
