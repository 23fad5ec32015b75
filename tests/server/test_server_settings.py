"""One table of settings: where values come from, which one counts, how bad ones are refused, and the command line of twistd."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from twistpi.cli.commands.help import settings_fields, settings_page
from twistpi.model.errors import TwistpiError
from twistpi.server.options import Options
from twistpi.server.setting_sources import configured_settings, load_settings, unknown_variables
from twistpi.server.settings import CONFIG, GROUPS, TABLE, Setting, Settings

HASH = "$bcrypt-sha256$v=2,t=2b,r=4$SM2mk9Bpr5y1GvYPvr4aOO$bqVlOnUv0XZYVTwjKg7gNFu4CkqsaeK"
GOOD = {
    "serverdir": ("/srv/twistpi", "/srv/twistpi"),
    "require-initialised": ("true", True),
    "host": ("::1", "::1"),
    "port": ("4040", 4040),
    "listen": ("unix:/run/twistpi.sock", ("unix:/run/twistpi.sock",)),
    "upstream": ("https://user:secret@upstream.example/simple/", "https://user:secret@upstream.example/simple/"),
    "no-root-pypi": ("true", True),
    "root-passwd": ("very secure, #1", "very secure, #1"),
    "root-passwd-hash": (HASH, HASH),
    "offline": ("true", True),
    "mirror-cache-expiry": ("0", 0),
    "request-timeout": ("2.5", 2.5),
    "outside-url": ("https://pkgs.example/root/", "https://pkgs.example/root"),
    "trusted-proxy": ("10.1.2.3/8", (ip_network("10.0.0.0/8"),)),
    "forbidden-networks": ("fd00::1", ("fd00::1/128",)),
    "local-folders": ("/srv/wheels", ("/srv/wheels",)),
    "advisories": ("file:///srv/advisories/all.zip", "/srv/advisories/all.zip"),
    "secretfile": ("/etc/twistpi/secret", "/etc/twistpi/secret"),
    "login-hours": ("0.5", 0.5),
    "bcrypt-cost": ("4", 4),
    "restrict-modify": ("root, :admins", "root,:admins"),
    "max-upload-size": ("10M", 10 * 1024 * 1024),
    "upload-checks": ("None", "none"),
    "anonymous-results": ("10M", 10 * 1024 * 1024),
    "changelog": ("postgresql://twistpi@db.example/twistpi", "postgresql://twistpi@db.example/twistpi"),
    "cache-dir": ("/var/cache/twistpi", "/var/cache/twistpi"),
    "cache-dir-bytes": ("5M", 5 * 1024**2),
    "blobs": ("s3://packages/twistpi", "s3://packages/twistpi"),
    "s3-endpoint": ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
    "s3-region": ("eu-central-1", "eu-central-1"),
    "s3-addressing": ("virtual", "virtual"),
    "blob-delivery": ("stream", "stream"),
    "primary-url": ("https://primary.example:4040/pkgs/", "https://primary.example:4040/pkgs"),
    "history": ("tail", "tail"),
    "proxy-timeout": ("2.5", 2.5),
    "workers": ("4", 4),
    "log-level": ("WARN", "warn"),
    "access-log": ("/var/log/access.log", "/var/log/access.log"),
    "ca-file": (__file__, __file__),
    "metrics-from": ("192.0.2.0/24", (ip_network("192.0.2.0/24"),)),
    "no-downloads": ("true", True),
    "download-days": ("365", 365),
    "disk-reserve": ("1G", 1 << 30),
    "min-free": ("20G", 20 << 30),
    "cache-max-bytes": ("2T", 2 << 40),
    "cache-max-age": ("0.5", 0.5),
    "cache-min-age": ("0", 0.0),
    "log-format": ("JSON", "json"),
    "max-connections": ("100", 100),
    "stop-timeout": ("2.5", 2.5),
    "lenient-accept": ("true", True),
    "no-cors": ("true", True),
    "json-index": ("root/pypi", "root/pypi"),
    "absolute-urls": ("true", True),
    "replicate-files": ("root/pypi, alice/dev", "alice/dev,root/pypi"),
    "replicate-at-once": ("9", 9),
    "file-search-path": ("/srv/old", "/srv/old"),
    "page-cache-size": ("64 MiB", 64 * 1024 * 1024),
    "theme": ("/etc/twistpi/theme", "/etc/twistpi/theme"),
}
BAD = {
    "serverdir": ["", "a\0b"],
    "require-initialised": ["", "maybe"],
    "host": ["", "a\nb"],
    "port": ["", "http", "-1", "65536", "4040.5", "tcp://10.0.0.1:3141"],
    "listen": ["", "3141", ":", "tcp:"],
    "upstream": [
        "",
        "upstream.example",
        "ftp://upstream.example/",
        "https://",
        "https://upstream.example/?a=b",
        "http://u:99999/",
    ],
    "no-root-pypi": ["", "maybe", "2"],
    "root-passwd": [],
    "root-passwd-hash": [
        "",
        "secret",
        "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghi",
        HASH.replace("r=4", "r=31"),
    ],
    "offline": ["", "maybe"],
    "mirror-cache-expiry": ["", "1.5", "-1", "an hour"],
    "request-timeout": ["", "0", "-1", "nan", "inf", "5s"],
    "outside-url": ["", "pkgs.example", "https://pkgs.example/#top"],
    "trusted-proxy": ["", "proxy.example", "10.0.0.0/33", "10.0.0"],
    "forbidden-networks": ["", "nothing", "10.0.0.0/33", "::/129"],
    "local-folders": ["", "a\0b"],
    "advisories": ["", "a\0b", "https://", "https://feed.example/all.zip?x=1", "file://server/all.zip"],
    "secretfile": ["", "a\0b"],
    "login-hours": ["", "0", "-1", "nan", "inf", "10h", "8761"],
    "bcrypt-cost": ["", "3", "19", "high"],
    "restrict-modify": ["", ",", "root,,x", "a b", "::x", ":", "a/b"],
    "max-upload-size": ["", "-1", "10X", "1.5G"],
    "upload-checks": ["", "some"],
    "anonymous-results": ["", "-1", "10X"],
    "changelog": ["", "db.example", "mysql://db.example/twistpi"],
    "cache-dir": ["", "a\0b"],
    "cache-dir-bytes": ["", "-1", "much"],
    "blobs": ["", "packages", "s3://", "https://s3.example/packages"],
    "s3-endpoint": ["", "s3.example", "https://key:secret@s3.example"],
    "s3-region": [""],
    "s3-addressing": ["", "host"],
    "blob-delivery": ["", "send"],
    "primary-url": ["", "primary.example", "ftp://primary.example", "unix:run/x.sock", "unix:/a\nb", "http://x.example/?a=b"],
    "history": ["", "none"],
    "proxy-timeout": ["", "0", "forever"],
    "workers": ["", "-1", "many"],
    "log-level": ["", "verbose"],
    "access-log": ["", "a\0b"],
    "ca-file": ["", "/nowhere/ca.pem", "/"],
    "metrics-from": ["", "monitor.example", "10.0.0.0/33"],
    "no-downloads": ["", "maybe"],
    "download-days": ["", "30", "3651", "1.5"],
    "disk-reserve": ["", "10%"],
    "min-free": ["", "10%"],
    "cache-max-bytes": ["", "-1", "many"],
    "cache-max-age": ["", "-1", "nan", "36501", "1d"],
    "cache-min-age": ["", "-1", "inf"],
    "log-format": ["", "xml"],
    "max-connections": ["", "0", "many"],
    "stop-timeout": ["", "-1", "soon"],
    "lenient-accept": ["", "perhaps"],
    "no-cors": ["", "perhaps"],
    "json-index": ["", "pypi", "root/pypi/simple"],
    "absolute-urls": ["", "perhaps"],
    "replicate-files": ["", "none", "alice", "alice/dev,"],
    "replicate-at-once": ["", "0", "65", "many"],
    "file-search-path": ["", "a\0b"],
    "page-cache-size": ["", "big"],
    "theme": ["", "a\0b"],
}
ALL = pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)


def _toml(name: str, text: str) -> str:
    return f'{name} = "{text}"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "twistpi.toml"


def test_without_anything_given_every_setting_has_its_default() -> None:
    settings = load_settings({}, {})
    assert settings == Settings()
    assert settings.port == 3141
    assert settings.host == "127.0.0.1"
    assert settings.mirror_cache_expiry == 1800
    assert settings.request_timeout == 5


@ALL
def test_a_setting_can_be_given_on_the_command_line_in_the_environment_and_in_the_file(setting: Setting, config: Path) -> None:
    text, value = GOOD[setting.name]
    config.write_text(_toml(setting.name, text))
    ways = [
        load_settings({setting.name: [text]}, {}),
        load_settings({}, {setting.variable: text}),
        load_settings({"config": [str(config)]}, {}),
        load_settings({}, {"TWISTPI_CONFIG": str(config)}),
    ]
    for settings in ways:
        assert getattr(settings, setting.field) == value


@ALL
def test_the_defaults_differ_from_the_values_tested(setting: Setting) -> None:
    assert GOOD[setting.name][1] != setting.default


def test_the_command_line_wins_over_the_environment_that_over_the_file_and_that_over_the_default(config: Path) -> None:
    config.write_text("port = 1\n")
    given = {"config": [str(config)]}
    assert load_settings({**given, "port": ["3"]}, {"TWISTPI_PORT": "2"}).port == 3
    assert load_settings(given, {"TWISTPI_PORT": "2"}).port == 2
    assert load_settings(given, {}).port == 1
    assert load_settings({}, {}).port == 3141


def test_the_file_that_the_command_line_names_wins_over_the_one_the_environment_names(config: Path) -> None:
    config.write_text("port = 1\n")
    assert load_settings({"config": [str(config)]}, {"TWISTPI_CONFIG": "/nowhere"}).port == 1


@ALL
def test_a_bad_value_is_refused_naming_setting_value_place_and_what_is_allowed(setting: Setting, config: Path) -> None:
    for text in BAD[setting.name]:
        for command_line, environment, place in (
            ({setting.name: [text]}, {}, f"the command line, --{setting.name}"),
            ({}, {setting.variable: text}, f"the environment variable {setting.variable}"),
        ):
            if setting.repeatable and not text and environment:
                continue  # an empty list
            with pytest.raises(TwistpiError) as caught:
                load_settings(command_line, environment)
            told = str(caught.value)
            assert setting.name in told
            assert repr("(not shown)" if setting.kind.secret else text) in told
            assert place in told
            assert setting.kind.allowed in told


def test_a_bad_value_in_the_file_tells_which_file(config: Path) -> None:
    config.write_text("port = 99999\n")
    with pytest.raises(TwistpiError, match=rf"port is '99999' \(from the file {config}\)"):
        load_settings({"config": [str(config)]}, {})


def test_a_bad_value_is_refused_even_where_a_better_place_has_a_good_one(config: Path) -> None:
    config.write_text("port = 99999\n")
    with pytest.raises(TwistpiError):
        load_settings({"config": [str(config)], "port": ["1"]}, {})


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("prot = 1", "did you mean port?"),
        ("mirror_cache_expiry = 1", "did you mean mirror-cache-expiry?"),
        ("[server]\nport = 1", "settings must be at the top of the file, outside any table"),
        ("config = 'x'", "there is no such setting"),
        ("zzzzzzz = 1", "there is no such setting"),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_a_suggestion(content: str, hint: str, config: Path) -> None:
    config.write_text(content)
    with pytest.raises(TwistpiError) as caught:
        load_settings({"config": [str(config)]}, {})
    assert hint in str(caught.value)


@pytest.mark.parametrize("content", ["port = ", "port = [1]", "port = 2026-01-01", "listen = [[]]", "\xff"])
def test_a_file_that_is_not_toml_or_holds_what_no_setting_can_be_is_refused(content: str, config: Path) -> None:
    config.write_bytes(content.encode("latin-1"))
    with pytest.raises(TwistpiError):
        load_settings({"config": [str(config)]}, {})


def test_a_file_may_use_the_types_of_toml(config: Path) -> None:
    config.write_text('port = 4040\noffline = true\nrequest-timeout = 7\nlisten = ["tcp:1", "tcp:2"]\nmax-upload-size = "1G"\n')
    settings = load_settings({"config": [str(config)]}, {})
    assert (settings.port, settings.offline, settings.request_timeout) == (4040, True, 7.0)
    assert settings.listen == ("tcp:1", "tcp:2")
    assert settings.max_upload_size == 1 << 30


def test_a_flag_of_the_file_is_unset_by_the_environment(config: Path) -> None:
    config.write_text("offline = true")
    assert load_settings({"config": [str(config)]}, {"TWISTPI_OFFLINE": "false"}).offline is False


def test_the_server_directory_of_a_node_of_a_cluster_is_its_cache_and_it_follows_nobody() -> None:
    given = {"changelog": ["postgresql://twistpi@db.example/twistpi"], "cache-dir": ["/var/cache/twistpi"]}
    assert load_settings(given, {}).serverdir == "/var/cache/twistpi"
    for name, text in (("serverdir", "/srv/data"), ("primary-url", "http://primary.example")):
        with pytest.raises(TwistpiError, match=f"{name} is .*must not be given together with changelog"):
            load_settings({**given, name: [text]}, {})


def test_listen_may_be_repeated_everywhere(config: Path) -> None:
    assert load_settings({"listen": ["tcp:1", "tcp:2"]}, {}).listen == ("tcp:1", "tcp:2")
    assert load_settings({}, {"TWISTPI_LISTEN": "tcp:1  tcp:2"}).listen == ("tcp:1", "tcp:2")
    config.write_text('listen = "tcp:1"')
    assert load_settings({"config": [str(config)]}, {}).listen == ("tcp:1",)


def test_paths_become_absolute_where_the_server_is_started() -> None:
    assert load_settings({"serverdir": ["data"]}, {}).serverdir == os.path.join(os.getcwd(), "data")
    assert load_settings({"serverdir": ["~/data"]}, {}).serverdir == os.path.expanduser("~/data")


def test_a_variable_that_is_no_setting_is_mentioned() -> None:
    environment = {"TWISTPI_PROT": "1", "TWISTPI_PORT": "1", "TWISTPI_CONFIG": "x", "PATH": "/bin"}
    assert unknown_variables(environment) == ["the environment variable TWISTPI_PROT is no setting (did you mean TWISTPI_PORT?)"]


def test_no_refusal_and_no_description_shows_a_secret(config: Path) -> None:
    for command_line in ({"root-passwd-hash": ["hunter2"]}, {"root-passwd": ["hunter2"], "root-passwd-hash": [HASH]}):
        with pytest.raises(TwistpiError) as caught:
            load_settings(command_line, {})
        assert "hunter2" not in str(caught.value)
    config.write_text('root-passwd = ["hunter2"]')
    with pytest.raises(TwistpiError) as caught:
        load_settings({"config": [str(config)]}, {})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(load_settings({"root-passwd": ["hunter2"]}, {}))
    assert HASH not in repr(load_settings({"root-passwd-hash": [HASH]}, {}))


def test_the_password_of_root_and_its_hash_are_not_given_together() -> None:
    with pytest.raises(TwistpiError, match=r"root-passwd-hash.*must not be given together with root-passwd"):
        load_settings({"root-passwd": [""]}, {"TWISTPI_ROOT_PASSWD_HASH": HASH})


def test_a_blank_password_is_a_password(config: Path) -> None:
    config.write_text('root-passwd = "from the file"')
    assert load_settings({"config": [str(config)]}, {"TWISTPI_ROOT_PASSWD": ""}).root_passwd == ""


def test_networks_may_be_repeated_and_none_is_no_network() -> None:
    assert load_settings({}, {"TWISTPI_TRUSTED_PROXY": "10.0.0.1 ::1"}).trusted_proxy == (
        ip_network("10.0.0.1"),
        ip_network("::1"),
    )
    assert load_settings({"forbidden-networks": ["None"]}, {}).forbidden_networks == ("none",)
    assert load_settings({}, {}).forbidden_networks == ()
    assert load_settings({"trusted-proxy": ["none"]}, {"TWISTPI_TRUSTED_PROXY": "127.0.0.1"}).trusted_proxy == ()


@hypothesis_settings(deadline=None)
@given(st.text())
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    for setting in TABLE:
        with suppress(TwistpiError):  # and nothing else
            load_settings({setting.name: [text]}, {})


def test_the_documentation_page_tells_all_of_every_setting() -> None:
    page = settings_page()
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(setting.name for setting in (CONFIG, *TABLE))
    for setting in (CONFIG, *TABLE):
        assert f"\n{setting.name}\n{'~' * len(setting.name)}\n" in page
        assert f"``{setting.variable}``" in page
        assert f":default: {setting.shown_default}\n" in page


def test_the_documentation_page_in_docs_is_current() -> None:
    kept = Path(__file__).parent.parent.parent / "docs" / "settings.rst"
    assert kept.read_text(encoding="utf-8") == settings_page(), "run make docs"


def _parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def test_programs_get_every_setting() -> None:
    told = settings_fields()
    assert {one["name"] for one in told} == {setting.name for setting in (CONFIG, *TABLE)}
    port = next(one for one in told if one["name"] == "port")
    assert (port["variable"], port["default"], port["repeatable"]) == ("TWISTPI_PORT", "3141", False)


def test_options_become_settings() -> None:
    settings = _parse("--port", "4040", "--offline", "--listen", "tcp:1", "--listen=unix:/x").settings
    assert (settings.port, settings.offline, settings.listen) == (4040, True, ("tcp:1", "unix:/x"))


def test_networks_may_be_repeated() -> None:
    words = ("--trusted-proxy", "10.0.0.0/8", "--trusted-proxy=::1", "--forbidden-networks", "192.0.2.0/24")
    settings = _parse(*words).settings
    assert [str(network) for network in settings.trusted_proxy] == ["10.0.0.0/8", "::1/128"]
    assert settings.forbidden_networks == ("192.0.2.0/24",)


def test_every_setting_is_an_option_with_its_help_and_default() -> None:
    usage = " ".join(_parse().getUsage().split())
    for setting in (CONFIG, *TABLE):
        assert f"--{setting.name}" in usage
        assert setting.help in usage.replace("mirror- ", "mirror-").replace("on- ", "on-")


def test_the_help_has_every_option_once_below_its_heading() -> None:
    lines = str(_parse()).splitlines()
    at = -1
    for heading, names in GROUPS.items():
        assert lines.index(f"{heading}:") > at
        for name in names:
            options = [number for number, line in enumerate(lines) if f"{line} ".startswith(f"    --{name} ")]
            assert len(options) == 1
            assert options[0] > at
            at = options[0]


@pytest.mark.parametrize("words", [["--port", "http"], ["--prot", "1"], ["extra"], ["--config", "/nowhere.toml"], ["--port"]])
def test_what_cannot_be_ends_the_program_with_the_reason_and_without_all_of_the_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parse(*words)
    assert ended.value.code == 2
    reason, more = capsys.readouterr().err.splitlines()
    assert reason.startswith("twistpi: ")
    assert more == "The options are explained by: twistpi serve --help"


def test_the_version_is_twistpis(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parse("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("twistpi ")


def test_loading_plugin_and_options_is_cheap_and_chooses_no_reactor() -> None:
    """``twistd --help`` and ``twistd --reactor=`` depend on it."""
    heavy = ["twisted.internet.reactor", "klein", "sqlite3", "twistpi.server.service", "cattrs"]
    loading = "import sys, twisted.plugins.twistpi_plugin, twistpi.server.options"
    script = f"{loading}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_told_where_each_value_comes_from_and_no_secret_is(config: Path) -> None:
    config.write_text('port = 4040\noffline = true\nroot-passwd = "of the file"\nhost = "127.0.0.2"')
    environment = {"TWISTPI_CONFIG": str(config), "TWISTPI_HOST": "127.0.0.3", "TWISTPI_METRICS_FROM": "10.0.0.0/8 ::1"}
    upstream = "http://me:secret@upstream.example/simple/"
    settings = load_settings({"port": ["4041"], "upstream": [upstream]}, environment)
    told = {one.name: (one.value, one.source) for one in configured_settings(settings)}
    assert told["port"] == ("4041", "the command line, --port")
    assert told["host"] == ("127.0.0.3", "the environment variable TWISTPI_HOST")
    assert told["offline"] == ("true", f"the file {config}")
    assert told["metrics-from"] == ("10.0.0.0/8, ::1/128", "the environment variable TWISTPI_METRICS_FROM")
    assert told["login-hours"] == ("10", "default")
    assert told["root-passwd"] == ("(not shown)", f"the file {config}")
    assert "secret" not in told["upstream"][0]
    assert "of the file" not in repr(settings)
