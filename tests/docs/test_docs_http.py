"""The page about HTTP lists every route of the server and no other, and its examples are true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.docs.terminals import Terminals, steps
from tests.fakes.live_server import ROOT, LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.conftest import server, upstream
from tests.live.programs import tools_environment

__all__ = ["server", "upstream"]

PAGE = ROOT / "docs" / "http.rst"
PORT = "3141"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PUSH")


def routes_of_the_page() -> set[tuple[str, str]]:
    """Return method and path of each documented route; ``ANY`` stands for every method."""
    found = re.findall(rf"``({'|'.join(_METHODS)}|ANY) (/[^`\s]*)``", PAGE.read_text(encoding="utf-8"))
    return {(each, path) for method, path in found for each in (_METHODS if method == "ANY" else (method,))}


def routes_of_the_program() -> Iterator[tuple[str, str]]:
    """Yield method and path of each route in the modules of ``web/``, for any role."""
    for path in (ROOT / "twistpi" / "web").rglob("*.py"):
        yield from _routes_in(ast.parse(path.read_text(encoding="utf-8")))


def _routes_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) or (isinstance(node, ast.AnnAssign) and node.value is not None):
            names, values = node.targets[0] if isinstance(node, ast.Assign) else node.target, node.value
            pairs = (
                zip(names.elts, values.elts, strict=True)
                if isinstance(names, ast.Tuple) and isinstance(values, ast.Tuple)
                else [(names, values)]
            )
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant | ast.JoinedStr | ast.List):
                    known[name.id] = _value(value, known)
    yield from _routes_with(tree, known)
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Tuple):
            for element in node.iter.elts:
                yield from _routes_with(node, {**known, node.target.id: _value(element, known)})


def _routes_with(tree: ast.AST, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 3 and isinstance(node.elts[1], ast.List | ast.Name):
            path, methods = _value(node.elts[0], known), _value(node.elts[1], known)
            if isinstance(path, str) and path.startswith("/") and isinstance(methods, list) and set(methods) <= set(_METHODS):
                yield from ((method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)) for method in methods)


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    try:
        return eval(compile(ast.Expression(node), "app.py", "eval"), dict(known))
    except (NameError, ValueError, SyntaxError, TypeError, AttributeError):  # not a value that is known here
        return None


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    program, page = set(routes_of_the_program()), routes_of_the_page()
    assert len(program) > 60
    assert program - page == set(), "write these into docs/http.rst"
    assert page - program == set(), "docs/http.rst has routes that do not exist"


@in_reactor
async def test_the_examples_answer_what_the_page_says(server: LiveServer, upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.add_project("six", {wheel_name("six", "1.17.0"): make_wheel("six", "1.17.0")})
    (tmp_path / wheel_name("mypkg", "1.0")).write_bytes(make_wheel("mypkg", "1.0"))
    await deferToThread(server.start, "--upstream", upstream.index_url, environment={"TWISTPI_BCRYPT_COST": "4"})
    terminals = Terminals(tmp_path, tools_environment(tmp_path / "home"))
    page = steps(PAGE.read_text(encoding="utf-8"))
    try:
        await deferToThread(terminals.follow, page, PORT, int(server.url.rpartition(":")[2]))
    finally:
        terminals.close()
