"""The schema of a record: types that admit only what a record may contain.

`complaint(plain)` says what is wrong with a record's JSON, and where, in one line. Promises: in a record without a
complaint every name is one part of a path, every checksum has the form of one, every count is a whole number from 0 to
2**63 - 1, the path of a file follows from its checksum, and the numbers agree with each other. Whether the claims are
true is checked elsewhere: `manifests.manifest` recomputes the digest, `verify` and `octo pull` the content.
"""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.identity import json_digest
from manifests.paths import Name, as_file_name
from manifests.store import OBJECT

Kind = Literal[
    "corpus", "mixture", "prompts", "benchmark", "classifier", "annotations", "pass_rates", "study", "proposals"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

MANIFEST_ID = rf"^({'|'.join(KINDS)})-[0-9a-f]{{12}}$"
LARGEST = 2**63 - 1
"""The largest count that Arrow, DuckDB and the tables can hold."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ManifestID = Annotated[str, Field(pattern=MANIFEST_ID)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
FamilyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Line = Annotated[str, Field(max_length=1 << 16, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text that is shown and never a path: a column, the name of a type, a host."""


def _logical_name(name: str) -> str:
    return as_file_name(name) if name else name


LogicalName = Annotated[str, AfterValidator(_logical_name)]
"""The name of a raw file; that of a Parquet file is empty."""


def digest_of_parts(parts: list[dict[str, str]]) -> dict[str, str]:
    """The digest of each column of a family whose rows were written in `parts`."""
    return {name: json_digest([columns[name] for columns in parts]) for name in parts[0]}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FileRecord(_Strict):
    name: LogicalName
    path: str
    sha256: Digest
    bytes: Count
    rows: Count

    @model_validator(mode="after")
    def _lies_where_its_checksum_says(self) -> "FileRecord":
        match = OBJECT.fullmatch(self.path)
        if match is None or match["sha256"] != self.sha256 or len(match["suffix"]) > 128:
            raise ValueError(f"{self.path[:80]!r} is not the path of the file with checksum {self.sha256[:12]}")
        return self


class PartRecord(_Strict):
    files: Count
    columns: dict[Line, Digest]


class FamilyRecord(_Strict):
    format: Literal["parquet", "raw"]
    identity: bool
    rows: Count
    schema_: list[Annotated[list[Line], Field(min_length=2, max_length=2)]] = Field(alias="schema")
    columns: dict[Line, Digest]
    files: list[FileRecord]
    parts: list[PartRecord] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "FamilyRecord":
        said = [name for name, _ in self.schema_]
        if self.format == "raw":
            sound = not (said or self.parts or self.rows or any(file.rows for file in self.files))
            sound = sound and len(self.columns) == len(self.files)
            sound = sound and self.columns == {file.name: file.sha256 for file in self.files} and "" not in self.columns
        else:
            sound = len(set(said)) == len(said) and set(said) == set(self.columns)
            sound = sound and all(set(part.columns) == set(said) for part in self.parts)
            sound = sound and not any(file.name for file in self.files)
        if not sound:
            raise ValueError("columns, checksums and files do not belong together")
        if self.rows != sum(file.rows for file in self.files):
            raise ValueError(f"it has {self.rows} rows, its files {sum(file.rows for file in self.files)}")
        if self.parts and sum(part.files for part in self.parts) != len(self.files):
            raise ValueError("its parts do not match its files")
        if self.parts and self.columns != digest_of_parts([part.columns for part in self.parts]):
            raise ValueError("its columns do not match its parts")
        return self


class SourceCounts(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    records: Count
    tokens: Count


class Counts(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    inputs: dict[Line, SourceCounts] = {}
    onto: ManifestID | None = None


def _counted(value: Any) -> Any:
    """ValueError for a number, at any depth, that cannot be a count."""
    match value:
        case bool() | None | str():
            pass
        case int() if not 0 <= value <= LARGEST:
            raise ValueError(f"{str(value)[:40]} is not a count")
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a number")
        case dict():
            for part in value.values():
                _counted(part)
        case list():
            for part in value:
                _counted(part)
    return value


class Code(_Strict):
    commit: Line = ""
    dirty: bool = False


class Provenance(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    time: Line = ""
    host: Line = ""
    code: Code = Code()
    settings: dict[str, Any] | None = None


RunID = Annotated[str, Field(pattern=r"^run-[0-9a-f]{12}$")]


class LaunchedWith(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    id: ManifestID
    ref: Line
    digest: Digest


class Run(BaseModel):
    """The fields of every run record; runs add further ones."""

    model_config = ConfigDict(strict=True, extra="allow")

    id: RunID
    kind: Line
    status: Line
    backend: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Names a module of ours."""
    created: Line
    finished: Line | None = None
    manifests: list[LaunchedWith]
    parent: RunID | None
    config: dict[str, Any]


class Record(_Strict):
    """All fields of a record but its format and its checksum."""

    name: Name
    version: Name
    kind: Kind
    id: ManifestID
    digest: Digest
    parents: list[ManifestID]
    recipe: dict[str, Any]
    families: dict[FamilyName, FamilyRecord]
    counts: Annotated[dict[str, Any], AfterValidator(_counted), AfterValidator(lambda value: _valid(Counts, value))]
    build_key: Line
    provenance: Annotated[dict[str, Any], AfterValidator(lambda value: _valid(Provenance, value))]

    @model_validator(mode="after")
    def _is_named_by_its_digest(self) -> "Record":
        if self.id != f"{self.kind}-{self.digest[:12]}":
            raise ValueError(f"{self.id} is not the ID of a {self.kind} with digest {self.digest[:12]}…")
        if sum(file.bytes for family in self.families.values() for file in family.files) > LARGEST:
            raise ValueError(f"its files have more than {LARGEST} bytes together")
        return self


def _valid(model: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    model.model_validate(value)
    return value


def complaint(plain: dict[str, Any], model: type[BaseModel] = Record) -> str | None:
    """What is wrong with `plain`, the fields of a record, and where; None if nothing is."""
    try:
        model.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        said = " ".join(first["msg"].removeprefix("Value error, ").split())[:200]
        return f"`{where}`: {said}" if where.isprintable() and where else said
    return None
