"""What ``twistpi gen-config`` writes: every name as the program that reads it takes it, and nothing over what is there."""

from __future__ import annotations

import configparser
import getpass
import os
import plistlib
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.etc.places import ODD, deployment, written
from twistpi.cli.genconfig import FILES, FILTERS, check_path, closed_to_others, find_twistd, render, toml, write
from twistpi.cli.main import main
from twistpi.server.setting_sources import load_settings
from twistpi.server.settings import TABLE, Settings

ROOT = Path(__file__).parent.parent.parent
MEANINGFUL = set("\"'`\\$;#{}<>,\n\r\t\0")
"""Characters that not every program can be told as they are."""
COMMENT = re.compile(r"^\s*[#;].*$|^\s*<!--.*?-->", re.MULTILINE)


def command_of(place: Any) -> list[str]:
    return [place.twistd, "--nodaemon", "--pidfile=", "twistpi", "--config", place.path("twistpi.toml")]


def test_every_template_is_rendered_and_told_of() -> None:
    assert {path.name for path in (ROOT / "etc").iterdir() if path.is_file()} == set(FILES)


def test_supervisor_runs_the_program_at_any_path(tmp_path: Path) -> None:
    place = deployment(tmp_path, python=sys.executable)
    parser = configparser.ConfigParser(inline_comment_prefixes=(";", "#"), interpolation=None)
    parser.read(written(place) / "supervisor-twistpi.conf", encoding="utf-8")
    program = parser["program:twistpi"]
    assert shlex.split(program["command"] % {}) == command_of(place)
    assert program["stdout_logfile"] % {} % {} == place.path("twistpi.log"), "supervisor does it twice"


def test_launchd_runs_the_program_at_any_path(tmp_path: Path) -> None:
    place = deployment(tmp_path, python=sys.executable)
    found = plistlib.loads((written(place) / "twistpi.plist").read_bytes())
    assert found["ProgramArguments"] == command_of(place)
    assert (found["Label"], found["KeepAlive"], found["RunAtLoad"]) == ("twistpi", True, True)
    assert found["UserName"] == place.user


@pytest.mark.parametrize(
    ("host", "stream"), [("127.0.0.1", "127.0.0.1:4040"), ("::", "[::]:4040"), ("localhost", "127.0.0.1:4040")]
)
def test_systemd_finds_nothing_wrong(tmp_path: Path, host: str, stream: str) -> None:
    place = deployment(tmp_path, python=sys.executable, host=host)
    folder = written(place)
    units = [str(folder / name) for name in FILES if name.endswith((".service", ".socket", ".timer"))]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert f"\nListenStream={stream}\n" in (folder / "twistpi.socket").read_text()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("supervisor-twistpi.conf", "user=me"),
        ("supervisord.conf", "user=me"),
        ("twistpi.service", "User=me"),
        ("twistpi-backup.service", "User=me"),
        ("twistpi.plist", "    <string>me</string>"),
        ("uwsgi-twistpi.ini", "uid = me"),
    ],
)
def test_the_user_of_the_server_is_named_wherever_root_starts_it(tmp_path: Path, name: str, line: str) -> None:
    assert f"\n{line}\n" in render(deployment(tmp_path, python=sys.executable, user="me"))[name]


def test_everybody_waits_longer_than_it_takes_to_stop(tmp_path: Path) -> None:
    texts = render(deployment(tmp_path, python=sys.executable, stop_timeout=99.5))
    assert "\nTimeoutStopSec=150\n" in texts["twistpi.service"]
    assert "\nstopwaitsecs=150\n" in texts["supervisor-twistpi.conf"]
    assert plistlib.loads(texts["twistpi.plist"].encode())["ExitTimeOut"] == 150


def test_systemd_lets_it_do_little(tmp_path: Path) -> None:
    unit = written(deployment(tmp_path, python=sys.executable)) / "twistpi.service"
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout  # the threshold is ten times what is shown: 0 is safest, 100 not safe at all


@pytest.mark.parametrize(
    ("serverdir", "lines"),
    [
        ("/var/lib/twistpi", ["StateDirectory=twistpi", "ProtectHome=yes"]),
        ("/srv/my index/50%", ['ReadWritePaths="/srv/my index/50%%"', "ProtectHome=yes"]),
        ("/home/me/data", ["ReadWritePaths=/home/me/data", "ProtectHome=read-only"]),
        ("/var/tmp/data", ["ReadWritePaths=/var/tmp/data", "PrivateTmp=no"]),
    ],
)
def test_systemd_lets_it_write_its_directory(serverdir: str, lines: list[str]) -> None:
    place = deployment(Path("/etc"), python=sys.executable, serverdir=serverdir)
    object.__setattr__(place, "twistd", "/opt/twistpi/bin/twistd")
    unit = render(place)["twistpi.service"].splitlines()
    assert [line for line in lines if line not in unit] == []


