"""Manifests from one store to another: `octo publish` and `octo pull`.

A manifest is its record and the files that it names by checksum. Copying sends the files that the target lacks, each
checked on the way, and the record last. Promises. A reader of the target never sees a manifest whose files are not all
there. What was copied before an interruption is not copied again. The copy has the ID of the original. Nothing is
copied if the record could not be written in the end: because name@version has other content in the target, or because
the target cannot create a file exclusively. The source may not be trustworthy: what its record claims is compared with
its content (the digest of the record, every file, the rows of every column) before the record is written, and a copy
never counts as a build of the target (docs/decisions/0002-claims.md). On the Hugging Face hub all of it is one commit
(`manifests.exports.hub_commit`). Leaves out runs, and resuming within a file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError

from manifests.errors import BROKEN_ARCHIVE, UserError, of_system
from manifests.exports.hub_commit import Head, commit, head_of
from manifests.hub_errors import hub_errors
from manifests.manifest import (
    File,
    Manifest,
    as_copy,
    content_problems,
    copy_files,
    load,
    load_all,
    missing_files,
    put_record,
    record_path,
    resolve,
)
from manifests.progress import progress
from manifests.store import Store


@dataclass(frozen=True)
class Copied:
    """A manifest that is now in the target, and how many files and bytes had to be copied."""

    manifest: Manifest
    files: int
    bytes: int

    def row(self) -> dict[str, Any]:
        """For people."""
        whole = sum(len(family.files) for family in self.manifest.families.values())
        plain = {"manifest": self.manifest.ref, "ID": self.manifest.id, "files": whole, "copied": self.files}
        return plain | {"bytes copied": self.bytes}


def copy(source: Store, ref: str, target: Store, parents: bool = False) -> list[Copied]:
    """Copy the manifest that `ref` names in `source` to `target`; with `parents`, its ancestors first. The last item of
    the list is the manifest itself. UserError for a store that does not answer, a name taken by other content, a
    damaged file, or an ancestor that `source` lacks.
    """
    with reached(source):
        wanted = resolve(source, ref)
        manifests = [*(ancestors(wanted) if parents else ()), wanted]
    with reached(target):
        head = head_of(target)
        there = head.store if head else target
        if not head:
            target.refuse_unless_exclusive()
            _refuse_absent_bucket(target)
        for manifest in manifests:
            _refuse_taken(manifest, there)
        missing = [missing_files(manifest, there) for manifest in manifests]
    with reached(source, target):
        made = _to_hub(head, manifests, missing, target) if head else _to_store(manifests, missing, target)
    return [
        Copied(manifest, len(files), sum(file.bytes for file in files))
        for manifest, files in zip(made, missing, strict=True)
    ]


def _to_hub(head: Head, manifests: list[Manifest], missing: list[list[File]], target: Store) -> list[Manifest]:
    commit(head, [as_copy(manifest, manifest.store) for manifest in manifests], missing)
    return [as_copy(manifest, target) for manifest in manifests]


def _to_store(manifests: list[Manifest], missing: list[list[File]], target: Store) -> list[Manifest]:
    with progress("copy", sum(file.bytes for files in missing for file in files)) as advance:
        return [_checked_copy(manifest, target, advance) for manifest in manifests]


def _checked_copy(manifest: Manifest, target: Store, advance: Callable[..., None]) -> Manifest:
    """`copy_manifest`; if the record is new to `target`, the content is first checked against the digest."""
    copy_files(manifest, target, advance)
    if not target.exists(record_path(manifest.name, manifest.version)):
        place = manifest.store if manifest.store.is_local and not target.is_local else target  # where reading is cheap
        if problems := content_problems(place, manifest):
            said = f"{manifest.ref} in {manifest.store.url} does not have the content that its ID {manifest.id} names"
            raise UserError(
                f"{said}: {'; '.join(problems[:3])}", "It was not copied. Get it again from whoever published it"
            )
    return put_record(as_copy(manifest, target))


def ancestors(manifest: Manifest) -> list[Manifest]:
    """The ancestors of `manifest`, each before its descendants, under every name that it has."""
    known: dict[str, list[Manifest]] = {}
    for one in load_all(manifest.store)[0]:
        known.setdefault(one.id, []).append(one)
    found: dict[str, list[Manifest]] = {}

    def visit(child: Manifest) -> None:
        for parent in child.parents:
            if parent not in known:
                wrong = f"{parent}, which {child.ref} was made from, is not in {manifest.store.url}"
                raise UserError(wrong, "Copy without --parents")
            if parent not in found:
                visit(known[parent][0])
                found[parent] = known[parent]

    visit(manifest)
    return [one for named in found.values() for one in named]


def lacking(manifest: Manifest) -> list[str]:
    """IDs of the parents of `manifest` that its store does not hold."""
    held = {one.id for one in load_all(manifest.store)[0]} if manifest.parents else set()
    return [parent for parent in manifest.parents if parent not in held]


@contextmanager
def reached(*stores: Store) -> Iterator[None]:
    """What remote stores raise (no such bucket or repository, no access, no network) as a UserError that names them."""
    remote = ", ".join(store.url for store in stores if not store.is_local)
    try:
        yield
    except (OSError, BotoCoreError, *hub_errors(), *BROKEN_ARCHIVE) as error:
        if not remote or (isinstance(error, OSError) and of_system(error)):
            raise
        said = " ".join(str(error).split())[:200] or type(error).__name__
        hint = "Check the address, your access and the network; repeat the command to resume"
        raise UserError(f"cannot reach {remote}: {said}", hint) from error


def _refuse_absent_bucket(target: Store) -> None:
    """FileNotFoundError when there is no such bucket: for a file in it the object store only says that the file is
    missing."""
    if not target.is_local and "/" in target.root:
        target.fs.info(target.root.split("/")[0])


def _refuse_taken(manifest: Manifest, target: Store) -> None:
    """UserError when name@version is another content there; `copy_manifest` would say so after copying."""
    if not target.exists(record_path(manifest.name, manifest.version)):
        return
    there = load(target, manifest.name, manifest.version)
    if there.digest != manifest.digest:
        raise UserError(
            f"{manifest.ref} is {there.id} in {target.url}, and {manifest.id} in {manifest.store.url}",
            f"Names are never moved: `octo manifest tag {manifest.id} NAME@VERSION`, then copy that",
        )
