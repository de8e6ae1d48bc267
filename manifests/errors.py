"""The one exception for mistakes that a user can correct.

`UserError` says in one line what is wrong, where, and what to do next; the command line prints it on stderr without a
traceback. `of_system` turns a full disk or a missing permission into one. Every other exception is a bug of this
project and keeps its traceback.
"""

import errno
import lzma
import re
import struct
import tarfile
import zipfile
import zlib

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
)
"""Raised when a zip or tar file is damaged, encrypted, or compressed with an unknown method."""


def in_one_line(text: str) -> str:
    """`text` on one line, with control characters escaped: a name from data could otherwise control the terminal."""
    spaced = re.sub(r"[\t\n\r\v\f\x85\u2028\u2029]+", " ", text)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], spaced)


def shortened(value: object, most: int = 60) -> str:
    """`value` as a message shows it: of more than `most` characters the beginning and the end."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 17]}…{text[-16:]}"


class UserError(Exception):
    """A mistake that the user can correct. `hint` is the next thing to do, as a sentence or a command."""

    def __init__(self, what: str, hint: str = ""):
        what, hint = in_one_line(what), in_one_line(hint)
        self.what, self.hint = what, hint
        super().__init__(f"{what}. {hint}" if hint else what)


def of_system(error: OSError) -> UserError | None:
    """A UserError for a full disk or a missing permission; None for any other error of the operating system."""
    said = " ".join(str(error).split())
    if error.errno in FULL:
        return UserError(said, "Make room, or choose another --store; repeat the same command to resume")
    if error.errno in FORBIDDEN:
        return UserError(said, "Choose a folder that you may read and write")
    return None
