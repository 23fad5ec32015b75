"""Paths and links in an archive.  All must stay below the folder that the archive is unpacked in."""

from __future__ import annotations

import re

import attrs

from twistpi.archives.source import Limits, Source, shown

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def member_path(source: Source, name: str, limits: Limits) -> tuple[str, ...]:
    """Return the parts of ``name``, without empty ones and ``.``; raise ``InvalidDistribution`` when it leads elsewhere."""
    if len(name) > limits.largest_name:
        raise source.refusal(f"the name of a member is too long: {shown(name)}")
    if _CONTROLS.search(name):
        raise source.refusal(f"the name of a member contains a control character: {shown(name)}")
    on_windows = name.replace("\\", "/")
    if on_windows.startswith("/") or _DRIVE.match(name):
        raise source.refusal(f"a member has an absolute name: {shown(name)}")
    if ".." in on_windows.split("/"):
        raise source.refusal(f"a member leads out of the archive: {shown(name)}")
    path = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(path) > limits.deepest:
        raise source.refusal(f"a member lies too deep: {shown(name)}")
    return path


@attrs.define
class TopFolder:
    """The one folder that holds all of an sdist (PEP 625); its name does not matter."""

    source: Source
    name: str | None = None

    def take(self, path: tuple[str, ...], *, is_folder: bool) -> None:
        """Record a member; raise ``InvalidDistribution`` for one outside of the folder."""
        if not path and is_folder:
            return
        if len(path) < 2 and not is_folder:
            raise self.source.refusal(f"{shown('/'.join(path))} lies outside of its one folder")
        if self.name is None:
            self.name = path[0]
        if path[0] != self.name:
            raise self.source.refusal(f"it has more than one folder: {shown(self.name)} and {shown(path[0])}")

    def finish(self) -> None:
        """Raise ``InvalidDistribution`` for an archive without the folder."""
        if self.name is None:
            raise self.source.refusal("it is empty")


@attrs.define
class Links:
    """The links of an archive, all of which must stay inside of it."""

    source: Source
    limits: Limits
    symbolic: set[tuple[str, ...]] = attrs.Factory(set)
    beside: set[tuple[str, ...]] = attrs.Factory(set)
    """Paths of hard links and of their targets."""

    def take(self, path: tuple[str, ...], target: str, *, is_hard: bool) -> None:
        """Record the link at ``path``; raise ``InvalidDistribution`` when ``target`` may lie outside.

        A symbolic link's target is relative to the folder of the link.  Its ``..`` must come first, since behind a folder that is
        a link itself they lead anywhere.  A hard link's target is a path of the archive.
        """
        parts = tuple(part for part in target.replace("\\", "/").split("/") if part not in ("", "."))
        if is_hard:
            self.beside |= {path, parts}
            stays = parts[:1] == path[:1] and ".." not in parts
        else:
            self.symbolic.add(path)
            up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
            # The top folder is as far as a link may go.
            stays = up <= len(path) - 2 and ".." not in parts[up:]
        is_strange = not target or len(target) > self.limits.largest_name or len(parts) > self.limits.deepest
        if not stays or is_strange or target.startswith(("/", "\\")) or _DRIVE.match(target) or _CONTROLS.search(target):
            raise self.source.refusal(f"the link {shown('/'.join(path))} leads out of the archive, to {shown(target)}")
        if len(self.symbolic) + len(self.beside) > self.limits.most_links:
            raise self.source.refusal("it has too many links")

    def finish(self) -> None:
        """Raise ``InvalidDistribution`` for links below or to symbolic ones: where those lead cannot be told from their names."""
        for path in (*self.symbolic, *self.beside):
            longest = len(path) + (path in self.beside)
            if any(path[:length] in self.symbolic for length in range(1, longest)):
                raise self.source.refusal(f"the link {shown('/'.join(path))} lies below or leads to another link")
