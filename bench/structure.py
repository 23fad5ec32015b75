"""How the code is built, in figures: ``python -m bench.structure [--tree DIR] [--static]``.

``DIR`` is another checkout, as one of an older commit; its server runs in its own ``.venv`` if it has one.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib.util
import io
import os
import re
import statistics
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from bench.builds import PROJECT, Build
from bench.entered_files import entered_files

_PRIVATE = re.compile(r"_[^_]\w*")
_COMMENT = re.compile(r"#\s*(type: ignore|fmt: skip|fmt: off)")


@attrs.frozen
class Module:
    """A parsed file."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def read_all(cls, folder: Path) -> list[Module]:
        """Return every module below ``folder``."""
        texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
        return [cls(path, text, ast.parse(text)) for path, text in texts.items()]

    @property
    def lines(self) -> int:
        """All lines, with comments and blank ones."""
        return len(self.text.splitlines())


def error_classes(modules: Sequence[Module]) -> set[str]:
    """Return the names of the classes that derive from an exception, directly or through each other."""
    bases = {
        node.name: {_last_name(base) for base in node.bases}
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}
    found: set[str] = set()
    while more := {
        name for name, of in bases.items() if name not in found and any(b in known | found or b.endswith("Exception") for b in of)
    }:
        found |= more
    return found


def any_in_annotations(module: Module) -> int:
    """Return how often ``Any`` stands in the annotation of an argument, a result, a variable or a field."""
    count = 0
    for node in ast.walk(module.tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.AST):
                count += sum(_last_name(part) == "Any" for part in ast.walk(annotation))
    return count


def suppressions(module: Module) -> Counter[str]:
    """Return how often each kind of comment silences a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    comments = (token.string for token in tokens if token.type == tokenize.COMMENT)
    return Counter(found for comment in comments for found in _COMMENT.findall(comment))


def private_uses_of_twisted(module: Module, private: set[str], own: set[str]) -> int:
    """Return how many imports and attributes are ``private`` names of Twisted, and not ``own`` names of the module's package."""
    count = 0
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted."):
            names = (f"{node.module}.{alias.name}".split(".") for alias in node.names)
            count += sum(any(_PRIVATE.fullmatch(part) for part in parts) for parts in names)
        elif isinstance(node, ast.Attribute):
            count += node.attr in private and node.attr not in own
    return count


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that a module defines: functions, classes, variables, and attributes of ``self`` that it sets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                continue
            name = _last_name(node)
        else:
            continue
        if _PRIVATE.fullmatch(name):
            yield name


def _last_name(node: ast.AST) -> str:
    """Return the name or the last attribute that ``node`` is, or an empty string."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _private_names_of_twisted() -> set[str]:
    origin = importlib.util.find_spec("twisted")
    assert origin
    assert origin.origin
    paths = (path for path in Path(origin.origin).parent.rglob("*.py") if "test" not in path.parts)
    return {name for path in paths for name in private_names(ast.parse(path.read_bytes()))}


def static_figures(tree: Path) -> list[tuple[str, str]]:
    """Return name and value of each figure that the text of ``tree`` tells."""
    modules = Module.read_all(tree / "twistpi")
    sizes = [module.lines for module in modules]
    own: dict[Path, set[str]] = {}
    for module in modules:
        own.setdefault(module.path.parent, set()).update(private_names(module.tree))
    private = _private_names_of_twisted()
    uses = sum(private_uses_of_twisted(module, private, own[module.path.parent]) for module in modules)
    silenced = sum((suppressions(module) for module in modules), Counter())
    comments = ", ".join(f"{count} {name}" for name, count in sorted(silenced.items()))
    tests = sum(module.lines for module in Module.read_all(tree / "tests"))
    return [
        ("product modules / lines", f"{len(modules)} / {sum(sizes):,}"),
        ("module median / p90", f"{statistics.median(sizes):.0f} / {statistics.quantiles(sizes, n=10)[8]:.0f}"),
        ("error classes", str(len(error_classes(modules)))),
        ("Any in annotations", str(sum(map(any_in_annotations, modules)))),
        ("silenced tools and Twisted's private names", f"{silenced.total() + uses} ({comments}, {uses} private names)"),
        ("test code per product code", f"{tests / sum(sizes):.2f}"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.structure", description=__doc__.split(":", maxsplit=1)[0])
    parser.add_argument("--tree", type=Path, default=PROJECT, metavar="DIR", help="another checkout than this one")
    parser.add_argument("--static", action="store_true", help="start no server")
    parser.add_argument("--files", action="store_true", help="name the files that a page enters")
    options = parser.parse_args(arguments)
    tree = options.tree.resolve()
    figures = static_figures(tree)
    pages: tuple[list[str], ...] = ()
    if not options.static:
        with tempfile.TemporaryDirectory(prefix="twistpi-structure-") as folder:
            pages = entered_files(Build.of_checkout(tree), Path(folder))
        figures.insert(2, ("files entered by a cold / hot project page", " / ".join(str(len(files)) for files in pages)))
    for name, value in figures:
        print(f"{name:<44}{value}")
    for kind, files in zip(("cold", "hot"), pages if options.files else (), strict=False):
        print(f"\n{kind}:", *(os.path.relpath(file, tree) for file in files), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
