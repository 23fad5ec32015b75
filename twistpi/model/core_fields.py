"""The fields of core metadata under the keys of the devpi protocol, which are also the names of most of an upload form's fields.

Sources: "Core metadata specifications" 1.0 to 2.5; the devpi protocol's version data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TEXT_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "Name",
        "version": "Version",
        "metadata_version": "Metadata-Version",
        "summary": "Summary",
        "home_page": "Home-page",
        "author": "Author",
        "author_email": "Author-email",
        "maintainer": "Maintainer",
        "maintainer_email": "Maintainer-email",
        "license": "License",
        "description": "Description",
        "keywords": "Keywords",
        "download_url": "Download-URL",
        "requires_python": "Requires-Python",
        "description_content_type": "Description-Content-Type",
        "license_expression": "License-Expression",
    }
)
"""Key -> header, of the fields that stand once.  A form has ``comment`` as well, which is no field of core metadata."""

LIST_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "platform": "Platform",
        "classifiers": "Classifier",
        "supported_platform": "Supported-Platform",
        "provides": "Provides",
        "requires": "Requires",
        "obsoletes": "Obsoletes",
        "project_urls": "Project-URL",
        "provides_dist": "Provides-Dist",
        "obsoletes_dist": "Obsoletes-Dist",
        "requires_dist": "Requires-Dist",
        "requires_external": "Requires-External",
        "provides_extras": "Provides-Extra",
        "dynamic": "Dynamic",
        "license_file": "License-File",
        "import_names": "Import-Name",
        "import_namespaces": "Import-Namespace",
    }
)
"""Key -> header, of the fields that may be repeated."""
