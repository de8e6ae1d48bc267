"""The names that sites give to their parts, in classes and ids, and the headings that begin a part of the site.

`meaning` says what a page's author tells of an element by its attributes. A name is taken as its words, in lower case
(`postContent`, `post_content` and `post__content` are post and content); it is the site's if one of them is and no
other tells of anything else. `SITE` holds the words that three or more pages of one half of two annotated sets have
(`benchmarks.pages`), of those kinds that changed what is kept of them; docs/log.md says by how much.
"""

import re
from enum import IntEnum
from functools import lru_cache

from curation.reading.outline import RELATIONS


class Meaning(IntEnum):
    """What an element is called: something of the site, nothing, or what holds the main text."""

    HIDDEN = -4
    COMMENTS = -3
    CERTAINLY_SITE = -2
    SITE = -1
    NOTHING = 0
    LEAD = 1
    AREA = 2
    TEXT = 3
    CODE = 4


MAIN_TEXT = (
    r"(?:[a-z]+-)?(?:article|post|entry|story|blog|news|artikel|articulo|recipe|td-post|art-post|single-post|blogpost|"
    r"field-name|field)-?(?:body|content|text|bodytext|copy|full|main-content|inhalt|main-text|richtext|article-body)("
    r"?:-(?:inner|wrapper|container|main|article|content|body|copy|text|\d+))*|"
    r"(?:article|post|entry|story)-?(?:content-?)?(?:body|text)|body-text|bodytext|story-body-text|mw-parser-output|"
    r"mw-content-text|markdown-body|the-content|rich-?text(?:-\w+)?|storycontent|text-content|post-bodycopy|"
    r"single-content|wpb-text-column|gni-nota|content-text|main-text|fliesstext|body-copy|c-entry-content|e-content|"
    r"theme-content|itemtext|item-?full-?text|com-content-article-body|page-content|document-body|cuerpo|"
    r"articulo-cuerpo|article-detail|articledetail|article-main|news-detail|news-text|detail-text|text-long|contents|(?:s-)?prose"
)
"""The text of an article, without what stands around it."""
CODE_BLOCKS = (
    r"fragment|source-?code|code-?(?:block|listing|box|sample|example|hilite)?|codehilite|listing|hljs|prettyprint|"
    r"syntax-?highlighter|crayon-?\w*|verbatim|example-?code|program-?listing"
)
"""Code, whose highlighting has names of its own: a `comment` in it is one of the program."""
MAIN_AREA = (
    r"(?:[a-z]+-)?(?:article|post|entry|story|blogpost|hentry|h-entry|single-post|single|artikel|articulo|blog-post|ne"
    r"ws-article|type-post|blog-entry)(?:-(?:container|wrapper|wrap|inner|main|full|page|detail|view|area|column|\d+))"
    r"*|"
    r"(?:main|page|site|body|center|middle|left|primary|inner|the)?-?(?:content|contents|inhalt|contenido|contenu)(?:-"
    r"(?:main|inner|area|wrapper|wrap|container|body|column|center|primary|left|page|col))*|"
    r"main(?:-(?:inner|area|wrapper|wrap|column|col|text|body|container))*|maincontent|content-?main|mainbody|primary|"
    r"text|document|bd"
)
"""An article, or the part of the page that is not its frame."""
LEADS = (
    r"(?:[a-z]+-)*(?:lead|lede|intro|introduction|teaser|teaser-?text|excerpt|summary|sub-?title|sub-?headline|standfi"
    r"rst|bajada|dek|abstract|vorspann|anleser|sumario|chapeau|sottotitolo|summary|description|intro-?text|headline-?s"
    r"ummary)(?:-(?:text|content|\d+|inner))*"
)
"""What stands between an article's heading and its text."""
SITE = {
    "navigation": """
        nav navi navigation navbar menu menus submenu mainmenu topnav subnav mainnav dropdown
        breadcrumb breadcrumbs crumb crumbs pagination pager paging pagenav skip skiplink skiplinks
        back-to to-top backtotop totop scroll-top scroll-up
    """,
    "frame": """
        sidebar sidebox rail right-column left-column aside secondary tertiary sticky-bar footer
        foot bottom-bar copyright copyrights legal imprint impressum colophon disclaimer credit
        credits masthead topbar top-bar header-bar branding logo site-title site-description site-
        info tagline sr-only screen-reader visually-hidden d-none noscript noprint no-print
    """,
    "shares": """
        share shares sharing social addtoany addthis a2a shariff teilen relatedposts jetpack
        sharedaddy likes
    """,
    "comments": """
        comment comments commentlist disqus respond reply replies response pingback kommentar
        kommentare discussion
    """,
    "others": """
        related similar recommend recommended recommendation recommendations more-news more-stories
        more-link more-info readmore read-more read-next trending popular most-read most-popular
        most-shared featured-posts latest recent teaser teasers promo outbrain taboola linkbox yarpp
        linklist link-list link-box blogroll cta call-to next-post prev-post prev-next ressort
        kicker partner partners
    """,
    "widgets": """
        widget widgets textwidget widgettitle gallery carousel slider sliders slideshow slide slides
        swiper slick thumb thumbs thumbnail thumbnails caption weather calendar player podcast
    """,
    "about": """
        postmeta postmetadata meta metadata byline dateline date datum timestamp published posted
        updated author authors vcard autor autoren submitted bio user-info profile utility
    """,
    "tools": """
        search searchform suche rating ratings vote votes voting feedback print printfriendly
        toolbar toolbox tools action actions button buttons btn icon icons badge counter toc
        editsection printfooter language-switcher language-link language-menu language-switch lang-
        selector permalink anchor-link
    """,
}
"""Words of the site, by kind: single ones, and two that stand together."""
FRAME = """
    site page main top bottom left right global post entry article blog header block region pane
    module mod section content single story news mobile desktop js wp jp td et elementor wpb
    sticky the pre primary node field name view box container component art layout ui app
    wrapper wrap inner outer list lists link links item items area bar group row col column
    holder panel title heading headline wide small large text textarea label open closed active
    default horizontal vertical fixed one two three first last new inline grid toggle
    placeholder sub on in by at cloud next previous prev network input unit slot fb notice
    thread posts articles stories mw body form padding base count time image img media photo
    picture bild and
"""
"""Words that tell nothing of a part."""
WITHIN = (
    r"newsletter|cookie|breadcrumb|relatedposts|related-(?:post|article|stor|content|link|news|box|item)|"
    r"(?:posts?|articles?|stor(?:y|ies)|news|links?|content|beitraege|artikel)-related|relacionad|recommend|recommand|"
    r"social-(?:media|share|link|icon|bar|button)|share-(?:button|bar|link|icon|tool|box)|sharing|advert|sponsor|"
    r"paywall|disqus|comments?-(?:form|list|area|section|disclosure)|subscribe|copyright|outbrain|taboola|disclosure|"
    r"disclaimer|spenden|author-(?:box|bio|info|card|profile)|read-?more|also-read|most-read|"
    r"teaser-(?:list|box|row|grid|container)|promo-|contact-?box|appstore|app-download|print-(?:button|recipe|link)|"
    r"recipe-print|\bteaser"
)
"""Parts of the site wherever they stand in a name."""
CERTAIN = (
    r"comments?(?!ary)|disqus|respond|trackback|related|relacionad|verwandt|recommend|recommand|social|shar(?:e|ing)|"
    r"cookie|consent|gdpr|newsletter|breadcrumb|pagination|subscri|advert|sponsor|outbrain|taboola|navigation|footer"
)
"""Parts that are never what a page is for, however much of it they are."""
HEADINGS = (
    r"you (?:may|might|could) (?:also )?(?:like|be interested)|related|recommended|"
    r"more (?:from|on|in|stories|articles|news|about|like)|read (?:more|next|also)|also (?:read|on)|see also on|"
    r"popular|trending|most (?:read|popular)|latest (?:news|posts|articles|stories)|recent (?:posts|articles|news)|"
    r"share (?:this|on|via|with)|share\b\w*$|follow us|subscribe|sign up|newsletter|leave a (?:reply|comment)|"
    r"comments?\w*$|\d+ (?:comments?|responses?|thoughts?)\b|post navigation|about the author|tags?\w*$|"
    r"categories\w*$|filed under|sponsored|advertisement|don't miss|editor's picks|what to read next|join the|"
    r"similar (?:posts|articles|products)|further articles|next article|previous article|"
    r"(?:das könnte|auch interessant|lesen sie (?:auch|mehr)|mehr (?:zum thema|dazu|aus|von|artikel|infos|informatione"
    r"n)|weitere (?:artikel|beiträge|informationen|meldungen|nachrichten|themen|links|infos)|ähnliche|verwandte|zum we"
    r"iterlesen|passend dazu|neueste|aktuelle (?:beiträge|artikel|meldungen)|teilen\b|kommentare?\w*$|schreibe? (?:ein"
    r"en|ein)|schlagw|kategorien|über den autor|zum thema\w*$|empfehlungen|beliebt|meistgelesen|unsere partner|artikel"
    r" teilen|ihre meinung)|"
    r"(?:te puede interesar|le puede interesar|también te|noticias relacionadas|notas relacionadas|relacionad|lea tamb"
    r"ién|más (?:noticias|sobre|leíd|información)|últimas noticias|comentarios?\w*$|compartir|etiquetas|puedes ver)|"
    r"(?:à lire aussi|lire aussi|articles? (?:liés|similaires|connexes)|sur le même (?:sujet|thème)|vous aimerez|voir "
    r"aussi sur|partager|commentaires?\w*$|vos réactions|derniers articles|leggi anche|ti potrebbe|articoli correlati|"
    r"condividi|commenti\w*$|leia (?:também|mais)|veja também|notícias relacionadas|czytaj (?:też|także|również)|zobac"
    r"z (?:też|także|również)|polecane|podobne|komentarze|tagi\w*$|udostępnij)"
)
"""What headings of blocks of the site begin with."""

