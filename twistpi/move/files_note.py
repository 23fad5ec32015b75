"""What is remembered of files between two runs of a move, as JSON.  Pure."""

from __future__ import annotations

import attrs
import orjson

from twistpi.backup.manifest import MissingFile
from twistpi.backup.named_files import Copied
from twistpi.model.peers import Position


@attrs.frozen
class FilesNote:
    """How far the files are copied."""

    place: str
    """Where they are copied to, or from."""
    end: Position
    """The line up to which all that is named was looked at."""
    missing: tuple[MissingFile, ...] = ()
    """What was named, but not there."""
    has_all_missing: bool = True
    """False if more is missing."""

    def text(self) -> str:
        """Return it as JSON."""
        return orjson.dumps(attrs.asdict(self)).decode()


def read_note(text: str) -> FilesNote | None:
    """Return the note in a text; None where there is none, so that every file is looked at again."""
    try:
        fields = orjson.loads(text)
        missing = tuple(MissingFile(**one) for one in fields["missing"])
        return FilesNote(str(fields["place"]), Position(**fields["end"]), missing, bool(fields["has_all_missing"]))
    except (ValueError, TypeError, KeyError):
        return None


def copied_before(note: FilesNote | None, place: str) -> Copied | None:
    """Return what need not be copied to ``place`` again; None when every file has to be looked at."""
    if note is None or note.place != place or not note.has_all_missing:
        return None
    return Copied(note.end, note.missing)
