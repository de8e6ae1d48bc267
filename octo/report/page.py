"""Self-contained HTML pages: markup that escapes, tables that sort, bars, charts, mathematics, and the page around
them.

Promises. A string enters a page escaped unless it is `Html`, which only this module makes; JSON inside a script cannot
close it; the page's Content-Security-Policy names its own scripts by their hash and allows no other and no network. So
hostile text in a document is displayed and never executed. plotly.js is embedded once, compressed: 4.8 MB become 2.0
MB, which browsers since May 2023 inflate. KaTeX and its fonts (0.44 MB) are embedded where a page has a text with
mathematics; formulas that KaTeX refuses are shown as their source. Tables, bars and strips are plain HTML and need no
script. Leaves out: what is on the page, see `octo.report.write`.
"""

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from manifests.runs import without_nan
from manifests.store import Store

COLOURS = (
    "#4f81d8",
    "#e0882f",
    "#2fa192",
    "#c65b9e",
    "#8a6fd1",
    "#6d9e3a",
    "#c9a227",
    "#4aa3cf",
    "#a5734c",
    "#7c879a",
)
"""Colours for sources and components, legible on the light and on the dark ground."""
WARM = ("#d9663d", "#d99a2b", "#b8506f", "#a5734c", "#c77f9c", "#8d6b94", "#d3b04c", "#9c5a3c")
"""Colours for drop reasons, kept apart from those of sources."""
KEPT, QUARANTINED = "#3f7fd0", "#7c879a"
KATEX = Path(__file__).with_name("katex")
MATHEMATICS = re.compile(r"\$|\\[(\[]|\\begin\{")
"""A text without any of these has no mathematics; `page.js` finds the formulas."""
VERDICTS = {"CORRECT": "#3a9d6e", "INCORRECT": "#d9663d", "UNPARSED": "#d3a72f", "ERROR": "#8d6b94"}


class Html(str):
    """Markup. Every other string is escaped on its way into a page."""


def markup(value: object) -> Html:
    """`value` as markup: Html unchanged, None as nothing, a sequence item by item, everything else escaped."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, list | tuple):
        return Html("".join(map(markup, value)))
    return Html(html.escape(str(value)))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """`<name attributes>children</name>`, escaped; `class_`, `data_v` mean `class`, `data-v`; None is left out."""
    return Html(f"<{name}{_written(attributes)}>{markup(children)}</{name}>")


def void(name: str, /, **attributes: object) -> Html:
    """An element that has no end, such as `<input>`."""
    return Html(f"<{name}{_written(attributes)}>")


def _written(attributes: dict[str, object]) -> str:
    return "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )


# -- words for values ------------------------------------------------------------------------------------------------


def count(value: float | None) -> str:
    """12,345; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def number(value: int, noun: str) -> str:
    """1 item, 2 items."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as 12.3%."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def real(value: float | None) -> str:
    """Four significant digits."""
    return "–" if value is None else f"{value:.4g}"


def size(value: float) -> str:
    """Bytes as B, KB, MB, …, by 1000."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def words(value: object) -> object:
    """Text as it is."""
    return "–" if value is None else value


def code(value: object) -> object:
    """Text in the font of code."""
    return "–" if value is None else element("code", value)


def prose(value: object) -> object:
    """Text of a document, with its mathematics."""
    return "–" if value is None else element("span", value, class_="text")


def share(part: float | None, whole: float | None) -> float | None:
    """part / whole; None when there is no whole."""
    return part / whole if part is not None and whole else None


# -- pieces ----------------------------------------------------------------------------------------------------------


Write = Callable[[Any], object]
"""How a value is written."""


@dataclass(frozen=True)
class Column:
    """A column of a table: key in the rows, heading, and how a value is written."""

    key: str
    heading: str
    write: Write = words


