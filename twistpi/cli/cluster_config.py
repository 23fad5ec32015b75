"""Files that run a cluster in containers, made from the templates of ``etc/cluster/``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from importlib.resources import files as files_of
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs
import jinja2
import orjson

from twistpi import __version__
from twistpi.server.setting_sources import words_of
from twistpi.server.settings import TABLE, Settings

FILES: Final[Mapping[str, str]] = {
    "compose.yaml": "nodes, PostgreSQL, an S3 server and a balancer on this machine: docker compose up --detach --wait",
    ".env": "their passwords; kept when the other files are written again",
    "nginx.conf": "the balancer, which compose.yaml starts",
    "Dockerfile": "the image of a node, which compose.yaml builds",
    "kubernetes.yaml": "instead of compose.yaml, with a database and a bucket of your own; its first lines say how",
}
"""The files, and what each is.  Their templates have the same names, without a dot at the beginning."""
SECRETS: Final = ".env"
"""The file that only its owner may read."""
NODE_PORT: Final = 3141
"""The port of each node, inside its container."""
USER_ID: Final = 3141
_NETWORK: Final = "172.31.41"
_BALANCER: Final = 10
_FIRST_NODE: Final = 11
"""The last numbers of addresses in the network."""
_NODES: Final = 3
_FAIL_SECONDS: Final = 5
"""Seconds for which the balancer leaves a node out that did not answer."""
_DRAIN_SECONDS: Final = 5
"""Seconds after which nobody sends requests to a pod that is to end."""
_TO_CLOSE: Final = 50
"""Seconds that a node gets for closing its storage, after the last request."""
_IMAGES: Final = {
    "python_image": "python:3.13.7-slim-bookworm",
    "nginx_image": "nginx:1.28.0-bookworm",
    "postgres_image": "postgres:17.6-bookworm",
    "seaweedfs_image": "chrislusf/seaweedfs:4.48",
}
_STORAGE: Final = ("s3-endpoint", "s3-region", "s3-addressing")
_OTHERWISE: Final = frozenset(
    {
        *("changelog", "blobs", "blob-delivery", *_STORAGE),
        *("serverdir", "cache-dir", "host", "port", "listen", "trusted-proxy", "outside-url", "require-initialised"),
    }
)
"""Settings that the files set themselves."""


@attrs.frozen
class ContainerNode:
    """A node of ``compose.yaml``."""

    name: str
    address: str
    """In the network of the containers, without a port."""


@attrs.frozen
class Balanced:
    """The settings of the balancer."""

    addresses: tuple[str, ...]
    """Host and port of each node."""
    hostname: str
    """The name that users have for the cluster."""
    port: int
    """Where it listens."""
    max_upload_size: int
    """Bytes."""

    def facts(self) -> dict[str, object]:
        """Return the variables of the template."""
        return {**attrs.asdict(self), "version": __version__, "fail_seconds": _FAIL_SECONDS}


@attrs.frozen
class ClusterDeployment:
    """The values that the files contain."""

    settings: Settings
    hostname: str
    """The name that users have for the cluster."""
    secret: Callable[[], str] = attrs.field(default=lambda: secrets.token_urlsafe(24), repr=False)
    """Makes a password."""

    def facts(self) -> dict[str, object]:
        """Return the variables of the templates."""
        settings = self.settings
        nodes = [ContainerNode(f"node{number + 1}", f"{_NETWORK}.{_FIRST_NODE + number}") for number in range(_NODES)]
        addresses = tuple(f"{node.address}:{NODE_PORT}" for node in nodes)
        return {
            **Balanced(addresses, self.hostname, settings.port, settings.max_upload_size).facts(),
            **_IMAGES,
            "nodes": nodes,
            "network": f"{_NETWORK}.0/24",
            "balancer_address": f"{_NETWORK}.{_BALANCER}",
            "image": f"twistpi-cluster:{__version__}",
            "uid": USER_ID,
            "node_port": NODE_PORT,
            "stop_seconds": int(settings.stop_timeout) + _TO_CLOSE,
            "drain_seconds": _DRAIN_SECONDS,
            "changelog": _without_password(settings.changelog or "postgresql://twistpi@postgres.example/twistpi"),
            "blobs": settings.blobs or "s3://packages/twistpi",
            "outside_url": settings.outside_url or f"https://{self.hostname}/",
            "storage": _variables(settings, _STORAGE),
            "environment": _variables(settings, _carried(settings)),
            "postgres_password": self.secret(),
            "s3_secret_key": self.secret(),
        }


def _carried(settings: Settings) -> list[str]:
    """Return the settings that nodes get as they are here: all but secrets, and paths of this machine."""
    return [
        setting.name
        for setting in TABLE
        if setting.name not in _OTHERWISE
        and not setting.kind.secret
        and setting.kind.placeholder not in ("PATH", "FILE")
        and "@" not in str(getattr(settings, setting.field))
    ]


def _variables(settings: Settings, names: list[str] | tuple[str, ...]) -> dict[str, str]:
    rows = {setting.name: setting for setting in TABLE}
    return {rows[name].variable: " ".join(words) for name, words in words_of(settings, names).items()}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, is_user, hosts = parts.netloc.rpartition("@")
    parameters = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "password"]
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{is_user}{hosts}", query=urlencode(parameters)))


def _json(text: str) -> str:
    """Return text as YAML reads it, whatever characters it has."""
    return orjson.dumps(text).decode()


def balancer(balanced: Balanced) -> str:
    """Return the configuration of nginx."""
    return _templates().get_template("nginx.conf").render(balanced.facts())


def render(deployment: ClusterDeployment) -> dict[str, str]:
    """Return the contents of the files by name."""
    facts, templates = deployment.facts(), _templates()
    return {name: templates.get_template(name.lstrip(".")).render(facts) for name in FILES}


def _templates() -> jinja2.Environment:
    folder = files_of("twistpi").joinpath("etc", "cluster")
    templates = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    # Compose takes a dollar sign for the beginning of a variable.
    templates.filters.update(json=_json, compose=lambda text: _json(text).replace("$", "$$"))
    return templates


def to_write(rendered: Mapping[str, str], directory: str) -> dict[str, str]:
    """Return what of ``rendered`` is to be written to ``directory``: passwords that are there are in use, so they stay."""
    has_secrets = os.path.lexists(os.path.join(directory, SECRETS))
    return {name: text for name, text in rendered.items() if name != SECRETS or not has_secrets}
