"""What a worker reports to the first process, and what that does with it."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent

from twistpi.server.listening import InheritedSocket
from twistpi.server.settings import Settings
from twistpi.web.components import NodeFacts
from twistpi.web.traffic import Traffic
from twistpi.workers.control_channel import LogRelay, RelayedOutput, WorkerConfig, encode_config, log_relayed, read_config


class Dripping(io.BytesIO):
    """A pipe in which little is at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 7))


def busy() -> Traffic:
    traffic = Traffic(ready_pages=3, unchanged_files=2)
    traffic.count(b"GET", b"/a/b/+simple/c/", 404, 0.3, 17)
    traffic.count(b"POST", b"/+login", 200, 40.0, 5)
    traffic.pages["miss"] += 1
    return traffic


def facts(traffic: Traffic) -> Any:
    return list(traffic.answered), traffic.durations, traffic.pages_by_origin, traffic.sent


def test_what_a_worker_answered_counts_as_if_the_first_process_had() -> None:
    worker, first, expected = busy(), busy(), busy()
    told = orjson.loads(orjson.dumps(worker.take()))
    first.add(told)
    expected.count(b"GET", b"/a/b/+simple/c/", 404, 0.3, 17)
    expected.count(b"POST", b"/+login", 200, 40.0, 5)
    expected.pages["miss"] += 1
    expected.ready_pages += 3
    expected.unchanged_files += 2
    assert facts(first) == facts(expected)
    assert facts(worker) == facts(Traffic()), "it begins anew"
    assert facts(busy()) != facts(expected)


def test_events_of_a_worker_are_logged_again_with_its_number() -> None:
    lines: list[bytes] = []
    relay = LogRelay(lines.append)
    log = Logger("twistpi.somewhere", observer=relay)
    log.warn("It is {what}.", what="late")
    try:
        raise ValueError("broken")
    except ValueError:
        log.failure("That failed")
    with capturedLogs() as events:
        assert [log_relayed(2, orjson.loads(line)) for line in lines] == [True, True]
    assert [event["log_level"] for event in events] == [LogLevel.warn, LogLevel.critical]
    assert [event["log_namespace"] for event in events] == ["twistpi.somewhere"] * 2
    assert formatEvent(events[0]) == "worker 2: It is late."
    assert "ValueError: broken" in formatEvent(events[1])
    assert not log_relayed(2, {"ready": 1})


def test_text_for_the_standard_output_goes_to_the_first_process() -> None:
    lines: list[bytes] = []
    output = RelayedOutput()
    output.send = lines.append
    assert output.write("a line\n") == 7
    assert orjson.loads(lines[0]) == {"access": "a line\n"}


def test_a_configuration_arrives_as_it_was_sent() -> None:
    config = WorkerConfig(
        2, 4, Settings(root_passwd="secret"), NodeFacts("1" * 32), "/run/x.sock", 3, (InheritedSocket("tcp:0", 4, 2),), False
    )
    assert read_config(io.BytesIO(encode_config(config))) == config
    with pytest.raises(EOFError):
        read_config(io.BytesIO(encode_config(config)[:-1]))
    with pytest.raises(EOFError):
        read_config(io.BytesIO(b""))
    assert read_config(Dripping(encode_config(config))) == config
