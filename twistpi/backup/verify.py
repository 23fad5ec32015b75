"""Reading a backup back: each file with its digest, the log with its chain.  What is damaged there is copied again."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from twistpi.backup.blob_state import address_of, blob_path, what_is_wrong
from twistpi.backup.history import CHANGELOG, Span, brought_log, describe_serials, find_manifests, find_spans, load_manifests
from twistpi.backup.manifest import Manifest
from twistpi.backup.named_files import AT_ONCE, Progress
from twistpi.backup.store import BackupStore
from twistpi.blobs.address import sha256_of
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import segment_name
from twistpi.changelog.reader import read_lines
from twistpi.changelog.summary import lines_digest, summarised_serials, summary_name, summary_path
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import LogDamaged
from twistpi.replication.missing_blobs import Key, Naming, addresses_in
from twistpi.server.directory import Layout
from twistpi.view.read import NamedBlob, Reader
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark


@attrs.define(eq=False)
class Verification:
    """Verifies what the server has now; ``reader`` is of its view."""

    _serverdir: str
    _reader: Reader
    _store: BackupStore
    _progress: Progress
    _tree: Tree = attrs.field(init=False)
    _backed_up_to: Position = attrs.field(default=BEGINNING, init=False)
    _excused: set[Key] = attrs.field(factory=set, init=False)
    """What need not be in the backup: it came later, or was missing on the server when that was backed up."""
    files: int = attrs.field(default=0, init=False)
    """Files that were read back."""
    replaced: int = attrs.field(default=0, init=False)
    """How many of them were damaged or gone, and were copied again; those that came after the backup do not count."""
    lost: list[str] = attrs.field(factory=list, init=False)
    """The names of those that the server does not have either."""
    history: list[str] = attrs.field(factory=list, init=False)
    """What is damaged of the log of former backups."""

    def __attrs_post_init__(self) -> None:
        self._tree = Tree(self._serverdir)

    def run(self, manifest: Manifest) -> None:
        """Verify the log of ``manifest``, that of former ones, and all files.

        Raise ``TwistpiError`` when the log of ``manifest`` is damaged, and ``OSError``.
        """
        self._verify_log(Span.of(manifest))
        self._verify_former(manifest)
        self._backed_up_to = manifest.end
        self._excused = {(one.digits, one.filename) for one in manifest.missing}
        total, done = self._reader.count_files(), 0
        mark: Mark | None = FIRST
        while mark is not None:
            named, mark = self._reader.named_blobs(mark, AT_ONCE)
            self._verify(named)
            done += len(named)
            self._progress("verified files", min(done, total), total)

    def _verify_log(self, span: Span) -> None:
        damage = self._find_damage(span)
        if damage is not None:
            name, reason = damage
            advice = f"Remove {name} from the folder {CHANGELOG} of the backup, and run this again: it is copied anew"
            raise TwistpiError(f"The backup {self._store.url} is damaged: {reason}. {advice}.")

    def _verify_former(self, manifest: Manifest) -> None:
        """Verify what only former backups need of the log, which the server may not have any more."""
        if not summarised_serials(self._store.names(CHANGELOG)):
            return
        spans = find_spans(load_manifests(self._store, find_manifests(self._store)))
        for span in (span for span in spans if span.begin != manifest.begin):
            damage = self._find_damage(span)
            if damage is not None:
                name, reason = damage
                serials, remedy = describe_serials([span]), "from an archive of the changelog or from another backup"
                self.history.append(f"the serials {serials} cannot all be restored any more: {reason}; copy {name} {remedy}")

    def _find_damage(self, span: Span) -> tuple[str, str] | None:
        """Return the name of a file of the log that is damaged, and what is wrong with it."""
        base, end, last = span.begin.base, span.end, None
        with brought_log(self._store, span) as folder:
            try:
                if span.begin.summary is not None:
                    found = lines_digest(summary_path(folder, base.serial))
                    if found != span.begin.summary:
                        reason = f"the summary of the entries up to {base.serial} has the SHA-256 {found} instead of"
                        return summary_name(base.serial), f"{reason} {span.begin.summary}"
                for line in read_lines(folder, Disk(), base, end.serial):
                    last = line.position
            except LogDamaged as damage:
                return damage.segment, f"serial {damage.serial}, offset {damage.offset}: {damage.reason.partition(';')[0]}"
        return None if last == end else (segment_name(end.segment), f"its log does not lead to serial {end.serial}")

    def _verify(self, named: Sequence[NamedBlob]) -> None:
        paths = {blob_path(address_of(one.blob)): one for one in named}
        folder = self._store.bring(list(paths))
        bad = [path for path, one in paths.items() if _digest(os.path.join(folder, path)) != one.blob.sha256]
        self.files += len(paths)
        if bad:
            self._excuse_later()
        fit = [path for path in bad if what_is_wrong(self._tree, paths[path].blob) is None]
        guilty = {path for path in bad if (paths[path].blob.digits, paths[path].blob.filename) not in self._excused}
        self.lost += [paths[path].blob.filename for path in guilty.difference(fit) if paths[path].is_private]
        if fit:
            self._store.remove(fit)
            self._store.put(self._serverdir, fit)
            self.replaced += len(guilty.intersection(fit))

    def _excuse_later(self) -> None:
        """Find what the server's entries after the backup name."""
        for line in read_lines(Layout(self._serverdir).changelog, Disk(), self._backed_up_to):
            self._backed_up_to = line.position
            for change in decode_content(line.body, line.serial).changes:
                if isinstance(change, Naming):
                    self._excused |= {(one.digits, one.filename) for one in addresses_in(change, self._reader)}


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return sha256_of(file)
    except FileNotFoundError:
        return None
