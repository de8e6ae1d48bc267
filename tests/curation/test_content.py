"""Which parts of a page are its main text, by the structure of the page and the names in it."""

import pytest
from resiliparse.parse.html import HTMLTree

from curation.reading.content import main_content
from curation.reading.layout import numbered
from curation.reading.names import Meaning, meaning
from curation.reading.outline import TEXT, Outline
from curation.reading.pages import extract

A_DIV = "<div class=cookie-banner><p>We use cookies, and so on, for a better page.</div>"
FIGURES = (
    "<figure><figcaption>Photo: N. N.</figcaption></figure><figure><figcaption>Figure 3: a sum</figcaption></figure>"
)
COMMENT = "<div id=comments><p>But <math><mi>x</mi></math> is more than that, dear author.</div>"
LINE = "<div class=line><span class=comment>// The number {0}</span><a href=/T>Matrix</a> A;</div>"
PROSE = " ".join(f"The number {n} is the sum of {n - 1} and 1, as was to be shown for it." for n in range(2, 12))
LINKS = "".join(f"<li><a href=/{n}>Another page {n}</a></li>" for n in range(12))


def outline(html: str) -> Outline:
    body = HTMLTree.parse(html).body
    assert body
    return Outline.of(body.outer_html)


def test_an_outline_holds_every_element_and_text_in_order():
    found = outline(
        "<p class=a>x &amp; y <a href=/>lé</a><script>if (a<b) '</p>'</script><br>z<!-- <i> --><xmp><b></xmp>"
    )
    assert found.tags == ["body", "p", "a", "br", "xmp"]
    assert [found.text(item) for item in found.items if item >= TEXT] == ["x &amp; y ", "lé", "z", "<b>"]
    assert (found.size[:3].tolist(), found.linked[1], found.own[1]) == ([15, 12, 2], 2, 10)
    assert found.attributes(1) == ' class="a"' and found.after == [5, 4, 3, 4, 5]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        (b' class="entry-content"', Meaning.TEXT),
        (b' class="postContent sidebar"', Meaning.TEXT),
        (b' class="post hentry tag-geometry category-news"', Meaning.AREA),
        (b' class="article-share__list"', Meaning.CERTAINLY_SITE),
        (b' id="comments"', Meaning.COMMENTS),
        (b' class="widget-area"', Meaning.SITE),
        (b' class="has-post-thumbnail no-sidebar"', Meaning.NOTHING),
        (b' id="TOC_TITLE_1"', Meaning.NOTHING),
        (b' class="fragment"', Meaning.CODE),
        (b' class="teaser-text"', Meaning.LEAD),
        (b' style="margin: 0; display: none"', Meaning.HIDDEN),
        (b' role="navigation"', Meaning.SITE),
        (b' href="/comments/share"', Meaning.NOTHING),
    ],
)
def test_what_names_mean(attributes, found):
    name, value = attributes.strip().split(b"=", 1)
    value = value.strip(b'"')
    match name:
        case b"class":
            assert meaning(value, b"", b"") == found
        case b"id":
            assert meaning(b"", value, b"") == found
        case _:
            assert meaning(b"", b"", attributes) == found


@pytest.mark.parametrize(
    ("html", "kept", "gone"),
    [
        (f"<ul><li><ul class=blockList><li><h4>add</h4><pre>int add(int n)</pre><div>{PROSE}</div></ul></ul>",
         ("add", "int add(int n)", "number 9"), ()),
        (f"<a class=skip-link href=#m>Skip to</a><p>{PROSE}<ul>{LINKS}</ul>", ("number 9",), ("Skip", "Another")),
        (f"<main><p>{PROSE}<h3>Related articles</h3><ul>{LINKS}</ul></main>", ("number 9",), ("Related", "Another")),
        (f"{A_DIV}<p>{PROSE}", (), ("cookies",)),
        (f"<div id=comments><p>Thanks for this nice page, dear author.</div><p>{PROSE}", (), ("Thanks",)),
        (f"<p>{PROSE}{COMMENT}", ("But $x$",), ()),
        (f"<div class=fragment>{LINE * 4}</div><p>{PROSE}",
         ("// The number", "Matrix A;"), ()),
        (f"<div class=has-sidebar><div class=sidebar-left-wrap><h1>Sums</h1><p>{PROSE}</div></div>", ("number 9",), ()),
        (f"<p>{PROSE}<ul><li><code><a href=/a>addAll</a>, <a href=/b>clear</a>, <a>size</a>, <a>remove</a></code></ul>",
         ("addAll, clear",), ()),
        (f"<p>{PROSE}{FIGURES}", ("Figure 3",), ("Photo",)),
        (f"<table><tr><td><p>a</p><td><p>1</p><tr><td>b<td>2</table><p>{PROSE}", ("a\t\t1\nb\t\t2",), ()),
        (f"<div class=s-prose><p>{PROSE}</div><div class=s-prose><p>It is 12.</div>", ("number 9", "It is 12."), ()),
    ],
)  # fmt: skip
def test_what_stays_and_what_goes(html, kept, gone):
    text = extract(html).text
    assert [part for part in kept if part not in text] == []
    assert [part for part in gone if part in text] == []


def test_a_page_of_nothing_but_lists_of_links_is_kept_whole():
    page = extract(f"<title>Index</title><div class=contents><ul>{LINKS}</ul></div>")
    assert page.text.count("Another page") == 12 and page.share == 1


def test_the_share_is_that_of_the_characters_shown():
    found = main_content(outline(f"<nav>{'m' * 20}</nav><p>{'The text. ' * 8}"))
    assert found.share == round(79 / 99, 4)


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [(3, "1", "3"), (28, "a", "ab"), (28, "A", "AB"), (1994, "i", "mcmxciv"), (4, "I", "IV"), (0, "a", "0"),
     (-2, "i", "-2"), (4000, "I", "4000"), (2, "upper-alpha", "B"), (9, "lower-roman", "ix")],
)  # fmt: skip
def test_numbers_of_lists(number, kind, text):
    assert numbered(number, kind) == text