def table(rows: Sequence[dict[str, Any]], *columns: Column, caption: str = "") -> Html:
    """A table that a click on a heading sorts: numbers by value, all else as text. Numbers stand to the right."""
    if not rows:
        return element("p", f"{caption}: nothing to show." if caption else "Nothing to show.", class_="none")
    numeric = {c.key for c in columns if all(isinstance(row[c.key], int | float | None) for row in rows)}
    head = [
        element(
            "th", element("button", c.heading, type="button"), scope="col", class_="n" if c.key in numeric else None
        )
        for c in columns
    ]
    body = [element("tr", [_cell(row[c.key], c, c.key in numeric) for c in columns]) for row in rows]
    title = element("caption", caption) if caption else None
    return element(
        "div",
        element("table", title, element("thead", element("tr", head)), element("tbody", body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or "table",
    )


def _cell(value: Any, column: Column, numeric: bool) -> Html:
    if numeric:
        return element("td", column.write(value), class_="n", data_v="" if value is None else value)
    return element("td", column.write(value))


def facts(pairs: dict[str, object], class_: str | None = None) -> Html:
    """A list of names and values."""
    listed = [element("div", element("dt", key), element("dd", value)) for key, value in pairs.items()]
    return element("dl", listed, class_=class_)


def fold(summary: object, *children: object) -> Html:
    """A part that opens on demand."""
    return element("details", element("summary", summary), *children)


def json_block(value: Any) -> Html:
    """JSON as people read it."""
    return element("pre", json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), class_="json")


def quotation(text: str | None, length: int | None = None) -> Html:
    """A text of a document or a model, cut by the query at some length; `length` is its whole length in characters."""
    text = text or ""
    rest = f" … {count(length - len(text))} more characters" if length and length > len(text) else ""
    return element("pre", text, element("span", rest, class_="rest") if rest else None, class_="text", dir="auto")


CONTEXT = 20
"""Words shown before and behind a difference."""


def beside(left: str | None, right: str | None) -> Html:
    """Two texts side by side, compared word by word: what only one of them has is marked, long like parts are cut."""
    words = [re.findall(r"\S+\s*", text or "") for text in (left, right)]
    matcher = SequenceMatcher(None, *([word.strip() for word in side] for side in words), autojunk=False)
    shown: tuple[list[Html], list[Html]] = ([], [])
    for same, *spans in ((code == "equal", words[0][a:b], words[1][c:d]) for code, a, b, c, d in matcher.get_opcodes()):
        for side, name, span in zip(shown, ("del", "ins"), spans, strict=True):
            side.append(_shortened(span) if same else element(name, "".join(span)) if span else Html(""))
    return element("div", [element("pre", side, dir="auto") for side in shown], class_="beside")


def _shortened(words: list[str]) -> Html:
    """Words that both texts have, without the middle of many."""
    if len(words) <= 3 * CONTEXT:
        return markup("".join(words))
    cut = element("span", f" … {count(len(words) - 2 * CONTEXT)} words alike … ", class_="rest")
    return markup(["".join(words[:CONTEXT]), cut, "".join(words[-CONTEXT:])])


def figure(caption: str, *children: object) -> Html:
    """A picture with its caption above."""
    return element("figure", element("figcaption", caption), *children)


def legend(colours: dict[str, str]) -> Html:
    """Names beside their colours."""
    chips = [element("li", element("i", style=f"background:{colour}"), name) for name, colour in colours.items()]
    return element("ul", chips, class_="legend")


Segment = tuple[str, float, str]
"""Part of a bar: name, value, colour."""


def bars(rows: dict[str, list[Segment]], whole: float | None = None, write: Callable[[Any], str] = count) -> Html:
    """Horizontal stacked bars, one per row. A full bar is `whole`, or each row's own sum when None."""
    return element("div", [_bar(label, parts, whole, write) for label, parts in rows.items()], class_="bars")


def _bar(label: str, parts: list[Segment], whole: float | None, write: Callable[[Any], str]) -> Html:
    total = sum(value for _, value, _ in parts)
    scale = 100 / (whole or total or 1)
    pieces = [
        element("i", style=f"width:{value * scale:.3f}%;background:{colour}", title=f"{label} · {name}: {write(value)}")
        for name, value, colour in parts
        if value
    ]
    spoken = f"{label}: " + ", ".join(f"{name} {write(value)}" for name, value, _ in parts if value)
    heading = element("p", element("span", label), element("b", write(total)))
    return element("div", heading, element("div", pieces, class_="bar", role="img", aria_label=spoken))


@dataclass(frozen=True)
class Bar:
    """A bar in a lane: start, duration, colour and description."""

    lane: str
    start: float
    length: float
    colour: str
    title: str


def lanes(bars: Sequence[Bar], whole: float) -> Html:
    """Bars over time, lane below lane in the order of their beginnings; `whole` is the time from left to right."""
    order = {bar.lane: 0 for bar in sorted(bars, key=lambda bar: bar.start)}
    place = {lane: row for row, lane in enumerate(order)}
    drawn = [
        element("rect", element("title", bar.title), x=f"{300 * bar.start / (whole or 1):.2f}", y=place[bar.lane] * 3,
                width=f"{max(300 * bar.length / (whole or 1), 0.3):.2f}", height=2.4, fill=bar.colour)
        for bar in bars
    ]  # fmt: skip
    view = f"0 0 300 {max(1, len(place)) * 3}"
    return element("svg", drawn, viewBox=view, class_="strip", role="img", aria_label="tasks over time")


def strip(names: Sequence[str], colours: dict[str, str], per_row: int = 100) -> Html:
    """One cell per name, in order, `per_row` to a row; neighbours of one colour are drawn as one rectangle."""
    rows = [names[start : start + per_row] for start in range(0, len(names), per_row)]
    cells = [_strip_row(row, y, colours) for y, row in enumerate(rows)]
    view = f"0 0 {per_row} {max(1, len(rows)) * 3}"
    return element("svg", cells, viewBox=view, class_="strip", role="img", aria_label="order of the sequences")


def _strip_row(row: Sequence[str], y: int, colours: dict[str, str]) -> list[Html]:
    cells, x = [], 0
    for name, run in groupby(row):
        width = len(list(run))
        title = element("title", f"{name}: {width} in a row")
        cells.append(element("rect", title, x=x, y=y * 3, width=width, height=2.6, fill=colours[name]))
        x += width
    return cells


@dataclass(frozen=True)
class Node:
    """A box of a graph: what it is called, what it is, and the address that a click leads to."""

    title: str
    kind: str
    target: str | None
    main: bool


def graph(nodes: dict[str, Node], edges: Iterable[tuple[str, str]]) -> Html:
    """Boxes in layers below their parents; lines go between boxes, never through. `edges` are (parent, child)."""
    edges = sorted(edges)
    depth = _depths(list(nodes), edges)
    ways = [_way(parent, child, depth) for parent, child in edges]
    layers = [[name for name in nodes if depth[name] == level] for level in range(max(depth.values()) + 1)]
    for way in ways:
        for level, lane in enumerate(way[1:-1], depth[way[0]] + 1):
            layers[level].append(lane)
    places = _places(layers, ways, set(nodes))
    width, height = (max(place[axis] for place in places.values()) for axis in (0, 1))
    picture = element(
        "svg",
        [element("path", d=_path([places[stop] for stop in way])) for way in ways],
        [_box(node, *places[name]) for name, node in nodes.items()],
        viewBox=f"0 0 {width + 90:g} {height + 54:g}",
        width=f"{width + 90:g}",
        style=f"--width:{width + 90:g}px",
        class_="graph",
        role="img",
        aria_label="what was made from what",
    )
    return element("div", picture, class_="scroll")


def _depths(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each name from one without parents."""
    depth = dict.fromkeys(names, 0)
    for _ in names:  # lineage has no cycles, so the longest way has fewer steps than there are names
        for parent, child in edges:
            depth[child] = max(depth[child], depth[parent] + 1)
    return depth


def _way(parent: str, child: str, depth: dict[str, int]) -> list[str]:
    """The stops of a line: its ends, and a lane in each layer that it passes."""
    return [parent, *(f"{parent} {child} {level}" for level in range(depth[parent] + 1, depth[child])), child]


def _places(layers: list[list[str]], ways: list[list[str]], boxes: set[str]) -> dict[str, tuple[float, float]]:
    """Middle and upper edge of every box and lane: layers centred, in each the stops ordered by what is above them."""
    above: dict[str, list[str]] = {stop: [] for layer in layers for stop in layer}
    for upper, lower in (pair for way in ways for pair in pairwise(way)):
        above[lower].append(upper)
    places: dict[str, tuple[float, float]] = {}
    for level, layer in enumerate(layers):
        middle = {stop: sum(places[upper][0] for upper in above[stop]) / max(len(above[stop]), 1) for stop in layer}
        widths = {stop: 184 if stop in boxes else 24 for stop in sorted(layer, key=middle.__getitem__)}
        ends = list(accumulate(widths.values(), initial=-sum(widths.values()) / 2))
        places |= {stop: ((x + y) / 2, level * 86 + 2.0) for stop, (x, y) in zip(widths, pairwise(ends), strict=True)}
    left = min(x for x, _ in places.values())
    return {stop: (x - left + 90, y) for stop, (x, y) in places.items()}


def _path(places: list[tuple[float, float]]) -> str:
    """From the lower edge of the first stop, straight through lanes, to the upper edge of the last."""
    (x, y), path = places[0], ""
    for next_x, next_y in places[1:]:
        bend = y + 68
        path += f"M{x:g} {y + 50:g}C{x:g} {bend:g} {next_x:g} {bend:g} {next_x:g} {next_y:g}v50"
        x, y = next_x, next_y
    return path.removesuffix("v50")


def _box(node: Node, middle: float, y: float) -> Html:
    x = middle - 85
    box = element("rect", x=f"{x:g}", y=f"{y:g}", width=170, height=50, rx=8, class_="main" if node.main else None)
    short = node.title if len(node.title) <= 22 else node.title[:21] + "…"
    kind = element("text", node.kind, x=f"{x + 12:g}", y=f"{y + 20:g}", class_="kind")
    name = element("text", short, x=f"{x + 12:g}", y=f"{y + 38:g}")
    drawn = element("g", element("title", node.title), box, kind, name)
    return element("a", drawn, href=node.target) if node.target else drawn


# -- traces of plotly charts -----------------------------------------------------------------------------------------


Trace = dict[str, Any]


def line(name: str, x: list[Any], y: list[Any], colour: str, **more: Any) -> dict[str, Any]:
    """A line; a few points are marked, since a line of one point shows nothing."""
    mode = "lines+markers" if len(x) <= 30 else "lines"
    trace = {"type": "scatter", "mode": mode, "name": name, "x": x, "y": y, "line": {"color": colour, "width": 2}}
    return trace | {"marker": {"size": 5, "color": colour}} | more


def area(name: str, x: list[Any], y: list[Any], colour: str) -> dict[str, Any]:
    """A layer of a stacked area."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "stackgroup": "one",
        "line": {"width": 0.5, "color": colour},
        "fillcolor": colour,
    }


def dots(name: str, rows: Sequence[dict[str, Any]], labels: list[str], colour: str) -> dict[str, Any]:
    """A dot per row (`value`) at its label, with the interval from `low` to `high` where the row has one."""
    value = [row["value"] for row in rows]
    above = [None if row["high"] is None else row["high"] - row["value"] for row in rows]
    below = [None if row["low"] is None else row["value"] - row["low"] for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": value,
        "orientation": "h",
        "offsetgroup": name,
        "y": [plotly_text(label) for label in labels],
        "marker": {"size": 9, "color": colour},
        "error_x": {"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 2, "width": 0},
    }


def outline(name: str, x: list[Any], y: list[Any], colour: str) -> Trace:
    """Upright bars of which only the outline is drawn, so that others can lie behind them."""
    drawn = {"color": colour, "width": 1.8, "shape": "hvh"}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": drawn}


def columns(name: str, x: list[Any], y: list[Any], colour: str, **more: Any) -> dict[str, Any]:
    """Upright bars."""
    return {"type": "bar", "name": name, "x": x, "y": y, "marker": {"color": colour}} | more


def flow(name: str, flows: dict[tuple[str, str], int], sources: dict[str, str], outcomes: dict[str, str]) -> Trace:
    """A flow diagram: how much of each source (left) came to which outcome (right). The colours are those of names."""
    left, right = list(sources), [outcome for outcome in outcomes if any(outcome == end for _, end in flows)]
    sums = [sum(value for ends, value in flows.items() if ends[0] == name) for name in left]
    sums += [sum(value for ends, value in flows.items() if ends[1] == name) for name in right]
    labels = [f"{plotly_text(label)} {count(total)}" for label, total in zip([*left, *right], sums, strict=True)]
    links = {
        "source": [left.index(source) for source, _ in flows],
        "target": [len(left) + right.index(outcome) for _, outcome in flows],
        "value": list(flows.values()),
        "color": [f"{outcomes[outcome]}70" for _, outcome in flows],
    }
    colours = [*sources.values(), *(outcomes[outcome] for outcome in right)]
    node = {"label": labels, "color": colours, "thickness": 12, "pad": 14, "line": {"width": 0}}
    return {"type": "sankey", "name": name, "node": node, "link": links, "valueformat": ",d"}


# -- the sheet -------------------------------------------------------------------------------------------------------


def plotly_text(text: str) -> str:
    """Text for a legend or an axis, where plotly would interpret <b> and <a href> as markup and $…$ as TeX."""
    return html.escape(text, quote=False).replace("$", "&#36;")


def script_json(value: Any) -> Html:
    """JSON that is safe inside a script element: no `<`, `>` or `&`, so nothing in it can close the element."""
    text = json.dumps(without_nan(value), separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


class Page:
    """Collects charts while the parts of a page are made, then writes the whole."""

    def __init__(self) -> None:
        self.charts: dict[str, dict[str, Any]] = {}

    def chart(
        self, caption: str, traces: list[dict[str, Any]], layout: dict[str, Any], height: float | None = None
    ) -> Html:
        """A plotly chart from plain traces and layout, `height` in rem; theme and margins are the page's."""
        name = f"chart-{len(self.charts)}"
        plain = [trace | {"name": plotly_text(trace["name"])} for trace in traces]
        self.charts[name] = {"data": plain, "layout": {"showlegend": len(traces) > 1} | layout}
        style = f"height:{height:.1f}rem" if height else None
        return figure(caption, element("div", id=name, class_="plot", role="img", aria_label=caption, style=style))

    def render(self, title: str, body: Html) -> str:
        """The page as one HTML document."""
        here = Path(__file__)
        style, script = here.with_suffix(".css").read_text("utf-8"), here.with_suffix(".js").read_text("utf-8")
        libraries = {"plotly": get_plotlyjs().encode()} if self.charts else {}
        if MATHEMATICS.search(body):
            libraries["katex"] = (KATEX / "katex.min.js").read_bytes()
            style = katex_css() + style
        hashes = " ".join(f"'{script_hash(code)}'" for code in (script.encode(), *libraries.values()))
        policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; script-src {hashes}"
        )
        head = [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'),
            Html('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            element("style", Html(style)),
        ]
        scripts = [
            element("script", script_json(self.charts), type="application/json", id="charts"),
            *(element("script", _packed(code), type="text/plain", id=name) for name, code in libraries.items()),
            element("script", Html(script)),
        ]
        page = element("html", element("head", head), element("body", body, scripts), lang="en")
        return f"<!doctype html>\n{page}\n"


def katex_css() -> str:
    """KaTeX's sheet with its fonts inside it."""
    sheet = (KATEX / "katex.min.css").read_text("utf-8")
    return re.sub(r"src:url\((fonts/[\w-]+\.woff2)\)[^;}]*", lambda found: _font(KATEX / found[1]), sheet)


def _font(path: Path) -> str:
    return f'src:url(data:font/woff2;base64,{base64.b64encode(path.read_bytes()).decode()}) format("woff2")'


def _packed(code: bytes) -> Html:
    return Html(base64.b64encode(gzip.compress(code, 9, mtime=0)).decode())


def script_hash(script: bytes) -> str:
    """A script as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode()


def save(text: str, store: Store, name: str, path: Path | None) -> Path:
    """Write a page to `path`, or to the store as reports/NAME.html; the path of the file."""
    if path is None:
        store.put(f"reports/{name}.html", text.encode())
        return store.local(f"reports/{name}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
