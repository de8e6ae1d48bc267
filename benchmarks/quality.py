"""How many of your documents the quality rules drop, and which rule drops them.

    python -m benchmarks.quality PATH… [--role web] [--column text] [--examples 0] [--json]

A PATH is a .jsonl file with a document in each line, or a folder in which each .txt, .md, .rst and .tex file is one.
Every PATH is one row of the table: documents, and the share dropped by each rule of `curation.measures.quality` at the
limits that `QualityRecipe` has by default. Role `web` is the strictest: all rules apply. `--examples` shows the first
documents that each rule drops. Leaves out copies and contamination, which are no matter of one text."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from curation.config import QualityRecipe
from curation.measures.normalise import normalise
from curation.measures.quality import RULES, scores
from curation.measures.words import split
from curation.roles import Role

SUFFIXES = (".txt", ".md", ".rst", ".tex")
NAMES = tuple(rule.name for rule in RULES)
SHOWN = 400
TOGETHER = 2048
"""Documents judged at once, as many as a batch of the pipeline holds."""


def documents(path: Path, column: str) -> list[str]:
    """The texts at `path`."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        return [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [json.loads(line)[column] for line in path.read_text(encoding="utf-8").splitlines() if line]


def dropped(texts: list[str], role: Role) -> list[tuple[str, str, str]]:
    """(rule, evidence, text) of each document that a rule drops."""
    found = []
    for start in range(0, len(texts), TOGETHER):
        batch = normalise(pa.array(texts[start : start + TOGETHER], pa.large_string()))
        rows = pa.table(scores(batch, split(batch)) | {"role": [role] * len(batch), "text": batch})
        for rule in RULES:
            limit = rule.of(QualityRecipe())
            broken = limit.broken(rows)
            hits = rows.filter(broken)
            found += zip([rule.name] * len(hits), limit.evidence(hits), hits["text"].to_pylist(), strict=True)
            rows = rows.filter(pc.invert(broken))
    return found


def show(found: list[tuple[str, str, str]], examples: int) -> None:
    for rule in NAMES:
        for _, evidence, text in [hit for hit in found if hit[0] == rule][:examples]:
            print(f"--- {rule} {evidence}\n{text[:SHOWN]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--role", choices=get_args(Role), default="web")
    parser.add_argument("--column", default="text")
    parser.add_argument("--examples", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = []
    for path in chosen.paths:
        texts = documents(path, chosen.column)
        found = dropped(texts, chosen.role)
        counts = Counter(rule for rule, _, _ in found)
        rows.append({"path": path.stem, "documents": len(texts), "dropped": len(found)} | {r: counts[r] for r in NAMES})
        show(found, chosen.examples)
    print(json.dumps(rows, indent=1) if chosen.json else table(rows))


def table(rows: list[dict[str, int | str]]) -> str:
    """`rows` as Markdown: counts, and the share dropped."""
    head = ["path", "documents", "dropped", *NAMES]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        share = f"{row['dropped']} ({int(row['dropped']) / max(int(row['documents']), 1):.2%})"
        lines.append(" | ".join(str(value) for value in (row | {"dropped": share}).values()))
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