def test_systemd_lets_it_read_a_python_in_a_home(tmp_path: Path) -> None:
    for name, target in (("away", "/home/me/python/bin/python3"), ("here", "/usr/bin/python3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3").symlink_to(target)
        (tmp_path / name / "twistd").touch(mode=0o755)
    units = {
        name: render(deployment(Path("/etc"), python=str(tmp_path / name / "python"), serverdir="/srv/x"))["twistpi.service"]
        for name in ("away", "here")
    }
    assert "\nProtectHome=read-only\n" in units["away"]
    assert "\nProtectHome=yes\n" in units["here"]


def test_crontab_has_the_form_that_cron_takes(tmp_path: Path) -> None:
    lines = COMMENT.sub("", (written(deployment(tmp_path, python=sys.executable)) / "crontab").read_text()).split("\n")
    (line,) = [line for line in lines if line]
    when, _, command = line.partition(" ")
    assert when == "@reboot"
    assert command.startswith("rm -f ")
    assert not re.search(r"(?<!\\)%", command)


def test_the_backup_is_one_command_of_the_same_installation_and_settings(tmp_path: Path) -> None:
    place = deployment(tmp_path, python=sys.executable)
    texts, program = render(place), Path(place.twistd).with_name("twistpi")
    command = [str(program), "backup", "--config", place.path("twistpi.toml"), "--keep", "30d", "/var/backups/twistpi"]
    assert f"\nExecStart={FILTERS['systemd_command'](command)}\n" in texts["twistpi-backup.service"]
    assert f"\n# 17 * * * * {FILTERS['cron'](command)} > /dev/null\n" in texts["crontab"]


@pytest.mark.parametrize("name", [name for name in FILES if name != "twistpi.toml"])
@pytest.mark.parametrize("fields", [{}, {"host": "::1"}, {"host": "0.0.0.0"}, {"prefix": "pkgs/all.of-them/"}])
def test_every_file_says_where_the_server_is(tmp_path: Path, name: str, fields: dict[str, str]) -> None:
    text = render(deployment(tmp_path, python=sys.executable, **fields))[name]
    assert "{{" not in text
    assert "{%" not in text
    assert "None" not in text
    if name.startswith(("nginx", "uwsgi")):
        assert {"::1": "[::1]:4040"}.get(fields.get("host", ""), "127.0.0.1:4040") in text
    if name.startswith("nginx"):
        assert f"location {'/pkgs/all.of-them' if 'prefix' in fields else ''}/ {{" in text


# Settings ----------------------------------------------------------------------------------------------------------


def test_the_file_of_settings_means_what_was_found(tmp_path: Path) -> None:
    upstream, quotes = "https://upstream.example/simple/", 'a "quoted" \\ name'
    place = deployment(
        tmp_path, python=sys.executable, host="::1", upstream=upstream, offline=True, trusted_proxy=(ip_network("10.0.0.0/8"),),
        request_timeout=2.5, restrict_modify=quotes, max_upload_size=5 << 20, root_passwd="very secret",
    )  # fmt: skip
    file = written(place) / "twistpi.toml"
    assert "very secret" not in file.read_text()
    content = tomllib.loads(file.read_text())
    assert content == {
        "serverdir": place.settings.serverdir, "require-initialised": True, "host": "::1", "port": 4040,
        "upstream": upstream, "offline": True,
        "trusted-proxy": ["10.0.0.0/8"], "request-timeout": 2.5, "restrict-modify": quotes, "max-upload-size": 5 << 20,
    }  # fmt: skip


def test_the_file_of_settings_is_one_that_a_server_reads_and_trusts_a_proxy_on_this_machine(tmp_path: Path) -> None:
    file = written(deployment(tmp_path, python=sys.executable)) / "twistpi.toml"
    settings = load_settings({"config": [str(file)]}, {})
    proxies = (ip_network("127.0.0.1"), ip_network("::1"))
    assert settings == Settings(
        serverdir=str(tmp_path / ODD / "data"), require_initialised=True, port=4040, trusted_proxy=proxies
    )


def test_the_file_of_settings_has_every_setting_and_its_default_behind_a_hash(tmp_path: Path) -> None:
    text = (written(deployment(tmp_path, python=sys.executable)) / "twistpi.toml").read_text()
    content = tomllib.loads(re.sub(r"^# (?=[a-z0-9-]+ = )", "", text, flags=re.MULTILINE))
    assert list(content) == [setting.name for setting in TABLE]
    found = ("port", "require-initialised")
    simple = [setting for setting in TABLE if isinstance(setting.default, int | float) and setting.name not in found]
    assert {setting.name: content[setting.name] for setting in simple} == {setting.name: setting.default for setting in simple}


def test_an_upstreams_password_is_not_written_down(tmp_path: Path) -> None:
    upstreams = {"upstream": "https://me:secret@upstream.example/", "primary_url": "https://me:secret@first.example"}
    text = render(deployment(tmp_path, python=sys.executable, **upstreams))["twistpi.toml"]
    assert "secret@" not in text
    assert '\n# upstream = "URL"\n' in text
    assert '\n# primary-url = "URL"\n' in text


def test_the_file_of_settings_says_in_sentences_what_may_be(tmp_path: Path) -> None:
    text = render(deployment(tmp_path, python=sys.executable))["twistpi.toml"]
    assert (
        "\n# The TCP port to listen on; 0 chooses a free one and logs it. It must be a whole number from 0 to 65535. Default: "
        in text
    )


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])), number=st.integers(-(2**40), 2**40), flag=st.booleans())
def test_values_are_read_as_they_were_written(text: str, number: int, flag: bool) -> None:
    values = {"text": text, "number": number, "flag": flag, "list": [text, text]}
    assert tomllib.loads("\n".join(f"{name} = {toml(value)}" for name, value in values.items())) == values


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"serverdir": '/srv/"x"'},
        {"serverdir": "/srv/x;y"},
        {"serverdir": "/srv/$HOME"},
        {"serverdir": "/srv/a\nb"},
        {"hostname": "pypi.example; evil"},
        {"hostname": ""},
        {"prefix": "/a b"},
        {"prefix": "/../x"},
        {"prefix": "/a//b"},
        {"user": "me me"},
        {"user": ""},
        {"port": 0},
        {"host": "pypi.example"},
    ],
)
def test_what_some_file_could_not_hold_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(click.ClickException, match="No configuration can be written"):
        deployment(tmp_path, python=sys.executable, **fields)


