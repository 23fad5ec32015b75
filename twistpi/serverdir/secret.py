"""The secret of a server directory, read from its file."""

from __future__ import annotations

import os
import stat

from twistpi.auth.secret_file import secret_in, what_is_wrong
from twistpi.model.account_errors import SecretRefused
from twistpi.serverdir.layout import Layout

_LONGEST_SECRET = 64 * 1024


def read_secret(serverdir: str, secretfile: str | None) -> bytes:
    """What signs the login tokens of the server directory ``serverdir``: out of ``secretfile``, or its own secret.

    Raises ``SecretRefused`` for a file that is missing, or that is not secret.
    """
    path = Layout(serverdir).secret if secretfile is None else secretfile
    try:
        # Whatever it is, opening it does not wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            content = os.read(descriptor, _LONGEST_SECRET) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
        folder_mode = None if secretfile is None else os.stat(os.path.dirname(os.path.abspath(path))).st_mode
    except OSError as error:
        raise SecretRefused(path, str(error.strerror)) from None
    wrong = what_is_wrong(content, mode, folder_mode)
    if wrong is not None:
        raise SecretRefused(path, wrong)
    return secret_in(content)