_MAIN_TEXT, _MAIN_AREA, _LEAD, _CODE = (re.compile(words) for words in (MAIN_TEXT, MAIN_AREA, LEADS, CODE_BLOCKS))
_SITE = frozenset(word for words in SITE.values() for word in words.split())
_FRAME = frozenset(FRAME.split())
_WITHIN, _CERTAIN, _COMMENTS = re.compile(WITHIN), re.compile(CERTAIN), re.compile("comment|respon|repl|discussion")
_HEADING = re.compile(rf"(?:{HEADINGS})", re.IGNORECASE)
_CONTENTS_ANCHOR = re.compile(rb"_?toc\w*\d", re.IGNORECASE)
"""A heading to which a table of contents leads: TOC_TITLE_1, _Toc123456."""
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TOLD = re.compile(r' (role|itemprop|rel|style|aria-hidden|hidden)(?:="([^"]*)")?')
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SITE_ROLES = frozenset(
    [
        "alert",
        "alertdialog",
        "banner",
        "complementary",
        "contentinfo",
        "dialog",
        "menu",
        "menubar",
        "menuitem",
        "navigation",
        "search",
        "searchbox",
        "toolbar",
        "tooltip",
        "tablist",
    ]
)
_SITE_PROPERTIES = frozenset(["author", "datePublished", "dateModified", "publisher", "keywords", "comment"])


