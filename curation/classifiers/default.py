"""Builds the classifier that comes with the project from a folder of labelled pages, and measures it on unseen sites.

    python -m curation.classifiers.default FOLDER [--folds 3] [--write MODEL]

FOLDER holds .jsonl files, a page a line: `site`, `label` (positive or negative) and `text`, as `octo curate` extracts
it; a page with `judge: true` is used only for measuring. recipes/default-classifier/sources.yml lists where the pages
of the shipped model come from, and under which licences; none of their text is in the model, which holds single words
and sums over hashed pairs.

Promises. Equal pages give equal bytes. Results are for sites that the measured model has not seen: sites are divided
into folds by their names, and each fold is measured with a model of the others; the model that is written is trained on
all of them. Positive pages without mathematics (how to install an algebra system) are left out of training. Leaves out
gathering pages, and tuning.
"""

import argparse
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import fasttext
import numpy as np
import pyarrow as pa

from curation.classifiers.fit import fit_file
from curation.measures.classifier import PREFIX, Classifier, prepare
from curation.measures.quality import scores
from curation.measures.words import split

ARGUMENTS = {"dim": 8, "wordNgrams": 2, "bucket": 30_000, "minCount": 8, "lr": 0.2, "epoch": 8, "seed": 1}
PAGES_PER_SITE, CHARACTERS = 300, 3000
"""Limits for a site and a page in training, so that no site and no long page outweighs the others."""
LEAST_MATHEMATICS = 0.04
"""`math_density` of the positive pages that are trained on."""


@dataclass(frozen=True)
class Page:
    """A labelled page; `judge`: never trained on."""

    site: str
    positive: bool
    text: str
    judge: bool = False


def read(folder: Path) -> list[Page]:
    """The pages of every .jsonl file in `folder`."""
    rows = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    return [Page(row["site"], row["label"] == "positive", row["text"], row.get("judge", False)) for row in rows]


def fold_of(site: str, folds: int) -> int:
    """Which fold a site is in, by its name alone."""
    return int.from_bytes(blake2b(site.encode(), digest_size=8).digest(), "big") % folds


def densities(pages: list[Page]) -> np.ndarray:
    """The share of mathematics in each page."""
    parts = [np.empty(0)]
    for start in range(0, len(pages), 500):
        texts = pa.array([page.text for page in pages[start : start + 500]], pa.large_string())
        parts.append(scores(texts, split(texts))["math_density"])
    return np.concatenate(parts)


def chosen(pages: list[Page], density: np.ndarray) -> list[Page]:
    """The pages to train on, in the order of training."""
    by_site: dict[str, list[Page]] = defaultdict(list)
    for page, value in zip(pages, density.tolist(), strict=True):
        if not page.judge and (value >= LEAST_MATHEMATICS or not page.positive):
            by_site[page.site].append(page)
    draw = random.Random(1)
    kept = [
        page for _, found in sorted(by_site.items()) for page in draw.sample(found, min(len(found), PAGES_PER_SITE))
    ]
    return draw.sample(kept, len(kept))


def train(pages: list[Page], place: Path) -> Classifier:
    """The quantised model of `pages`, written to `place`."""
    with TemporaryDirectory() as folder:
        lines, whole = Path(folder) / "lines.txt", Path(folder) / "model.bin"
        prepared = prepare(pa.array([page.text[:CHARACTERS] for page in pages], pa.large_string()))
        labels = (PREFIX + ("positive" if page.positive else "negative") for page in pages)
        lines.write_bytes(b"".join(f"{label} ".encode() + line for label, line in zip(labels, prepared, strict=True)))
        fit_file(lines, whole, ARGUMENTS)
        model = fasttext.load_model(str(whole))
        model.quantize(qnorm=True)
        model.save_model(str(place))
    return Classifier.load(place, "positive")


def roc_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a positive page scores higher than a negative one; a tie is half."""
    _, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    found = int(positive.sum())
    return float((ranks[positive].sum() - found * (found + 1) / 2) / (found * (len(score) - found)))


def unseen(pages: list[Page], density: np.ndarray, folds: int) -> np.ndarray:
    """The score of each page by a model that was trained on other folds."""
    fold = np.array([fold_of(page.site, folds) for page in pages])
    found = np.empty(len(pages))
    with TemporaryDirectory() as folder:
        for number in range(folds):
            others = [place for place in np.flatnonzero(fold != number)]
            model = train(chosen([pages[place] for place in others], density[others]), Path(folder) / "model.bin")
            mine = np.flatnonzero(fold == number)
            found[mine] = model.score(pa.array([pages[place].text for place in mine], pa.large_string()))
    return found


def report(pages: list[Page], density: np.ndarray, score: np.ndarray) -> str:
    """The ROC-AUC of all pages, of those whose positive ones hold mathematics, and what each site scores."""
    positive = np.array([page.positive for page in pages])
    real = ~positive | (density >= LEAST_MATHEMATICS)
    lines = [
        f"ROC-AUC on sites not seen: {roc_auc(score, positive):.4f} ({len(pages):,} pages)",
        f"  without positive pages that hold no mathematics: {roc_auc(score[real], positive[real]):.4f}",
    ]
    sites = np.array([page.site for page in pages])
    for site in np.unique(sites):
        at = sites == site
        if (count := int(at.sum())) >= 20:
            label = "positive" if positive[at][0] else "negative"
            lines.append(f"  {label} {site}: {count} pages, {np.mean(score[at] >= 0.5):.2f} at 0.5 or more")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=3, help="0 measures nothing")
    parser.add_argument("--write", type=Path, help="where the model of all pages goes")
    asked = parser.parse_args()
    pages = read(asked.folder)
    density = densities(pages)
    if asked.write:
        model = train(chosen(pages, density), asked.write)
        print(f"{asked.write}: {asked.write.stat().st_size:,} bytes, SHA-256 {model.digest}", flush=True)
    if asked.folds:
        print(report(pages, density, unseen(pages, density, asked.folds)))


if __name__ == "__main__":
    main()
