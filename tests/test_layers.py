"""The layers of the code: which package may import which, where, and how large a module may be."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "twistpi"

LAYERS = {
    "model": 0,
    "http": 1, "simple": 1, "rules": 1, "auth": 1, "archives": 1,
    "s3": 1.5,
    "changelog": 2, "blobs": 2, "view": 2,
    "mirror": 3, "push": 3, "transfer": 3, "gc": 3, "replication": 3, "statistics": 3, "search": 3,
    "cluster": 3, "advisories": 3, "oidc": 3,
    "inventory": 3.5,
    "web": 4,
    "server": 5, "backup": 5, "bundle": 5, "move": 5,
    "workers": 6, "cli": 6,
}  # fmt: skip
"""The packages of ``twistpi`` and their layers; ``s3`` is between ``http``, which it uses, and the stores that use it, and
``inventory`` above what it asks."""
SERVER_LAYER = 5

INSIDE_WEB = (
    "paths", "replies", "traffic", "delivery",
    "transport",
    "commits",
    "receiving",
    "forwarding.headers", "request", "serials",
    "forwarded", "addresses", "errors",
    "access_log", "sessions", "authentication", "access",
    "replication.authentication",
    "forwarding",
    "token_uses",
    "fast.ready_files", "fast.ready", "fast.answers", "file_sender",
    "replication.followers", "replication.snapshots",
    "refused_requests", "policies",
    "components",
    "project_sources", "pages",
    "replication",
    "handlers",
    "browser",
    "front",
    "fast",
    "tool_routes",
    "router", "routes",
)  # fmt: skip
"""The modules and packages of ``twistpi.web``, lower ones first; a module that is named is not part of its package here."""

NOT_BELOW = frozenset({"twisted", "treq", "klein", "sqlite3", "socket", "time", "random"})
"""What layers 0 and 1 do not import."""

INSIDE_FUNCTIONS = {
    ("twistpi/server/options.py", "twistpi.server.service"): "imports the reactor, which twistd chooses first",
    ("twistpi/server/storage.py", "twistpi.server.cluster"): "needs psycopg, which only a cluster has",
    ("twistpi/server/cluster.py", "twistpi.server.kept_views"): "loads botocore, which only a bucket needs",
    ("twistpi/server/optional_bucket.py", "twistpi.server.bucket"): "loads botocore, which only a bucket needs",
    ("twistpi/server/optional_bucket.py", "twistpi.s3.threads"): "loads botocore, which only a bucket needs",
    ("twistpi/server/optional_bucket.py", "twisted.internet"): "has the reactor, which twistd chooses first",
    ("twistpi/server/storage.py", "pip._internal.models.index"): "needed once in a server's life, and perhaps absent",
    ("twistpi/cli/commands/places.py", "twistpi.backup.bucket"): "loads botocore, and imports the reactor",
    ("twistpi/cli/commands/check.py", "twistpi.cli.cluster_check"): "needs psycopg, and loads botocore",
    ("twistpi/cli/commands/inspection.py", "twistpi.cli.diagnostics.cluster_survey"): "needs psycopg, and loads botocore",
    ("twistpi/cli/commands/move.py", "twistpi.move.runs"): "needs psycopg, loads botocore, and imports the reactor",
}
"""The imports that stand inside a function, and why."""

RETIRED_WORDS = re.compile(
    r"askers?|believing|crew|doctoring|doors?|doorway|glance|house|inflight|inflow|keeping|lasting|pouring|reign|sidecars?|spool"
    r"|staff|standing|sweeper|sweeping|telling|touches|troubles?|trusting|wish"
)
"""Words of a former private language, which are no part of any name; ``docs/contributing.rst`` says where things are."""
RETIRED_IN_PROSE = re.compile(
    r"\b(?:askers?|who asks|doors?|doorway|houses?|rooms? of|floors?|wish|glance|sight|trouble|spool|pouring|inflow|crew|staff"
    r"|reign|sweeps?|sweeper|sweeping|doctoring|believing|sidecars?|wiring|whoever)\b",
    re.IGNORECASE,
)
"""The same in documentation, docstrings and comments, and words that make a sentence a riddle."""
LITERAL = re.compile("``[^`]*``")
RETIRED_NAMES = frozenset({"Account", "Board", "Nodes", "Orders", "Outdated", "Place", "Reach", "Serving", "Sight", "Way"})
"""Names that said nothing; as parts of others they are plain English."""
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

LONGEST_MODULE = 350
LONGEST_FUNCTION = 60


@functools.cache
def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module, and every name imported from one as if it were a module, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            assert node.module
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "twistpi" and len(parts) > 1 and not parts[1].startswith("__") else None


def every_module(check: Callable[[Path], None]) -> Callable[[str], None]:
    """Make a test for each package of a ``check`` of one module."""

    @pytest.mark.parametrize("package", sorted({_package(_name(path)) or "" for path in _modules()}))
    def test(package: str) -> None:
        for path in _modules():
            if (_package(_name(path)) or "") == package:
                check(path)

    return test


@every_module
def test_a_module_imports_only_lower_layers_and_its_own_package(path: Path) -> None:
    package = _package(_name(path))
    if package is None:
        return
    for imported, line in _imports(_tree(path)):
        other = _package(imported)
        if other is None or other == package:
            continue
        assert other in LAYERS, f"{path}:{line}: {imported} has no layer"
        allowed = LAYERS[other] < LAYERS[package] or LAYERS[package] >= SERVER_LAYER
        assert allowed, f"{path}:{line}: {package} (layer {LAYERS[package]}) imports {imported} (layer {LAYERS[other]})"


def _place_inside_web(module: str) -> int | None:
    """The place in ``INSIDE_WEB`` of the longest entry that ``module`` belongs to."""
    inside = module.removeprefix("twistpi.web.")
    if inside == module:
        return None
    found = [entry for entry in INSIDE_WEB if inside == entry or inside.startswith(f"{entry}.")]
    assert found, f"{module} has no place in INSIDE_WEB"
    return INSIDE_WEB.index(max(found, key=len))


@every_module
def test_a_module_of_web_imports_only_lower_ones_and_its_own_package(path: Path) -> None:
    place = _place_inside_web(_name(path))
    if place is None:
        return
    modules = set(map(_name, _modules()))
    for imported, line in _imports(_tree(path)):
        other = _place_inside_web(imported) if imported in modules else None
        assert other is None or other <= place, f"{path}:{line}: {INSIDE_WEB[place]} imports {imported}"


@every_module
def test_the_pure_layers_know_no_network_clock_database_or_randomness(path: Path) -> None:
    package = _package(_name(path))
    if package is None or package == "http" or LAYERS[package] > 1:
        return
    for imported, line in _imports(_tree(path)):
        assert imported.split(".")[0] not in NOT_BELOW, f"{path}:{line}: {imported} in layer {LAYERS[package]}"


@every_module
def test_only_the_upper_layers_import_the_reactor(path: Path) -> None:
    package = _package(_name(path))
    if package is not None and LAYERS[package] >= SERVER_LAYER:
        return
    for imported, line in _imports(_tree(path)):
        assert imported != "twisted.internet.reactor", f"{path}:{line}"


def _lazy_imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import):
                    yield inner.names[0].name, inner.lineno
                elif isinstance(inner, ast.ImportFrom):
                    yield str(inner.module), inner.lineno


@every_module
def test_imports_stand_at_the_top_but_for_slow_and_rare_ones(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for imported, line in _lazy_imports(path):
        assert (place, imported) in INSIDE_FUNCTIONS, f"{place}:{line}: {imported}"


def test_every_exception_for_an_import_inside_a_function_is_used() -> None:
    found = {(str(path.relative_to(ROOT)), imported) for path in _modules() for imported, _line in _lazy_imports(path)}
    assert set(INSIDE_FUNCTIONS) <= found


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {_name(path) for path in _modules()}
    graph = {}
    for path in _modules():
        lazy = {line for _imported, line in _lazy_imports(path)}
        found = {imported for imported, line in _imports(_tree(path)) if imported in names and line not in lazy}
        # A package's own __init__ is imported with each of its modules, and imports none of them back.
        graph[_name(path)] = {name for name in found if name != _name(path)}
    graphlib.TopologicalSorter(graph).prepare()


@every_module
def test_a_module_is_short_enough_to_be_read_in_one_go(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{path} has {lines} lines"


@every_module
def test_a_function_is_short_enough_to_be_understood(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{path}:{node.lineno}: {node.name} has {lines} lines"


def _public(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public functions, classes and methods; not what is defined inside a function."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            waiting.extend(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


@every_module
def test_every_module_and_public_name_is_documented(path: Path) -> None:
    tree = _tree(path)
    if path.stat().st_size:
        assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in _public(tree):
        overload = any("setter" in ast.dump(decorator) or "overload" in ast.dump(decorator) for decorator in node.decorator_list)
        assert overload or ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"


def _names(path: Path) -> Iterator[tuple[str, int]]:
    """The names of a module and its package, its classes and functions, their arguments and annotated attributes."""
    yield from ((part, 1) for part in path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target).rpartition(".")[2], node.lineno


@every_module
def test_names_are_words_of_the_field(path: Path) -> None:
    for name, line in _names(path):
        words = (word.lower() for word in _WORD.findall(name))
        is_retired = name.lstrip("_") in RETIRED_NAMES or any(map(RETIRED_WORDS.fullmatch, words))
        assert not is_retired, f"{path}:{line}: {name}"


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Every docstring and every comment, with its line; in strings, what looks like a comment counts as one."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for number, line in enumerate(source.splitlines(), 1):
        if "# " in line:
            yield number, line.partition("# ")[2]


@pytest.mark.parametrize("folder", ["bench", "tests", "twistpi"])
def test_docstrings_and_comments_have_no_retired_word(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, text in _prose(path):
            assert RETIRED_IN_PROSE.findall(LITERAL.sub("", text)) == [], f"{path}:{line}"