def meaning(classes: bytes, name: bytes, others: bytes) -> Meaning:
    """What an element is by its class, its id, and all its attributes as serialised, if there are others that tell
    something. What holds the text of an article is not the site's, whatever else it is called."""
    site, main = _of_classes(classes) if classes else (Meaning.NOTHING, Meaning.NOTHING)
    if name and not _CONTENTS_ANCHOR.fullmatch(name):
        found = _of_name(name.decode(), True)
        site, main = min(site, found), max(main, found)
    if others:
        for told, value in _TOLD.findall(others.decode()):
            found = _of_attribute(told, value)
            site, main = min(site, found), max(main, found)
    if site == Meaning.HIDDEN:
        return site
    return site if site and main < Meaning.TEXT else main


@lru_cache(maxsize=1 << 16)
def _of_classes(classes: bytes) -> tuple[Meaning, Meaning]:
    """The meanings of an element's classes that tell most of the site and of the main text."""
    found = [_of_name(word, False) for word in classes.decode().split()]
    main = max(found, default=Meaning.NOTHING)
    value = main if main >= Meaning.TEXT else min(found, default=main) or main
    return min(value, Meaning.NOTHING), max(value, Meaning.NOTHING)


def _of_attribute(name: str, value: str) -> Meaning:
    match name:
        case "style" if _NOT_SHOWN.search(value):
            return Meaning.HIDDEN
        case "hidden":
            return Meaning.HIDDEN
        case "aria-hidden" if value == "true":
            return Meaning.HIDDEN
        case "role" if value in _SITE_ROLES:
            return Meaning.SITE
        case "role" if value in ("main", "article"):
            return Meaning.AREA
        case "itemprop" if value in ("articleBody", "text"):
            return Meaning.TEXT
        case "itemprop" if value in _SITE_PROPERTIES:
            return Meaning.SITE
        case "rel" if value in RELATIONS:
            return Meaning.SITE
    return Meaning.NOTHING


