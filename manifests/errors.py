"""The one exception for what a user can put right.

`UserError` says what is wrong, where, and what to do next, in one line; the front door prints it on stderr without a
traceback. So does what `of_system` makes of a full disk or a missing right. Everything else that is raised is a fault
of ours and keeps its traceback.
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
"""What reading a zip or tar raises that is damaged, encrypted or packed by an unknown method."""


def in_one_line(text: str) -> str:
    """`text` on one line, with escapes in place of control characters: a name from data may steer a terminal."""
    spaced = re.sub(r"[\t\n\r\v\f\x85\u2028\u2029]+", " ", text)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], spaced)


def shortened(value: object, most: int = 60) -> str:
    """`value` as a message shows it: of more than `most` characters the beginning and the end."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 17]}…{text[-16:]}"


class UserError(Exception):
    """Something the user can put right. `hint` is the next thing to do, as a sentence or a command."""

    def __init__(self, what: str, hint: str = ""):
        what, hint = in_one_line(what), in_one_line(hint)
        self.what, self.hint = what, hint
        super().__init__(f"{what}. {hint}" if hint else what)


def of_system(error: OSError) -> UserError | None:
    """A full disk or a missing right as a UserError; None for any other error of the operating system."""
    said = " ".join(str(error).split())
    if error.errno in FULL:
        return UserError(said, "Make room, or choose another --store; repeat the same command to resume")
    if error.errno in FORBIDDEN:
        return UserError(said, "Choose a folder that you may read and write")
    return None
