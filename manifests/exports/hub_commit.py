"""Publishing to the Hugging Face hub: what a data set's repository lacks of some manifests, as one commit.

The hub has no file that is created exclusively, but its commits can name their parent, and one whose parent is no
longer the head of the branch is refused. Promises. A reader of the repository sees a manifest whole or not at all. If
two publish at once, one succeeds and the other gets an error. Every file is checked on the way. The hub recognises by
its checksum what was uploaded before an interruption. Leaves out creating a repository, and logging in (`hf auth
login`, or HF_TOKEN).
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import disable_progress_bars

from manifests.errors import UserError
from manifests.manifest import File, Manifest, record_bytes, record_path
from manifests.store import Store, file_sha256

PLACE = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Head:
    """The present state of a branch in a data set's repository: its last commit, and the folder of the store."""

    repository: str
    branch: str
    commit: str
    folder: str

    @property
    def store(self) -> Store:
        """The files at this commit, whatever happens to the branch."""
        return Store(f"hf://datasets/{self.repository}@{self.commit}/{self.folder}".rstrip("/"))

    def path(self, path: str) -> str:
        """A path of the store as the repository knows it."""
        return f"{self.folder}/{path}".lstrip("/")


def head_of(store: Store) -> Head | None:
    """Where publishing to `store` would add a commit; None if it is not on the hub. UserError for a store that names a
    commit, which cannot be changed, and for a repository that is not a data set."""
    if not store.url.startswith("hf://"):
        return None
    if not (found := PLACE.fullmatch(store.url)):
        raise UserError(f"{store.url} is not a data set of the hub", "Give hf://datasets/ORG/NAME/FOLDER")
    repository, branch, folder = found[1], found[2] or "main", found[3] or ""
    if COMMIT.fullmatch(branch):
        raise UserError(f"{store.url} names a commit, which cannot be changed", "Leave the commit out")
    return Head(repository, branch, HfApi().dataset_info(repository, revision=branch).sha or "", folder)


def commit(head: Head, manifests: Sequence[Manifest], files: Sequence[Sequence[File]]) -> None:
    """Add `files`, which the repository lacks of each of `manifests`, and the records to the branch, all at once.

    On a terminal the hub's client shows its own progress. UserError for a damaged file, and when the branch has moved
    on since.
    """
    there, added = head.store, {}
    for manifest in manifests:
        path = record_path(manifest.name, manifest.version)
        if not there.exists(path):
            added[path] = CommitOperationAdd(head.path(path), record_bytes(manifest))
    with tempfile.TemporaryDirectory(prefix="octo-") as scratch:
        for manifest, lacking in zip(manifests, files, strict=True):
            for file in lacking:
                added[file.path] = CommitOperationAdd(head.path(file.path), _checked(manifest, file, Path(scratch)))
        if added:
            _send(head, list(added.values()), f"octo publish {', '.join(manifest.ref for manifest in manifests)}")


def _checked(manifest: Manifest, file: File, scratch: Path) -> Path:
    """A local file with the content of `file`."""
    path = Path(manifest.store.full(file.path))
    if not manifest.store.is_local:
        path = scratch / file.sha256
        manifest.store.fs.get_file(manifest.store.full(file.path), str(path))
    if file_sha256(path) != file.sha256:
        raise UserError(
            f"{file.path} in {manifest.store.url} is damaged", "Nothing was published. See `octo manifest verify`"
        )
    return path


def _send(head: Head, added: list[CommitOperationAdd], title: str) -> None:
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        HfApi().create_commit(
            head.repository, added, commit_message=title, repo_type="dataset", revision=head.branch,
            parent_commit=head.commit,
        )  # fmt: skip
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 412:
            raise
        raise UserError(
            f"{head.repository} received another commit in the meantime",
            "Repeat the command; files that were sent are kept",
        ) from error
