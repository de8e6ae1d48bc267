"""Paths of the Hugging Face hub: hf://datasets/ORG/NAME@COMMIT/FOLDER, read through huggingface_hub's file system.

Promises. A path stands for the same bytes for ever: it names a commit, itself or through `revision`; branches and tags
are refused. A short commit is looked up and made whole. What keeps the hub from answering (no network, offline mode, no
access, no such commit) is one UserError. Leaves out models, spaces and buckets, and logging in (`hf auth login`).

The hub's client takes a third of a second to load, as much as 5 MB of text: it is loaded where the hub is asked.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from curation.config import HUB_SCHEME, SourceRecipe
from manifests.errors import UserError
from manifests.hub_errors import hub_errors

PATH = re.compile(HUB_SCHEME + r"datasets/([^/@\s]+/[^/@\s]+)(?:@([^/\s]+))?(?:/(.*))?")
COMMIT = re.compile(r"[0-9a-f]{7,40}")
WHOLE_COMMIT = 40


def commit(source: SourceRecipe) -> str:
    """The commit that `source` names, whole or its first seven digits and more. Asks nothing of the hub."""
    repository, revision, _ = _parts(source)
    if revision is None:
        raise UserError(
            f"source {source.name}: no commit of {repository} is pinned",
            f"Give revision=<commit>, as listed on huggingface.co/datasets/{repository}/commits/main",
        )
    if not COMMIT.fullmatch(revision):
        raise UserError(
            f"source {source.name}: {revision!r} is not a commit of {repository}",
            "Give revision=<commit>: a branch or tag may move",
        )
    return revision


def unpinned(source: SourceRecipe) -> bool:
    """Whether the path of `source` lies on the hub and no commit is given: nothing, or a branch, tag or placeholder."""
    if not source.path.startswith(HUB_SCHEME):
        return False
    revision = _parts(source)[1]
    return revision is None or not COMMIT.fullmatch(revision)


def refuse_unpinned(sources: tuple[SourceRecipe, ...]) -> None:
    """UserError that names every source without a commit."""
    fields = [f"sources.{place}.revision ({source.name})" for place, source in enumerate(sources) if unpinned(source)]
    if fields:
        raise UserError(
            f"no commit of the hub is pinned: {', '.join(fields)}",
            "Give each its revision=<commit>, as listed under `commits` of its page on the hub; branches move",
        )


def pinned(source: SourceRecipe) -> str:
    """The path of `source` with its whole commit, after the hub has said that it is there."""
    from huggingface_hub import HfApi  # noqa: PLC0415

    repository, _, folder = _parts(source)
    revision = commit(source)
    with one_line(source):
        if len(revision) == WHOLE_COMMIT:
            HfApi().dataset_info(repository, revision=revision)
            found = [revision]
        else:  # the hub's file system takes whole commits only
            listed = HfApi().list_repo_commits(repository, repo_type="dataset")
            found = [item.commit_id for item in listed if item.commit_id.startswith(revision)]
    if len(found) != 1:
        raise UserError(
            f"source {source.name}: {len(found)} commits of {repository} begin with {revision}",
            "Give revision=<commit> with all its 40 digits",
        )
    return f"{HUB_SCHEME}datasets/{repository}@{found[0]}/{folder}".rstrip("/")


def _parts(source: SourceRecipe) -> tuple[str, str | None, str]:
    """(repository, revision, folder) of a path of the hub."""
    match = PATH.fullmatch(source.path)
    if not match:
        raise UserError(
            f"source {source.name}: {source.path} is not a data set of the hub",
            "Write hf://datasets/ORG/NAME@COMMIT/FOLDER",
        )
    return match[1], match[2] or source.revision, match[3] or ""


@contextmanager
def one_line(source: SourceRecipe) -> Iterator[None]:
    """What the hub raises while `source` is read, as a UserError."""
    if not source.path.startswith(HUB_SCHEME):
        yield
        return
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise UserError(
            f"source {source.name}: the hub gives no access to {source.path}",
            "Accept its terms on huggingface.co and run `hf auth login`, or give the `path` of a local copy",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"source {source.name}: the hub has no commit {commit(source)} of {source.path}",
            "Give revision=<commit>",
        ) from error
    except hub_errors() as error:
        raise UserError(
            f"source {source.name}: cannot reach the hub for {source.path}: {' '.join(str(error).split())[:200]}",
            "Go online, or give the `path` of a local copy",
        ) from error
