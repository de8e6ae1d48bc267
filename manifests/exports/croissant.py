"""Croissant 1.1 metadata of an exported manifest: `croissant.json` beside the Parquet files that it describes.

One FileObject with a checksum per file, one FileSet and one RecordSet per part, one Field per column. Paths are
relative to the folder. Source of the format: docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. Leaves out the
vocabularies for responsible AI, of which the manifest knows nothing.
"""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests.exports.card import columns_of, hub_licenses, licences_of
from manifests.exports.files import Part
from manifests.manifest import Manifest
from manifests.store import file_sha256

CROISSANT = "http://mlcommons.org/croissant/"
TERMS = """arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format
includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace
samplingRate separator source subField transform"""
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": CROISSANT,
    "rai": f"{CROISSANT}RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {term: f"cr:{term}" for term in TERMS.split()}
PARQUET = "application/x-parquet"


def write_croissant(manifest: Manifest, parts: list[Part], folder: Path) -> None:
    """croissant.json of the files `parts` in `folder`."""
    licences = hub_licenses(licences_of(manifest))
    whole = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{CROISSANT}1.1",
        "name": manifest.name,
        "description": f"The {manifest.kind} manifest {manifest.ref} of octothinker: {manifest.id}, see README.md.",
        "identifier": manifest.id,
        "url": f"urn:octothinker:{manifest.digest}",
        "version": _version(manifest.version),
        "license": licences,
        "datePublished": manifest.provenance.get("time", ""),
        "creator": {"@type": "sc:Organization", "name": "octothinker"},
        "citeAs": f"{manifest.ref}, {manifest.id}, sha256 {manifest.digest}",
        "distribution": [entry for part in parts for entry in _distribution(part, folder)],
        "recordSet": [_record_set(manifest, part) for part in parts],
    }
    (folder / "croissant.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")


def _version(version: str) -> str:
    """The format asks for MAJOR.MINOR.PATCH."""
    return f"{version}.0.0" if re.fullmatch(r"\d+", version) else version


def _distribution(part: Part, folder: Path) -> list[dict[str, Any]]:
    files = [
        {
            "@type": "cr:FileObject",
            "@id": str(path.relative_to(folder)),
            "name": str(path.relative_to(folder)),
            "contentUrl": str(path.relative_to(folder)),
            "contentSize": f"{path.stat().st_size} B",
            "encodingFormat": PARQUET,
            "sha256": file_sha256(path),
        }
        for path in part.files
    ]
    together = {"@type": "cr:FileSet", "@id": f"files-{part.name}", "name": f"files-{part.name}"}
    return [*files, together | {"encodingFormat": PARQUET, "includes": f"data/{part.name}/*.parquet"}]


def _record_set(manifest: Manifest, part: Part) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": part.name,
        "name": part.name,
        "description": f"{part.rows:,} rows.",
        "field": [_field(part, name, meaning) for name, _, meaning in columns_of(manifest, part.schema)],
    }


def _field(part: Part, name: str, meaning: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{part.name}/{name}",
        "name": name,
        "description": meaning,
        "dataType": _data_type(part.schema.field(name).type),
        "source": {"fileSet": {"@id": f"files-{part.name}"}, "extract": {"column": name}},
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Boolean" if pa.types.is_boolean(kind) else "sc:Text"
