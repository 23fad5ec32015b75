"""The command line of ``twistd twistpi``."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.python.usage import UsageError

from twistpi.server.options import Options
from twistpi.server.settings import CONFIG, TABLE


def _parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


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


@pytest.mark.parametrize("words", [["--port", "http"], ["--prot", "1"], ["extra"], ["--config", "/nowhere.toml"], ["--port"]])
def test_what_cannot_be_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError):
        _parse(*words)


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
