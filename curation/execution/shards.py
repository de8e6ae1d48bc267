"""How the input is split into tasks of a few minutes, for files of any size.

`cut` splits large local files where their format allows it (`cut` in `evaluation.formats.FORMATS`: Parquet between row
groups, plain JSON Lines between lines), and makes every other file one task: a compressed stream cannot be split, and a
remote file would be copied once per piece. `share` combines small tasks into task groups, so that starting a process is
a small part of the work. Neither changes a corpus: positions are those in the whole file. The split is made at the
first launch of a run and kept.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curation.reading.files import InputFile, Span, is_local
from evaluation.formats import BY_NAME, filesystem, is_packed, packing_of
from evaluation.rows import BROKEN, group_start, lone_ends

BLOCK = 1 << 20
TEXT_PER_CPU_SECOND = 12e6
"""Measured for the whole build, see docs/log.md; HTML pages and WARC files take several times as long."""


def cut(files: tuple[InputFile, ...], task_bytes: int) -> tuple[InputFile, ...]:
    """`files` in order, with those of more than `task_bytes` in pieces of about that size where they can be cut."""
    return tuple(piece for file in files for piece in _pieces(file, task_bytes))


def share(files: tuple[InputFile, ...], task_bytes: int) -> tuple[tuple[int, ...], ...]:
    """Positions of `files` in runs of `task_bytes` at most, or of a single one."""
    shares: list[list[int]] = []
    held = 0
    for position, file in enumerate(files):
        if not shares or held + file.size > task_bytes:
            shares.append([])
            held = 0
        shares[-1].append(position)
        held += file.size
    return tuple(map(tuple, shares))


def estimate(files: tuple[InputFile, ...], task_bytes: int) -> tuple[int, int]:
    """Approximate numbers of tasks and task groups for `files`, from their sizes only: row groups may be larger than a
    task."""
    pieces = [_cut_by_size(file, task_bytes) for file in files]
    made = tuple(replace(file, bytes=file.bytes // n) for file, n in zip(files, pieces, strict=True) for _ in range(n))
    return len(made), len(share(made, task_bytes))


def cpu_seconds(files: tuple[InputFile, ...]) -> float:
    """Approximate time of one core for all of it."""
    return sum(file.bytes * _text_per_byte(file) for file in files) / TEXT_PER_CPU_SECOND


def _text_per_byte(file: InputFile) -> float:
    kind = BY_NAME[file.format]
    packing = packing_of(file.name) if kind.packed else None
    return packing.text_per_byte if packing else kind.text_per_byte


def _cut_by_size(file: InputFile, task_bytes: int) -> int:
    return -(-file.bytes // task_bytes) if file.bytes > task_bytes and _divides(file) else 1


def _divides(file: InputFile) -> bool:
    """Whether `file` can be split."""
    kind = BY_NAME[file.format]
    named = kind.packed and packing_of(file.name)
    return bool(is_local(filesystem(file.url)[0]) and not file.parts and kind.cut and not named)


def _pieces(file: InputFile, task_bytes: int) -> list[InputFile]:
    if file.bytes <= task_bytes or not _divides(file):
        return [file]
    path = Path(filesystem(file.url)[1])
    spans = list((_groups if BY_NAME[file.format].cut == "row groups" else _lines)(path, task_bytes))
    return [replace(file, span=span) for span in spans] if len(spans) > 1 else [file]


def _groups(path: Path, task_bytes: int) -> Iterator[Span]:
    """Ranges of row groups; none for a file that cannot be read or whose groups are not stored in order."""
    try:
        parquet = pq.ParquetFile(path)
        starts = [group_start(parquet, group) for group in range(parquet.num_row_groups)]
        rows = list(accumulate(parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)))
    except BROKEN:
        return
    if starts != sorted(set(starts)):
        return
    first, start, ends = 0, 0, [*starts[1:], path.stat().st_size]
    with path.open("rb") as stream:
        for group, end in enumerate(ends):
            if end - starts[start] >= task_bytes or group == len(ends) - 1:
                stream.seek(starts[start])
                yield Span(starts[start], end, first, _sum(stream, end - starts[start])[0])
                first, start = rows[group], group + 1


def _lines(path: Path, task_bytes: int) -> Iterator[Span]:
    """Ranges of whole lines; none for a file that is compressed, whatever its name."""
    start = first = 0
    with path.open("rb") as stream:
        if is_packed(stream):
            return
        while stream.peek(1):
            digest, lines = _sum(stream, task_bytes, whole_lines=True)
            yield Span(start, stream.tell(), first, digest)
            start, first = stream.tell(), first + lines


def _sum(stream: Any, size: int, whole_lines: bool = False) -> tuple[str, int]:
    """SHA-256 and number of line ends of the next `size` bytes, and of what is left of the line that they end in. Lines
    are those of `evaluation.rows.json_lines`, where CR alone is an end too; pieces end at LF."""
    digest, lines, block = hashlib.sha256(), 0, b""
    while size > 0 and (read := stream.read(min(size, BLOCK))):
        lines += _ends(block, read) if whole_lines else 0
        block, size = read, size - len(read)
        digest.update(block)
    while whole_lines and not block.endswith(b"\n") and (read := stream.readline(BLOCK)):
        lines += _ends(block, read)
        block = read
        digest.update(block)
    return digest.hexdigest(), lines


def _ends(before: bytes, block: bytes) -> int:
    """Line ends in `block`, which follows `before`: a CR at the end of that was counted."""
    return lone_ends(block).count(b"\n") - (before.endswith(b"\r") and block.startswith(b"\n"))
