"""Where a member of an archive would be unpacked to: always below the folder it is unpacked in, or it is refused."""

from __future__ import annotations

import re

import attrs

from twistpi.archives.limits import Limits
from twistpi.archives.source import Source, shown

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def member_path(source: Source, name: str, limits: Limits) -> tuple[str, ...]:
    """The parts of ``name``, without empty ones and ``.``; raises ``InvalidDistribution`` when it leads elsewhere."""
    if len(name) > limits.largest_name:
        raise source.refusal(f"the name of a member is too long: {shown(name)}")
    if _CONTROLS.search(name):
        raise source.refusal(f"the name of a member contains a control character: {shown(name)}")
    as_windows_has_it = name.replace("\\", "/")
    if as_windows_has_it.startswith("/") or _DRIVE.match(name):
        raise source.refusal(f"a member has an absolute name: {shown(name)}")
    if ".." in as_windows_has_it.split("/"):
        raise source.refusal(f"a member leads out of the archive: {shown(name)}")
    path = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(path) > limits.deepest:
        raise source.refusal(f"a member lies too deep: {shown(name)}")
    return path


@attrs.define
class TopFolder:
    """The one folder in which an sdist has everything (PEP 625); its name does not matter."""

    source: Source
    name: str | None = None

    def take(self, path: tuple[str, ...], *, is_folder: bool) -> None:
        """Note one more member; raises ``InvalidDistribution`` for one outside of the folder."""
        if not path and is_folder:
            return
        if len(path) < 2 and not is_folder:
            raise self.source.refusal(f"{shown('/'.join(path))} lies outside of its one folder")
        if self.name is None:
            self.name = path[0]
        if path[0] != self.name:
            raise self.source.refusal(f"it has more than one folder: {shown(self.name)} and {shown(path[0])}")

    def finish(self) -> None:
        """Refuse an archive without the folder."""
        if self.name is None:
            raise self.source.refusal("it is empty")


@attrs.define
class Links:
    """The links of an archive, all of which must stay inside of it."""

    source: Source
    limits: Limits
    symbolic: set[tuple[str, ...]] = attrs.Factory(set)
    beside: set[tuple[str, ...]] = attrs.Factory(set)
    """Where hard links are, and what they lead to."""

    def take(self, path: tuple[str, ...], target: str, *, is_hard: bool) -> None:
        """Note the link at ``path``; raises ``InvalidDistribution`` when ``target`` may lie outside.

        A symbolic link's target is relative to the folder of the link.  Its steps up must come first: behind a folder that is a
        link itself, a step up leads anywhere.  A hard link's target is a path of the archive.
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
        """Refuse links below or to symbolic ones: how far up those lead cannot be told from their names."""
        for path in (*self.symbolic, *self.beside):
            longest = len(path) + (path in self.beside)
            if any(path[:length] in self.symbolic for length in range(1, longest)):
                raise self.source.refusal(f"the link {shown('/'.join(path))} lies below or leads to another link")
