"""The cost of appending a tenth to a corpus beside that of curating the whole: CPU and wall seconds, bytes written.

    python -m benchmarks.append --folder FOLDER [--documents 200000] [--workers 1]

The corpus is planted (`benchmarks.planted`: one document in four is a copy, near or exact) and shuffled: copies lie
across old and new. Each run is a process of its own, as a user starts it, and its start counts. The decisions of the
appended corpus are compared with those of the whole one. The bar: a tenth costs at most BAR of the whole.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import orjson
import yaml
import zstandard

from benchmarks.curation import make_tokenizer, real_text
from benchmarks.planted import plant
from manifests import catalog
from manifests.manifest import Manifest, load
from manifests.store import Store

FILES, SEED, BAR = 10, 1, 0.2


def write_dumps(folder: Path, documents: int) -> None:
    """FILES files of equal size in `folder`/all, and links to all but the last in `folder`/most."""
    rows = [orjson.dumps({"id": str(row), "text": text}) for row, text in enumerate(plant(documents, SEED).texts)]
    for name in ("all", "most"):
        (folder / name).mkdir(parents=True)
    for number in range(FILES):
        path = folder / "all" / f"{number}.jsonl.zst"
        path.write_bytes(zstandard.compress(b"\n".join(rows[number::FILES]), 1))
        if number < FILES - 1:
            (folder / "most" / path.name).hardlink_to(path)


def curate(folder: Path, name: str, dumps: str, workers: int, *more: str) -> tuple[float, float]:
    """CPU and wall seconds of `octo curate`."""
    source = {"name": "pages", "path": str(folder / dumps), "role": "general"}
    plain = {"name": name, "tokenizer": str(folder / "tokenizer.json"), "sources": [source]}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(plain))
    command = [sys.executable, "-m", "octo", "curate", str(folder / f"{name}.yaml"), "--workers", str(workers)]
    wall, before = time.perf_counter(), os.times()
    subprocess.run([*command, "--store", str(folder / "store"), *more], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - wall


def new_bytes(appended: Manifest, old: Manifest) -> int:
    """Bytes of the files that only `appended` names."""
    known = {file.path for family in old.families for file in old.files(family)}
    files = {file.path: file.bytes for family in appended.families for file in appended.files(family)}
    return sum(size for path, size in files.items() if path not in known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    place = arguments.folder / "grow"
    try:
        write_dumps(place, arguments.documents)
        make_tokenizer(real_text(), place)
        most = curate(place, "most", "most", arguments.workers)
        added = curate(place, "appended", "all", arguments.workers, "--append-to", "most@1")
        whole = curate(place, "whole", "all", arguments.workers)
        store = Store(place / "store")
        old, appended, full = (load(store, name, "1") for name in ("most", "appended", "whole"))
        found = {
            "documents": arguments.documents,
            "cpu": {"nine tenths": most[0], "added": added[0], "whole": whole[0]},
            "wall": {"nine tenths": most[1], "added": added[1], "whole": whole[1]},
            "written": {"added": new_bytes(appended, old), "whole": full.bytes},
            "differences": catalog.diff(store, appended.id, full.id).num_rows,
            "share of CPU": added[0] / whole[0],
            "within the bar": added[0] <= BAR * whole[0],
        }
        print(json.dumps(found, indent=1))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