@given(st.text(min_size=1))
def test_no_path_with_a_meaning_elsewhere_gets_through(text: str) -> None:
    if set(text) & MEANINGFUL or not text.isprintable():
        with pytest.raises(click.ClickException, match="have a special meaning"):
            check_path("the path", text)
    else:
        assert check_path("the path", text) == text


def test_without_twistd_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="no twistd"):
        find_twistd(str(tmp_path / "python"), str(tmp_path))


def test_a_folder_that_keeps_others_out_is_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in (*tmp_path.parents[:3], tmp_path):
        assert folder.exists()
    (tmp_path / "a").chmod(0o750)
    found = closed_to_others(str(tmp_path / "a" / "b"))
    assert found is not None
    assert str(tmp_path / "a").startswith(found)


# The command -------------------------------------------------------------------------------------------------------


def run(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner(env=environment).invoke(main, ["gen-config", *words])
    return done.exit_code, done.output


def test_the_command_writes_every_file_and_says_what_to_do_with_it(tmp_path: Path) -> None:
    directory = tmp_path / "gen-config"
    data, user = str(tmp_path / "data"), getpass.getuser()
    words = ("--serverdir", data, "--port", "4040", "--hostname", "pypi.example", "--directory", str(directory), "--user", user)
    status, told = run(*words)
    assert status == 0, told
    command = f"{Path(find_twistd(sys.executable)).parent / 'twistpi'} init --config {directory / 'twistpi.toml'}"
    assert told.endswith(f"Create it first:\n\n    {command}\n")
    init = CliRunner().invoke(main, ["init", "--config", str(directory / "twistpi.toml"), "--no-root-pypi"])
    assert init.exit_code == 0, init.output
    assert "Create it first" not in run(*words, "--force")[1]
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    for name, what in FILES.items():
        assert re.search(rf"^  {re.escape(name)} +{re.escape(what)}$", told, re.MULTILINE)
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o111 == 0 for path in directory.iterdir())


