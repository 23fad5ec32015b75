"""The refusals that have to do with uploads; see ``model/errors.py`` for how they read.

Upload tools show the sentence as it stands, from the status line or from the body.
"""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class InvalidUpload(TwistpiError):
    """The upload cannot be taken."""

    status = 400


# File names and archives -------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class VersionNotInFilename(InvalidUpload):
    """filename {filename!r} does not contain version {version!r}"""

    filename: str
    version: str


@attrs.define(auto_exc=True, str=False)
class NotAnArchiveName(InvalidUpload):
    """{filename!r} is not a valid archive name"""

    filename: str


@attrs.define(auto_exc=True, str=False)
class ProjectNotInFilename(InvalidUpload):
    """filename {filename!r} does not match project name {project!r}"""

    filename: str
    project: str


@attrs.define(auto_exc=True, str=False)
class FormDisagrees(InvalidUpload):
    """the form says {field} {given!r}, but {filename!r} holds {found!r}"""

    filename: str
    field: str
    """The form's field, ``name`` or ``version``."""
    given: str
    found: str
    """What the metadata inside of the file says."""


@attrs.define(auto_exc=True, str=False)
class InvalidDistribution(TwistpiError):
    """{filename!r} is not a valid distribution: {reason}"""

    status = 400
    filename: str
    reason: str


# Forms -------------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class MalformedForm(TwistpiError):
    """The form cannot be read: {reason}."""

    status = 400
    reason: str


@attrs.define(auto_exc=True, str=False)
class FormTooLarge(TwistpiError):
    """The form is larger than is taken here, even without its file: {reason}."""

    status = 413
    reason: str


@attrs.define(auto_exc=True, str=False)
class FieldNotText(TwistpiError):
    """The form's field {field} was sent as a file; send it as text."""

    status = 400
    field: str


@attrs.define(auto_exc=True, str=False)
class NoContent(InvalidUpload):
    """content file field not found"""


@attrs.define(auto_exc=True, str=False)
class UploadTooLarge(TwistpiError):
    """The upload is larger than the {limit} bytes that this server takes (its setting max-upload-size)."""

    status = 413
    limit: int
    """Bytes of a request's body."""


# Releases ----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidMetadata(InvalidUpload):
    """invalid metadata: {reason}"""

    reason: str


@attrs.define(auto_exc=True, str=False)
class InvalidAttestations(InvalidUpload):
    """invalid attestations: {reason}"""

    reason: str


@attrs.define(auto_exc=True, str=False)
class DigestDisagrees(InvalidUpload):
    """the form says {field} {given!r}, but what came of {filename!r} has {found!r}"""

    filename: str
    field: str
    """The form's field: ``md5_digest``, ``sha256_digest`` or ``blake2_256_digest``."""
    given: str
    found: str


@attrs.define(auto_exc=True, str=False)
class FileExists(TwistpiError):
    """{filename} already exists in non-volatile index"""

    status = 409
    filename: str


@attrs.define(auto_exc=True, str=False)
class FilenameUsed(TwistpiError):
    """{filename} existed in non-volatile index {index} with other bytes; build a new version instead

    What was removed may come back, but nothing else under its name.
    """

    status = 409
    index: str
    filename: str


@attrs.define(auto_exc=True, str=False)
class ProjectClosed(TwistpiError):
    """project {project} is {state} on {index}, nothing can be uploaded to it"""

    status = 403
    index: str
    project: str
    state: str
    """``archived`` or ``quarantined`` (PEP 792)."""


@attrs.define(auto_exc=True, str=False)
class NoVersionForDocs(InvalidUpload):
    """doczip has no version and {project!r} has no releases to derive one from"""

    project: str


@attrs.define(auto_exc=True, str=False)
class ToxresultForbidden(TwistpiError):
    """No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload."""

    status = 403


@attrs.define(auto_exc=True, str=False)
class NoFileForToxresult(TwistpiError):
    """no release file found at {index}/{path}"""

    status = 404
    index: str
    path: str


# Pushes ------------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidPush(TwistpiError):
    """{reason}"""

    status = 400
    reason: str


@attrs.define(auto_exc=True, str=False)
class NoFilesToPush(TwistpiError):
    """there are no files for {project} {version} on stage {index}"""

    status = 400
    index: str
    project: str
    version: str


@attrs.define(auto_exc=True, str=False)
class NothingToPush(TwistpiError):
    """no release/files found for {project} {version}"""

    status = 404
    project: str
    version: str


@attrs.define(auto_exc=True, str=False)
class ProjectQuarantined(TwistpiError):
    """project {project} is quarantined on {index}, nothing can be pushed from it"""

    status = 403
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class CannotPushTo(TwistpiError):
    """user {user!r} cannot upload to {index!r}"""

    status = 401
    user: str | None
    index: str


@attrs.define(auto_exc=True, str=False)
class FileNotFetched(TwistpiError):
    """the file {path} of {index} went away while it was pushed, try again"""

    status = 503
    index: str
    path: str


# Removals ----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class ReleaseStays(TwistpiError):
    """cannot delete version on non-volatile index"""

    status = 403
    index: str


@attrs.define(auto_exc=True, str=False)
class ProjectStays(TwistpiError):
    """project {project!r} is on non-volatile index {index}"""

    status = 403
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class CachedFilesStay(TwistpiError):
    """the files of a mirror cannot be removed one by one, remove the project {project} from {index} as a whole"""

    status = 403
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class NoFileToRemove(TwistpiError):
    """package '{index}/{path}' doesn't exist"""

    status = 404
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class FileNotCached(TwistpiError):
    """entry has no file data {index}/{path}"""

    status = 404
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class FileGone(TwistpiError):
    """file '{index}/{path}' existed, deleted in later serial"""

    status = 410
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class NoProjectToRemove(TwistpiError):
    """project not found"""

    status = 404
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class NoReleasesOnStage(TwistpiError):
    """project {project!r} not found on stage {index!r}"""

    status = 404
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class NoVersionOnStage(TwistpiError):
    """version {version!r} of project {project!r} not found on stage {index!r}"""

    status = 404
    index: str
    project: str
    version: str


# Marks -------------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidMark(TwistpiError):
    """{reason}"""

    status = 400
    reason: str


@attrs.define(auto_exc=True, str=False)
class MarkedUpstream(TwistpiError):
    """{index} is a mirror: its upstream says which files are yanked and which status projects have"""

    status = 400
    index: str
