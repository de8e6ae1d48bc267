"""`octo manifest …`: inspect manifests, check them, clean up."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from octo.commands.corpus import exit_if_barren
from octo.commands.groups import manifest_app
from octo.commands.options import JsonOption, ManifestArgument, PlanOption, StoreOption, WorkersOption, open_store
from octo.printing import identity, print_json, show, show_made, show_path, show_plan, show_rows


@manifest_app.command(name="list")
def manifest_list(json_: JsonOption = False, store: StoreOption = None) -> None:
    """List every name@version with kind, ID, rows and bytes."""
    from manifests.catalog import Catalog

    with Catalog(open_store(store)) as catalog:
        for path in catalog.damaged:
            print(f"octo: record {path} is damaged", file=sys.stderr)
        listing = (
            "SELECT name || '@' || version AS name, kind, manifest, rows, bytes, created FROM manifests ORDER BY ALL"
        )
        show(catalog.query(listing), "Manifests", json_)


@manifest_app.command(name="show")
def manifest_show(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Show the record of a manifest: identity, parents, recipe, families, counts, provenance."""
    from manifests.manifest import record_bytes, resolve

    record = json.loads(record_bytes(resolve(open_store(store), ref)))
    if json_:
        print_json(record)
        return
    families = record.pop("families")
    for name, value in record.items():
        print(f"{name:12} {value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)}")
    show_rows(
        [
            {"family": name, "format": f["format"], "in identity": f["identity"], "rows": f["rows"],
             "files": len(f["files"]), "bytes": sum(file["bytes"] for file in f["files"])}
            for name, f in families.items()
        ],
        "Families",
    )  # fmt: skip


@manifest_app.command(name="funnel")
def manifest_funnel(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Show documents and tokens of a corpus per source: in, kept, dropped by reason, quarantined."""
    from manifests import catalog

    show(catalog.funnel(open_store(store), ref), f"Funnel of {ref}", json_)


@manifest_app.command(name="diff")
def manifest_diff(
    left: ManifestArgument, right: ManifestArgument, json_: JsonOption = False, store: StoreOption = None
) -> None:
    """Show documents and tokens added, removed and changed between two manifests, per source and reason."""
    from manifests import catalog

    show(catalog.diff(open_store(store), left, right), f"{left} → {right}", json_)


@manifest_app.command(name="lineage")
def manifest_lineage(
    ref: Annotated[str, typer.Argument(help="Manifest or run.")], json_: JsonOption = False, store: StoreOption = None
) -> None:
    """Show what a manifest or run was made from (depth below 0) and what was made from it (above 0)."""
    from manifests import catalog

    show(catalog.lineage(open_store(store), ref), f"Lineage of {ref}", json_)


@manifest_app.command(name="verify")
def manifest_verify(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Recompute every checksum and the digest of a manifest."""
    from manifests.errors import UserError
    from manifests.manifest import resolve, verify

    home = open_store(store)
    manifest = resolve(home, ref)
    problems = verify(home, manifest)
    if json_:
        print_json(identity(manifest) | {"bytes": manifest.bytes, "problems": problems})
    for problem in problems if not json_ else ():
        print(problem, file=sys.stderr)
    if problems:
        raise UserError(f"{manifest.ref} has {len(problems)} problems", "Rebuild it, or restore the files named above")
    if not json_:
        print(f"{manifest.ref} is {manifest.id}: {manifest.bytes:,} bytes, every checksum and the digest agree")


@manifest_app.command(name="rebuild")
def manifest_rebuild(
    ref: ManifestArgument, workers: WorkersOption = 1, json_: JsonOption = False, store: StoreOption = None
) -> None:
    """Build a manifest again from its parents in a scratch store and compare the IDs."""
    from manifests.errors import UserError
    from manifests.manifest import resolve
    from manifests.store import Store
    from octo.rebuild import build_again

    home = open_store(store)
    manifest = resolve(home, ref)
    with home.temporary() as folder:
        again = build_again(home, manifest, Store(folder), workers)
    if again.id != manifest.id:
        raise UserError(
            f"{manifest.ref} is {manifest.id}; the rebuilt manifest is {again.id}", "Its inputs or the code changed"
        )
    if json_:
        print_json(identity(manifest) | {"rebuilt": again.id})
    else:
        print(f"rebuilt: {again.id}, identical")


@manifest_app.command(name="tag")
def manifest_tag(
    ref: ManifestArgument,
    name: Annotated[str, typer.Argument(help="New name@version for the same content.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Give a manifest another name@version. Names are added, never moved."""
    from manifests.manifest import tag

    new, _, version = name.partition("@")
    show_made(tag(open_store(store), ref, new, version), json_)


@manifest_app.command(name="gc")
def manifest_gc(
    hours: Annotated[float, typer.Option("--older-than-hours", min=0, help="Keep files younger than this.")] = 24.0,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Remove files that no record names, such as leftovers of stopped builds."""
    from manifests.manifest import collect_garbage

    removed = collect_garbage(open_store(store), hours * 3600, dry_run=plan)
    if json_:
        print_json({"plan" if plan else "removed": removed})
        return
    for path in removed:
        print(path)
    print(f"{len(removed)} files {'would be ' if plan else ''}removed", file=sys.stderr)


@manifest_app.command(name="export")
def manifest_export(
    ref: ManifestArgument,
    folder: Annotated[Path, typer.Option("--to", help="Folder to write; it must be empty or not exist.")],
    format: Annotated[str, typer.Option("--format", help="hf, croissant, jsonl, webdataset, nanoset or verl.")] = "hf",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Write a manifest as files for other tools; see docs/formats.md."""
    from manifests.manifest import resolve
    from mixtures.export import export

    show_path(export(resolve(open_store(store), ref), format, folder), json_)


@manifest_app.command(name="import")
def manifest_import(
    path: Annotated[
        str, typer.Argument(help="A file, folder or glob, local or any fsspec URL, such as hf://datasets/ORG/NAME.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the manifest and of its source.")],
    tokenizer: Annotated[str, typer.Option("--tokenizer", help="tokenizer.json for counting tokens, or its folder.")],
    role: Annotated[str, typer.Option("--role", help="web, qa, long_cot, instruct, code, general or rl.")] = "web",
    version: Annotated[str, typer.Option("--version", help="Version of the manifest.")] = "1",
    fields: Annotated[
        list[str] | None, typer.Argument(help="Fields of the source: license=MIT columns.text=content revision=COMMIT")
    ] = None,
    workers: WorkersOption = 1,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Make a corpus from a folder or a hub data set without curation: every readable record is kept."""
    from curation import pipeline
    from curation.uncurated import uncurated
    from manifests import catalog

    home, config = open_store(store), uncurated(path, name, version, role, tokenizer, fields or [])
    if plan:
        show_plan([vars(row) for row in pipeline.plan(home, config)], f"{name}@{version}", json_)
        return
    corpus = pipeline.curate(home, config, workers)
    show_made(corpus, json_, funnel=(f"Funnel of {corpus.ref}", catalog.funnel(home, corpus.id)))
    exit_if_barren(pipeline.barren(corpus))
