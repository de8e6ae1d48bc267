"""Names that come from data, and the one way in which they become paths.

A name in a record, a table, an archive or a recipe may have been written by a stranger, and `../../.bashrc` is a name.
`below(root, *names)` is how every path below a root is made from such names. Promises: each name is one part of a path
(no separator, no `.` or `..`, no control character, no half surrogate pair, a bounded length), and the path lies inside
the root after every symbolic link on the way is followed; anything else is a UserError before anything is opened. Only
folders that the caller names as `movable`, directly below the root, may themselves be links to another disk.
`Name` and `FileName` are the types of fields of records and recipes that become paths. Leaves out hard links, which
look like files, and changes of the folder between the check and the use.
"""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from manifests.errors import UserError, shortened

NAME_LENGTH = 128
"""Characters of a name that people give: with `.json` behind it, and twice in a path, it still fits a file system."""
PART_BYTES, PATH_BYTES = 255, 2048
"""Bytes of one part of a path, which is what file systems take, and of a path below its root."""

NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}")
"""Names and versions of manifests."""

HINT = "Nothing was read or written there. The name comes from data: correct it where it was made"

_NOT_IN_A_PART = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\]")


def fault(part: object) -> str | None:
    """Why `part` cannot be one part of a path; None when it can."""
    if not isinstance(part, str):
        return "it is not text"
    if not part:
        return "it is empty"
    if part in (".", ".."):
        return "it stands for another folder"
    if found := _NOT_IN_A_PART.search(part):
        return f"it holds {found[0]!r}"
    if len(part) > PART_BYTES or len(part.encode()) > PART_BYTES:
        return f"it is longer than {PART_BYTES} bytes"
    return None


def parts(*names: str) -> tuple[str, ...]:
    """`names`, each checked to be one part of a path; UserError otherwise. For paths that are not in a folder (S3,
    zip)."""
    for name in names:
        if why := fault(name):
            raise UserError(f"{shortened(name)!r} cannot be part of a path: {why}", HINT)
    if sum(map(len, names)) + len(names) > PATH_BYTES:
        raise UserError(f"{shortened('/'.join(names))!r} is too long for a path", HINT)
    return names


def below(root: str | Path, *names: str, movable: Sequence[str] = ()) -> Path:
    """The path of `names`, one below the other, inside the folder `root`; UserError for what would lie outside.

    A folder of `movable` directly below `root` may be a symbolic link to a folder anywhere, which then counts as
    inside.
    """
    path = str(root)
    linked = False
    for depth, name in enumerate(parts(*names)):
        path = f"{path}/{name}"
        if os.path.islink(path):
            if depth == 0 and name in movable:
                _refuse_unless_folder(path)
            else:
                linked = True
    if linked and not _is_inside(path, root, movable):
        raise UserError(
            f"{shortened('/'.join(names))!r} leads out of {root} through a symbolic link",
            "Links out of a store are not followed: remove it, or mount the folder there",
        )
    return Path(path)


def _refuse_unless_folder(link: str) -> None:
    if not os.path.isdir(link):
        raise UserError(
            f"{link} is a symbolic link to {os.readlink(link)}, where there is no folder", "Mount the disk or make it"
        )


def moved(root: str | Path, movable: Sequence[str]) -> tuple[str, ...]:
    """Those of `movable` that are symbolic links directly below `root`."""
    return tuple(name for name in movable if os.path.islink(f"{root}/{name}"))


def _is_inside(path: str, root: str | Path, movable: Sequence[str] = ()) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:  # realpath would return a path that was never resolved
            return False
    homes = [str(root), *(f"{root}/{name}" for name in moved(root, movable))]
    return any(Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home)) for home in homes)


def refuse_links_out(root: str | Path, folder: Path, movable: Sequence[str] = ()) -> None:
    """UserError when a symbolic link somewhere in `folder`, which lies below `root`, leads out of `root`."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(path := f"{here}/{name}") and not _is_inside(path, root, movable):
                raise UserError(f"{path} is a symbolic link that leads out of {root}", "Remove it")


def as_file_name(name: str) -> str:
    """`name`; ValueError unless it is a `FileName`."""
    why = fault(name)
    if not why and len(name) > NAME_LENGTH:
        why = f"it is longer than {NAME_LENGTH} characters"
    if why:
        raise ValueError(f"{shortened(name)!r} cannot name a file: {why}")
    return name


Name = Annotated[str, Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}$")]
"""A name in a recipe or a record that other places refer to."""

FileName = Annotated[str, AfterValidator(as_file_name)]
"""The name of a source, a component or a logical file, in any script: one part of a path."""