def test_the_documentation_shows_what_the_command_says() -> None:
    width = max(map(len, FILES))
    shown = (ROOT / "docs" / "administration.rst").read_text()
    assert [name for name, what in FILES.items() if f"      {name:{width}}  {what}\n" not in shown] == []


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    words = ("--serverdir", str(tmp_path / "data"), "--directory", str(tmp_path), "--user", getpass.getuser())
    (tmp_path / "crontab").write_text("mine")
    (tmp_path / "twistpi.toml").symlink_to(tmp_path / "nowhere")
    status, told = run(*words)
    assert status == 1
    assert f"{tmp_path} has twistpi.toml, crontab already, and nothing was written" in " ".join(told.split())
    assert sorted(os.listdir(tmp_path)) == ["crontab", "twistpi.toml"]
    assert (tmp_path / "crontab").read_text() == "mine"
    (tmp_path / "twistpi.toml").unlink()
    assert run(*words, "--force")[0] == 0
    assert (tmp_path / "crontab").read_text() != "mine"


def test_files_are_all_new_or_as_they_were(tmp_path: Path) -> None:
    """What cannot be written is found out before anything is replaced, and nothing is left lying about."""
    write({"a": "old", "b": "old"}, str(tmp_path), force=False)
    with pytest.raises(click.ClickException, match="Nothing can be written"):
        write({"a": "new", "b" * 300: "a name that no disk takes"}, str(tmp_path), force=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "b": "old"}
    write({"a": "new", "b": "new"}, str(tmp_path), force=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_what_the_environment_and_a_file_set_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('request-timeout = 7\nhost = "10.0.0.1"\n')
    words = ("--serverdir", str(tmp_path / "data"), "--config", str(tmp_path / "old.toml"), "--directory", str(tmp_path / "new"))
    assert run(*words, "--user", "nobody", TWISTPI_OFFLINE="true")[0] == 0
    content = tomllib.loads((tmp_path / "new" / "twistpi.toml").read_text())
    assert (content["request-timeout"], content["host"], content["offline"]) == (7.0, "10.0.0.1", True)
    assert "server 10.0.0.1:3141;" in (tmp_path / "new" / "nginx-twistpi.conf").read_text()


def test_whoever_cannot_get_in_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    words = ("--serverdir", str(tmp_path / "closed" / "data"), "--directory", str(tmp_path / "closed" / "conf"))
    told = run(*words, "--user", "nobody")[1]
    assert "so a web server cannot send files by itself: chmod o+x /" in told
    assert "so nobody cannot get to the settings: chmod o+x /" in told


def test_another_user_writes_logs_where_the_settings_are_not(tmp_path: Path) -> None:
    """Who can write there could put a file of settings of the web server's in the place of the one that root made."""
    words = ("--serverdir", str(tmp_path / "data"), "--directory", str(tmp_path / "conf"), "--force")
    writing = {"supervisord.conf", "supervisor-twistpi.conf", "twistpi.plist", "crontab"}
    for user, logs in (("nobody", "/var/log/twistpi"), (getpass.getuser(), str(tmp_path / "conf"))):
        assert run(*words, "--user", user)[0] == 0
        for name in writing:
            text = (tmp_path / "conf" / name).read_text()
            assert re.search(rf"{re.escape(logs)}/(twistpi|supervisord)\.log", text), name
            assert (f"install -d -o {user} {logs}" in text) is (user == "nobody"), name
    assert "/var/log/twistpi" not in "".join(path.read_text() for path in (tmp_path / "conf").iterdir())


def test_a_user_that_does_not_exist_is_refused_with_the_commands_that_create_it(tmp_path: Path) -> None:
    """One supervisor file with such a user keeps all of supervisord from starting."""
    data, name = tmp_path / "data", "no-such-user"
    status, told = run("--serverdir", str(data), "--directory", str(tmp_path / "conf"), "--user", name)
    assert status == 1
    assert f"There is no user {name} on this machine." in told
    assert f"\n    useradd --system --home-dir {data} --shell /usr/sbin/nologin {name}\n" in told
    assert f"\n    install --directory --owner={name} --group={name} {data}\n" in told
    assert not (tmp_path / "conf").exists()
    data.mkdir()
    assert f"\n    chown --recursive {name}: {data} " in run("--serverdir", str(data), "--user", name)[1]


def test_a_server_directory_of_another_user_is_to_be_given_to_the_server(tmp_path: Path) -> None:
    data, user = tmp_path / "data", getpass.getuser()
    assert CliRunner().invoke(main, ["init", "--serverdir", str(data), "--no-root-pypi"]).exit_code == 0
    words = ("--serverdir", str(data), "--directory", str(tmp_path / "conf"), "--force", "--user")
    assert f"chown --recursive nobody: {data}" in run(*words, "nobody")[1]
    assert "chown" not in run(*words, user)[1]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ("--serverdir", str(tmp_path / "data"), "--directory", str(tmp_path / "file" / "x"), "--user", "nobody")
    status, told = run(*words)
    assert status == 1
    assert f"Nothing can be written to {tmp_path}/file/x" in " ".join(told.split())
