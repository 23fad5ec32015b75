"""How large the parts of an archive may be; time and memory of looking into one are bounded by these."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limits:
    """What is looked at before an archive is refused."""

    most_members: int = 100_000
    """Members of an archive, and streams that one is compressed as."""
    largest_directory: int = 16 * 1024 * 1024
    """Bytes of a ZIP archive's table of contents."""
    largest_name: int = 1024
    """Characters of a member's path or of a link's target."""
    deepest: int = 100
    """Folders around a member."""
    largest_extension: int = 1024 * 1024
    """Bytes of what a tar archive says of one member beyond its header."""
    most_links: int = 10_000
    """Links in a tar archive."""
    steepest: int = 50
    """Unpacked bytes for one packed byte, over the whole archive; the public index draws the same line."""
    flat_enough: int = 64 * 1024 * 1024
    """Unpacked bytes up to which steepness harms nobody."""
    largest_unpacked: int = 16 * 1024 * 1024 * 1024
    """Bytes of everything in an archive."""
    largest_metadata: int = 8 * 1024 * 1024
    """Bytes of core metadata."""
    largest_headers: int = 1024 * 1024
    """Bytes of core metadata before its body."""
    most_fields: int = 10_000
    """Fields of core metadata, repeated ones counted each time."""

    def most_unpacked(self, size: int) -> int:
        """Bytes that a whole archive of ``size`` bytes may unpack to."""
        return min(self.largest_unpacked, max(self.flat_enough, self.steepest * size))


DEFAULT_LIMITS = Limits()
"""For uploads."""
