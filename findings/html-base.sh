#!/usr/bin/env bash
# pip, uv, unearth and poetry install nothing from an HTML page whose <base> is relative.
#
# The simple repository API: a page is valid HTML5. HTML (section 4.2.3): the href of <base> is any valid URL, and one that is relative counts from
# the page, as in browsers and pypi-simple. The installers resolve links against it as it stands, and have an address without a host.
#
# Seen with pip 26.3, uv 0.13.9, unearth 0.19.0, poetry 2.5.1, pypi-simple 1.8.0, for <base href="/files/">:
#   pip: failed    uv: failed    unearth: failed    poetry: failed    pypi-simple: http://127.0.0.1:PORT/files/sample-1.0-py3-none-any.whl
. "$(dirname "$0")/prepare"
prepare uv==0.13.9 unearth==0.19.0 poetry==2.5.1 pypi-simple==1.8.0
venv/bin/python - <<'PYTHON'
import sys, tempfile
import loopback
from poetry.core.constraints.version import Version
from poetry.repositories.legacy_repository import LegacyRepository
from pypi_simple import PyPISimple
from unearth import PackageFinder

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
address = index.add_file(name, body)["url"]


def unearth():
    finder = PackageFinder(index_urls=[index.simple], trusted_hosts=["127.0.0.1"])
    finder.download_and_unpack(finder.find_best_match("sample").best.link, tempfile.mkdtemp(dir="."))


def poetry():
    LegacyRepository("sample", index.simple.rstrip("/"), disable_cache=True).package("sample", Version.parse("1.0"))


def is_successful(tool):
    try:
        tool()
    except Exception:
        return False
    return True


def seen(head, link):
    index.add_html("sample", head, f'<a href="{link}">{name}</a>')
    done = {"pip": loopback.pip_install(index.simple, "sample")[0], "uv": loopback.uv_install(index.simple, "sample")[0]}
    done |= {"unearth": is_successful(unearth), "poetry": is_successful(poetry)}
    (package,) = PyPISimple(index.simple).get_project_page("sample").packages
    done["pypi-simple"] = package.url == index.url + address
    print(head, f"<a href={link!r}>", done)
    return done


plain = seen("", address)
base = seen('<base href="/files/">', name)
everywhere = dict.fromkeys(plain, True)
sys.exit((plain, base) != (everywhere, dict.fromkeys(plain, False) | {"pypi-simple": True}))
PYTHON
