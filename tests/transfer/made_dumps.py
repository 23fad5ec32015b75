"""Exports of devpi-server, made by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.distributions import sdist_of, wheel_of

WHEEL, SDIST = wheel_of("hello", "1.0"), sdist_of("hello", "1.0")
DOCS, RESULT, CACHED = b"documentation", b'{"testenvs": {}}', b"of the upstream"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$iNFay/l/z/m/11pLqfV+bw$kTAqkvRhDSyR1kblmWZYS26mpRNZKvYnn8qcJeSOmS0"
AT = "2019-05-01T10:20:30Z"
LOG = [{"what": "upload", "who": "ann", "when": [2019, 5, 1, 10, 20, 30], "dst": "ann/dev"}]
Dump = dict[str, Any]


def entry(kind: str, relpath: str, content: bytes, **more: Any) -> Dump:
    """The entry of a file."""
    sha256 = hashlib.sha256(content).hexdigest()
    mapping = {"last_modified": "Wed, 01 May 2019 10:20:30 GMT", "hashes": {"sha256": sha256}, "hash_spec": f"sha256={sha256}"}
    return {
        "type": kind,
        "projectname": "hello",
        "version": "1.0",
        "relpath": relpath,
        "entrymapping": mapping | more.pop("entrymapping", {}),
        "log": LOG,
        **more,
    }


def write_dump(folder: Path, version: str = "2", change: Callable[[Dump], object] = lambda dump: None) -> Path:
    """Write an export with one of everything; ``change`` may change what ``dataindex.json`` says."""
    folder.mkdir(parents=True)
    files = {"a/" + WHEEL.filename: WHEEL.content, "a/" + SDIST.filename: SDIST.content, "hello-1.0.doc.zip": DOCS}
    result = f"{WHEEL.filename}.toxresult-20190501102030-0"
    files |= {f"a/{result}": RESULT, "up-2.0.tar.gz": CACHED}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    stage: Dump = {"type": "stage", "bases": ["ann/up"], "acl_upload": ["ann"], "mirror_whitelist": ["hello"], "title": "work"}
    mirror: Dump = {"type": "mirror", "mirror_url": "https://upstream.example/simple/", "volatile": False}
    metadata = {"name": "Hello", "version": "1.0", "summary": "é", "requires_python": ">=3.8", "license": "", "+elinks": []}
    projects: Dump = {"hello": {"1.0": metadata, "0.1-old": {"name": "hello"}}}
    cached: Dump = {"up": {"2.0": {"name": "up", "version": "2.0", "requires_python": ">=3.9", "yanked": "bad"}}}
    if version == "3":
        stage = {
            "type": "local", "bases": ["ann/up"], "acl_upload": ["ann"], "title": "work",
            "project_inheritance_rules": ["block type:remote if local_exists"],
        }  # fmt: skip
        mirror = {"type": "remote", "remote_url": "https://upstream.example/simple/", "volatile": False}
        own = {"hello": {"name": "hello", "inheritance_rules": ["allow all"]}}
        projects = {name: {"config": own[name], "versions": versions} for name, versions in projects.items()}
        cached = {name: {"config": {}, "versions": versions} for name, versions in cached.items()}
    upstream = {"url": "https://upstream.example/up-2.0.tar.gz"}
    dump: Dump = {
        "users": {
            "root": {"username": "root", "pwhash": HASH, "created": AT},
            "ann": {"username": "ann", "pwhash": HASH, "created": AT, "modified": "2020-01-01T00:00:00Z", "email": "a@b.example"},
        },
        "indexes": {
            "ann/dev": {
                "files": [
                    entry("toxresult", f"a/{result}", RESULT, for_entrypath=f"ann/dev/+f/a/b/{WHEEL.filename}"),
                    entry("releasefile", f"a/{WHEEL.filename}", WHEEL.content),
                    entry("releasefile", f"a/{SDIST.filename}", SDIST.content),
                    entry("doczip", "hello-1.0.doc.zip", DOCS),
                ],
                "indexconfig": stage,
                "projects": projects,
            },
            "ann/up": {
                "indexconfig": mirror,
                "projects": cached,
                "files": [
                    entry("releasefile", "up-2.0.tar.gz", CACHED, projectname="up", version="2.0", entrymapping=upstream, log=[])
                ],
            },
        },
        "dumpversion": version,
    }
    change(dump)
    (folder / "dataindex.json").write_text(json.dumps(dump))
    return folder
