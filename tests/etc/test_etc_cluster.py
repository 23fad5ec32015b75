"""What ``twistpi gen-config --cluster`` writes is what Compose, Kubernetes, Docker, nginx and twistpi take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.etc.front import Nginx
from twistpi.cli import cluster_config
from twistpi.cli.cluster_config import FILES, ClusterDeployment, render
from twistpi.cli.main import main
from twistpi.server.setting_sources import load_settings
from twistpi.server.settings import Settings

ETC = Path(__file__).parents[2] / "etc" / "cluster"
NO_FIELDS: dict[str, Any] = {}
ODD: dict[str, Any] = {
    "upstream": "https://index.example/$simple/a:b/",
    "json_index": "root/dev",
    "trusted_proxy": ("10.0.0.0/8",),
    "forbidden_networks": ("10.0.0.0/8", "fd00::/8"),
    "max_upload_size": 123_456_789,
    "no_downloads": True,
    "stop_timeout": 99.5,
    "outside_url": "https://pkgs.example/",
}
"""Settings that are not at their defaults, with characters that mean something in YAML and to Compose."""


def rendered(**fields: Any) -> dict[str, str]:
    return render(ClusterDeployment(Settings(serverdir="/srv/data", **fields), "pypi.example", lambda: "made-up"))


def compose(**fields: Any) -> Any:
    return yaml.safe_load(rendered(**fields)["compose.yaml"])


def resources(**fields: Any) -> dict[str, Any]:
    return {resource["kind"]: resource for resource in yaml.safe_load_all(rendered(**fields)["kubernetes.yaml"])}


def test_every_template_is_rendered_and_told_of() -> None:
    assert {path.name for path in ETC.iterdir()} == {name.lstrip(".") for name in FILES}


def run(program: str, *words: str | Path, told: str = "") -> tuple[int, str]:
    """Status of a program of this Python, and what it wrote."""
    command = [Path(sys.executable).with_name(program), *words]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of an ordinary server, and of an odd one."""
    made = []
    for fields in NO_FIELDS, ODD:
        folder = tmp_path_factory.mktemp("cluster")
        for name, text in rendered(**fields).items():
            (folder / name).write_text(text)
        made.append(folder)
    return made


def test_compose_takes_the_file(folders: list[Path]) -> None:
    paths = [folder / "compose.yaml" for folder in folders]
    status, said = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *paths)
    assert status == 0, said


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_every_resource(folders: list[Path], version: str) -> None:
    paths = [folder / "kubernetes.yaml" for folder in folders]
    status, said = run("kubernetes-validate", "--strict", "--no-warn", "--kubernetes-version", version, *paths)
    assert status == 0, said
    assert len(re.findall(r" passed for resource (?:configmap|service|poddisruptionbudget|deployment)/twistpi ", said)) == 8


def test_a_linter_finds_nothing_wrong_with_the_image() -> None:
    assert run("hadolint", "-", told=rendered()["Dockerfile"]) == (0, "")


def test_nginx_takes_the_file(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    nginx.configure([rendered(**ODD)["nginx.conf"]])
    assert nginx.check() == ""


def test_nodes_take_their_environment_and_get_the_settings_of_whoever_wrote_it() -> None:
    node = compose(**ODD)["services"]["node1"]["environment"]
    pod = resources(**ODD)["ConfigMap"]["data"]
    image = dict(re.findall(r"\b(TWISTPI_\w+)=(\S+)", rendered()["Dockerfile"]))
    for given in (node, pod):
        variables = {**image, **{name: str(value).replace("$$", "$") for name, value in given.items()}}
        settings = load_settings({}, variables)
        assert settings.changelog == given["TWISTPI_CHANGELOG"]
        assert (settings.host, settings.port, settings.serverdir) == ("0.0.0.0", 3141, "/cache")
        for name in ("upstream", "forbidden_networks", "max_upload_size", "no_downloads", "stop_timeout"):
            assert getattr(settings, name) == ODD[name]
    assert "TWISTPI_OUTSIDE_URL" not in node, "the balancer says it"
    assert pod["TWISTPI_OUTSIDE_URL"] == ODD["outside_url"]
    assert "123456789" in rendered(**ODD)["nginx.conf"]


def test_nodes_trust_the_balancer_and_the_balancer_finds_them_by_fixed_addresses() -> None:
    services = compose()["services"]
    nodes = {name: service for name, service in services.items() if name.startswith("node")}
    addresses = [node["networks"]["cluster"]["ipv4_address"] for node in nodes.values()]
    assert len(set(addresses)) == len(nodes) == 3
    text = rendered()["nginx.conf"]
    assert sorted(set(re.findall(r"^    server (\S+):3141 ", text, re.MULTILINE))) == addresses
    for node in nodes.values():
        trusted = node["environment"]["TWISTPI_TRUSTED_PROXY"]
        assert trusted == services["balancer"]["networks"]["cluster"]["ipv4_address"]


def test_everybody_waits_longer_than_it_takes_to_stop() -> None:
    assert compose(**ODD)["services"]["node1"]["stop_grace_period"] == "149s"
    assert resources(**ODD)["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 154


def test_the_image_runs_as_its_own_user_in_its_volume_from_a_base_of_one_version_and_asks_whether_it_is_ready() -> None:
    text = rendered()["Dockerfile"]
    said = dict(re.findall(r"^([A-Z]+) (.+)$", text.rsplit("\nFROM ", 1)[1], re.MULTILINE))
    assert text.count("\nFROM ") == 2
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-", text, re.MULTILINE)
    assert json.loads(said["ENTRYPOINT"]) == ["twistd", "--nodaemon", "--pidfile=", "twistpi"]
    assert said["USER"] == str(cluster_config.USER_ID)
    assert said["VOLUME"] == "/cache"
    assert "http://127.0.0.1:3141/+ready" in text


def test_passwords_are_in_a_file_of_their_own_and_in_no_other() -> None:
    texts = rendered(
        changelog="postgresql://me:sesame@db.example:5433/packages?password=sesame&sslmode=require", root_passwd="sesame"
    )
    assert not [name for name, text in texts.items() if "sesame" in text]
    variables = {line.partition("=")[0] for line in texts[".env"].splitlines() if not line.startswith("#")}
    assert set(re.findall(r"\$\{(\w+):", texts["compose.yaml"])) == variables
    assert [name for name, text in texts.items() if "made-up" in text] == [".env"]
    data = yaml.safe_load(texts["kubernetes.yaml"].partition("---")[0])["data"]
    assert data["TWISTPI_CHANGELOG"] == "postgresql://me@db.example:5433/packages?sslmode=require"


def gen_config(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(main, ["gen-config", "--cluster", "--directory", str(folder), *words])


def test_passwords_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    done = gen_config(folder, "--hostname", "pypi.example")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    first = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    refused = gen_config(folder)
    assert refused.exit_code == 1
    assert "overwrite them with --force" in refused.output
    assert gen_config(folder, "--force", "--port", "4040").exit_code == 0
    assert (folder / ".env").read_text() == first, "the database has these passwords"
    assert "127.0.0.1:4040:4040" in (folder / "compose.yaml").read_text()
    assert gen_config(tmp_path / "other").exit_code == 0
    assert (tmp_path / "other" / ".env").read_text() != first


@pytest.mark.parametrize("words", [("--prefix", "/pypi"), ("--user", "me")])
def test_what_means_nothing_in_containers_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = gen_config(tmp_path / "cluster", *words)
    assert done.exit_code == 1
    assert "nothing was written" in done.output
    assert not (tmp_path / "cluster").exists()
