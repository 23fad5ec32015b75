"""The fields of a release's files that are their own: from the core metadata that is stored beside each wheel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.archives.core_metadata import parse_core_metadata
from twistpi.blobs.address import blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.errors import InvalidDistribution
from twistpi.model.records import NOTHING, Json, KnownFile
from twistpi.model.releases import Release
from twistpi.rules.releases import differing_fields

_MOST: Final = 100
"""Files of a release whose metadata is read for one answer."""
_LARGEST: Final = 256 * 1024
"""Bytes of core metadata that is read; nearly all of a larger one is its description."""


@attrs.frozen(eq=False)
class OwnMetadata:
    """Reads the core metadata of wheels."""

    _blobs: IBlobs

    def of(self, release: Release) -> Mapping[str, Mapping[str, Json]]:
        """Return file name -> the fields in which a wheel of ``release`` differs from it.  Blocking.

        Of at most 100 wheels; metadata that is not on this disk, that cannot be read or is larger than 256 KiB counts as equal.
        """
        if len(release.files) < 2:
            return NOTHING  # it has the metadata of its only file
        files = [file.known for file in release.files if file.known.metadata_blob_sha256 and file.known.metadata_sha256]
        read = ((file.link.filename, self._fields(file)) for file in files[:_MOST])
        return differing_fields({filename: fields for filename, fields in read if fields}, release.metadata)

    def _fields(self, file: KnownFile) -> Mapping[str, Json]:
        if (file.metadata_size or 0) > _LARGEST:
            return NOTHING
        filename = file.link.filename
        try:
            with self._blobs.open(metadata_address(blob_address(file.metadata_blob_sha256 or "", filename))) as blob:
                return parse_core_metadata(blob.read(_LARGEST), filename, is_strict=False).fields
        except (OSError, InvalidDistribution):
            return NOTHING
