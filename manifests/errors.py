"""The one exception for what a user can put right.

`UserError` says what is wrong, where, and what to do next, in one line; the front door prints it on stderr without a
traceback. So does what `of_system` makes of a full disk or a missing right. Everything else that is raised is a fault
of ours and keeps its traceback.
"""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


class UserError(Exception):
    """Something the user can put right. `hint` is the next thing to do, as a sentence or a command."""

    def __init__(self, what: str, hint: str = ""):
        self.what, self.hint = what, hint
        super().__init__(f"{what}. {hint}" if hint else what)


def of_system(error: OSError) -> UserError | None:
    """A full disk or a missing right as a UserError; None for any other error of the operating system."""
    said = " ".join(str(error).split())
    if error.errno in FULL:
        return UserError(said, "Make room, or choose another --store; the same command goes on where it stopped")
    if error.errno in FORBIDDEN:
        return UserError(said, "Choose a place that you may read and write")
    return None