@lru_cache(maxsize=1 << 16)
def _of_name(name: str, is_id: bool) -> Meaning:
    if not name.islower():
        name = _CAPITAL.sub("-", name).lower()
    name = "-".join(filter(None, name.replace("_", "-").replace(":", "-").split("-")))
    if _MAIN_TEXT.fullmatch(name):
        return Meaning.TEXT
    if _CODE.fullmatch(name):
        return Meaning.NOTHING if is_id else Meaning.CODE
    if _LEAD.fullmatch(name):
        return Meaning.NOTHING if is_id else Meaning.LEAD
    if _is_site(name.split("-")) or (not is_id and _WITHIN.search(name)):
        if not _CERTAIN.search(name):
            return Meaning.SITE
        return Meaning.COMMENTS if _COMMENTS.search(name) else Meaning.CERTAINLY_SITE
    return Meaning.AREA if _MAIN_AREA.fullmatch(name) else Meaning.NOTHING


def _is_site(words: list[str]) -> bool:
    """Whether one of the words, or two together, is the site's, and all others tell nothing."""
    found, place = False, 0
    while place < len(words):
        word, two = words[place], "-".join(words[place : place + 2])
        if two in _SITE:
            found, place = True, place + 2
        elif word in _SITE or _is_glued(word):
            found, place = True, place + 1
        elif word in _FRAME or len(word) < 2 or word.rstrip("0123456789") in _FRAME | {""}:
            place += 1
        else:
            return False
    return found


def _is_glued(word: str) -> bool:
    """Whether a word of the site stands before one that tells nothing, as in `loginbox`, or the other way round."""
    word = word.rstrip("0123456789")
    return word in _SITE or any(
        (word[:cut] in _SITE and word[cut:] in _FRAME | _SITE) or (word[:cut] in _FRAME and word[cut:] in _SITE)
        for cut in range(3, len(word) - 2)
    )


def begins_the_site(heading: str) -> bool:
    """Whether a heading is that of a block of the site: related articles, comments, shares."""
    return bool(_HEADING.match(heading.strip(" \t\n:»>•-–·")))
