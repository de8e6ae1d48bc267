"""Gathers the pages of the classifier that comes with the project, for `curation.classifiers.default`.

    python -m curation.classifiers.gather FOLDER OUT [--sources recipes/default-classifier/sources.yml]

FOLDER holds what the sources name: `packages/NAME`, a Debian package unpacked (`dpkg-deb -x`), and
`repositories/OWNER+NAME`, a checkout. OUT gets one .jsonl file for each entry: site, label, text, and `judge` where the
entry is measured and never trained on.

HTML is read as `octo curate` reads it; LaTeX, PreTeXt, CNXML, Markdown and notebooks as their source, cut at chapters
and sections. `site: page` makes the domain of each page's address, or else its file's name, its site. Promises. Equal
folders give equal files; a site has `limit` pages at most, drawn by their names. Leaves out fetching anything.
"""

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from curation.reading.pages import Refused, decoded, extract

LEAST, MOST = 200, 10_000
"""Characters of a page that is used, and how many of it are."""
HTML = frozenset([".html", ".htm", ".xhtml", ".testhtml"])
SOURCE = frozenset([".tex", ".ptx", ".cnxml", ".md", ".rst", ".ipynb", ".xml", ".txt"])
CUT = re.compile(
    r"^\s*\\(?:chapter|section|begin\{problem|pmcanonicalname)\b|^#{1,2} |^\s*<(?:section|chapter|article)\b",
    re.MULTILINE,
)
FORMULA = re.compile(r"<(m|me|men|md|mrow)\b[^>]*>(.*?)</\1>", re.DOTALL)
TAG, COMMENT = re.compile(r"<[^>]+>"), re.compile(r"<!--.*?-->|<metadata\b.*?</metadata>", re.DOTALL)
TEX_COMMENT = re.compile(r"(?<!\\)%.*")


class Entry(BaseModel):
    """One line of the sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Literal["positive", "negative"]
    package: str | None = None
    """A Debian package."""
    repository: str | None = None
    """OWNER/NAME."""
    files: str = "**/*"
    """Which of its files, as a pattern."""
    site: str | None = None
    """The site of all its pages; `page`: each page's own."""
    license: str | None = None
    limit: Annotated[int, "pages of a site"] = 250
    judge: bool = False

    @property
    def folder(self) -> str:
        return (
            f"packages/{self.package}" if self.package else f"repositories/{(self.repository or '').replace('/', '+')}"
        )

    @property
    def name(self) -> str:
        return self.package or (self.repository or "").replace("/", "+")


def gathered(entry: Entry, folder: Path) -> Iterator[dict[str, object]]:
    """The pages of an entry, at most `limit` of each site."""
    count: dict[str, int] = {}
    for path in _files(entry, folder / entry.folder):
        for text, address in _pages(path):
            site = entry.site or entry.name
            if entry.site == "page":
                site = urlsplit(address or "").hostname or path.name.split(".")[0]
            count[site] = count.get(site, 0) + 1
            if count[site] <= entry.limit:
                yield {"site": site, "label": entry.label, "text": text} | ({"judge": True} if entry.judge else {})


def _files(entry: Entry, root: Path) -> list[Path]:
    """What can be read, in an order drawn by the names."""
    found = [
        path
        for path in root.glob(entry.files)
        if _suffix(path) in HTML | SOURCE and path.is_file() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: blake2b(str(path.relative_to(root)).encode()).digest())


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


def _pages(path: Path) -> Iterator[tuple[str, str | None]]:
    """The texts of a file, long enough and cut, with the address that a page gives itself."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if _suffix(path) in HTML:
        try:
            page = extract(decoded(data))
        except Refused:
            return
        parts, address = [page.text], page.url
    else:
        parts, address = _sections(data.decode("utf-8", "replace"), _suffix(path)), None
    for part in parts:
        if len(part.strip()) >= LEAST:
            yield part.strip()[:MOST], address


def _sections(source: str, suffix: str) -> list[str]:
    """Chapters and sections of a book's source, as text with their mathematics."""
    if suffix == ".ipynb":
        cells = json.loads(source).get("cells", [])
        source = "\n\n".join("".join(cell["source"]) for cell in cells if cell.get("cell_type") == "markdown")
    starts = [0, *(found.start() for found in CUT.finditer(source)), len(source)]
    parts = [source[begin:end] for begin, end in pairwise(starts)]
    if suffix in (".ptx", ".xml", ".cnxml"):
        return [" ".join(TAG.sub(" ", FORMULA.sub(r"$\2$", COMMENT.sub("", part))).split()) for part in parts]
    return [TEX_COMMENT.sub("", part) for part in parts] if suffix == ".tex" else parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sources", type=Path, default=Path("recipes/default-classifier/sources.yml"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    entries = TypeAdapter(list[Entry]).validate_python(yaml.safe_load(asked.sources.read_text()))
    for entry in entries:
        lines = [json.dumps(page, ensure_ascii=False) for page in gathered(entry, asked.folder)]
        (asked.out / f"{entry.name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"{entry.name}: {len(lines)} pages", flush=True)


if __name__ == "__main__":
    main()
