"""Jobs of a build service publish without a password."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.threads import deferToThread

from tests.fakes.certificates import write_certificate
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import Document, FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.test_live_commands import CHEAP, twistpi

KEY = rsa.generate_private_key(65537, 2048)


def be_a_build_service(fake: FakeUpstream) -> None:
    """Publish the keys of an issuer."""
    public = {**jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "one"}
    description = {"issuer": fake.url, "jwks_uri": f"{fake.url}/keys"}
    fake.documents["/.well-known/openid-configuration"] = Document(json.dumps(description).encode())
    fake.documents["/keys"] = Document(json.dumps({"keys": [public]}).encode())


def offer_token(fake: FakeUpstream, audience: str, number: int) -> None:
    """Have the service hand a token to its job."""
    now = int(time.time())
    claims = {"iss": fake.url, "aud": audience, "iat": now, "exp": now + 300, "sub": "repo:acme/hello", "jti": str(number)}
    token = jwt.encode({**claims, "repository": "acme/hello"}, KEY, "RS256", {"kid": "one"})
    fake.documents["/token"] = Document(json.dumps({"value": token}).encode(), content_type="application/json")


@in_reactor
async def test_uv_publishes_with_the_identity_of_their_job(server: LiveServer, upstream: FakeUpstream, tmp_path: Path) -> None:
    be_a_build_service(upstream)
    key, certificate = write_certificate(tmp_path)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    files = []
    for name, version in (("hello", "1.0"), ("other", "1.0")):
        files.append(tmp_path / wheel_name(name, version))
        files[-1].write_bytes(make_wheel(name, version))

    def ask(method: str, path: str, body: Any = None, token: str = "") -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.url}{path}", None if body is None else json.dumps(body).encode(), headers)
        request.method = method
        if token:
            request.add_header("X-Devpi-Auth", token)
        with urllib.request.urlopen(request, timeout=60, context=trusting) as answer:
            return json.loads(answer.read())

    def publish(number: int, audience: str, *command: str) -> subprocess.CompletedProcess[str]:
        offer_token(upstream, audience, number)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("UV_")},
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{upstream.url}/token?job=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a secret of the job",
            "UV_INSECURE_HOST": "127.0.0.1",  # it takes no certificate that is its own authority
            "HOME": str(tmp_path),
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    def work() -> None:
        server.start("--listen", endpoint, environment=CHEAP)
        twistpi(server, "passwd", "--stdin", "root", told="secret")
        trusted = [f"hello {upstream.url} repository=acme/hello"]
        login = ask("POST", "/+login", {"user": "root", "password": "secret"})["result"]["password"]
        auth = b64encode(f"root:{login}".encode()).decode()
        ask("PUT", "/root/dev", {"type": "stage", "bases": [], "trusted_publishers": trusted}, auth)
        audience = ask("GET", "/_/oidc/audience")["audience"]
        url, tools = f"{server.url}/root/dev/", Path(sys.executable).parent
        uv = (str(tools / "uv"), "publish", "--trusted-publishing", "always", "--publish-url", url)
        done = publish(1, audience, *uv, str(files[0]))
        assert done.returncode == 0, done.stderr
        done = publish(2, audience, *uv, str(files[1]))
        assert done.returncode != 0, "it is no token for this project"
        assert list(ask("GET", "/root/dev/hello")["result"]) == ["1.0"]
        server.end()

    await deferToThread(work)
