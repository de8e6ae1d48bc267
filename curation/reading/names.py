"""The names that sites give to their parts, in classes and ids, and the headings that begin a part of the site.

`meaning` says what a page's author tells of an element by its attributes. Names are compared word by word, in lower
case, with one hyphen for whatever joins them (`postContent`, `post_content` and `post__content` are `post-content`).
The lists follow what Readability, trafilatura and Resiliparse look for, and what stood on half of two annotated sets of
pages (`benchmarks.pages`); most of them are English, with the commonest German, French, Spanish and Polish ones.
"""

import re
from enum import IntEnum
from functools import lru_cache


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
SITE_PARTS = (
    r"nav|navi|navigation|navbar|menus?|sub-?menu|main-?menu|top-?nav|sub-?nav|main-?nav|dropdown|bread-?crumbs?|"
    r"crumbs?|pagination|pager|paging|page-?nav(?:i|igation)?|post-?navi?(?:gation)?|nav-?links|"
    r"nav-?(?:previous|next)|wp-?pagenavi|skip(?:-?links?|-?to(?:-?(?:main|content|nav))*|-?nav)?|"
    r"screen-?reader-?text|sr-?only|visually-?hidden|side-?bars?\d*|side-?box|rail|rightcol|leftcol|right-?column|"
    r"left-?column|aside|secondary|tertiary|sticky-?bar|sidenav|footers?|foot|bottom-?bar|copyrights?|legal|imprint|"
    r"impressum|colophon|disclaimer|credits?|fine-?print|mast-?head|top-?bar|header-?bar|branding|logo|site-?title|"
    r"site-?description|site-?info|tagline|"
    r"cookies?(?:-?(?:notice|bar|banner|law|consent|info|hint|policy|popup|message))?|consent|gdpr|cc-?window|"
    r"privacy(?:-?policy)?|shar(?:e|es|ing)(?:-?(?:this|icons?|links?|buttons?|bar|tools|box|post|daddy|article))?|"
    r"sharedaddy|shareaholic|"
    r"social(?:-?(?:media|links?|icons?|share|sharing|bar|buttons?|network|box|likes?|bookmarks?))?|sociable|addtoany|"
    r"addthis|a2a|shariff|ssba|ssbp|follow(?:-?us)?|like-?(?:button|box)|facebook|twitter|whatsapp|pinterest|linkedin|"
    r"fb-?(?:like|root|comments)|tweet|heateor|swp|jp-?relatedposts|jetpack-?likes|sd-?(?:block|social|sharing)|"
    r"teilen|compartir|partager|wpfp|bookmarks?|"
    r"comments?(?:-?(?:list|area|form|wrap|section|respond|meta|body|text|link|count|closed|box|thread|container|conte"
    r"nt|post|block|title|header|author|template))?|"
    r"comment-?\d+|commentlist|disqus(?:-?thread)?|respond|reply|replies|responses?|trackbacks?|pingbacks?|"
    r"kommentare?|kommentar-?\w+|reader-?comments|no-?comments?|discussion|formulaire-?forum|"
    r"related(?:-?(?:posts?|articles?|content|links?|news|stories|topics|products|items|entries|pages|reading|info|med"
    r"ia|teaser))?|"
    r"relateds?|relacionad[oa]s|verwandte|similar(?:-?(?:posts?|articles?|products))?|"
    r"recommend(?:ed|ations?)?(?:-?(?:posts?|articles?|stories|reading|for-you|content))?|"
    r"more-?(?:news|stories|articles|posts|from|on|like-?this|links?|info|about|in)|read-?(?:more|next|also)|readmore|"
    r"also-?(?:read|like|on)|you-?may-?(?:also-?)?like|trending|popular(?:-?\w+)?|"
    r"most-?(?:read|popular|viewed|recent|shared|commented)|featured-?(?:posts?|articles?|stories|content)|"
    r"latest(?:-?(?:news|posts?|articles?|stories))?|recent(?:-?(?:posts?|comments|articles|news|entries))?|"
    r"teasers?(?:-?\w+)?|promos?(?:-?\w+)?|outbrain|taboola|ob-?widget|upsell|cross-?sell|yarpp\w*|rp4wp\w*|"
    r"crp-?related|mehr-?zum-?thema|zum-?thema|linkliste|linklist|link-?(?:list|box|block)|blogroll|cta(?:-?\w+)?|"
    r"call-?to-?action|infobox-?cta|read-?on|up-?next|next-?(?:post|article|up)|prev(?:ious)?-?(?:post|article)|"
    r"prev-?next|see-?also-?box|ads?|advert(?:s|ise|isement|ising|orial)?|anzeigen?|werbung|sponsor(?:s|ed|ship)?|"
    r"ad-?(?:slot|unit|box|container|wrapper|banner|block|space|zone|label|area|content|holder|placeholder|top|bottom|"
    r"left|right|middle|\d+)|"
    r"adsense|adsbygoogle|banners?(?:-?ad)?|dfp|google-?ads?|publicidad|publicite|news-?letter(?:-?\w+)?|"
    r"subscri(?:be|ption|ptions|ber)(?:-?\w+)?|sign-?(?:up|in)(?:-?\w+)?|log-?in(?:-?\w+)?|register|registration|"
    r"account|pay-?wall(?:-?\w+)?|mailing-?list|mc4wp\w*|mailchimp|optin|opt-?in|donat(?:e|ion|ions)(?:-?\w+)?|"
    r"spenden|membership|widgets?(?:-?(?:area|title|content|text|wrap))?|widget-\w+|textwidget|widgettitle|pop-?ups?|"
    r"modals?|overlay|lightbox|tooltips?|toast|snackbar|flyout|off-?canvas|drawer|"
    r"tags?(?:-?(?:list|cloud|links?|container|wrap|section|block|box))?|post-?tags?|entry-?tags?|article-?tags?|"
    r"tagcloud|categor(?:y|ies)(?:-?(?:list|links?|label|name))?|cat-?(?:links?|list)|post-?categor(?:y|ies)|keywords|"
    r"topics|schlagworte|filed-?under|"
    r"(?:post|entry|article|blog|story|page|news|content|item)-?(?:meta(?:-?\w+)?|info|infos|details-?meta|footer|util"
    r"ity|tools|date|time|published|author(?:-?\w+)?|byline|tags|actions?|social|share|sharing|nav|navigation|paginati"
    r"on|controls|bottom|stats|views|subline|header-?meta|timestamp|credits?|print|toolbar|sidebar|links|related|categ"
    r"ories|labels)|"
    r"postmeta\w*|postinfo|post-?details|postdate|postmetadata|meta(?:-?(?:data|info|box|line|bar|date|author|wrap))?|"
    r"metadata|metabar|metas|by-?line(?:-?\w+)?|date-?line|"
    r"dates?(?:-?(?:header|time|published|publish|created|box|line))?|datum|timestamp|published(?:-?(?:on|date|at))?|"
    r"pub-?date|posted-?(?:on|by|in|at)|updated|last-?(?:updated?|modified)|"
    r"authors?(?:-?(?:box|bio|info|name|desc|description|card|block|link|meta|image|avatar|details|section|profile))?|"
    r"about-?(?:the-?)?author|auth-?info|vcard|autor(?:en)?(?:-?(?:info|box))?|submitted(?:-?by)?|bio(?:graphy)?|"
    r"user-?info|profile(?:-?\w+)?|search(?:-?(?:form|box|bar|field|block|wrap|results?|input|container|widget))?|"
    r"suche|galler(?:y|ies)(?:-?\w+)?|carousel(?:-?\w+)?|sliders?(?:-?\w+)?|slide-?show|slides?|swiper(?:-?\w+)?|"
    r"slick(?:-?\w+)?|thumbs?|thumbnails?|rev-?slider\w*|owl-\w+|captions?(?:-?text)?|wp-?caption-?text|"
    r"(?:image|img|media|photo|picture|foto)-?(?:caption|credits?|copyright|description|source|meta|info|text)|"
    r"bild-?(?:unterschrift|nachweis|text|quelle)|credit-?line|ratings?(?:-?\w+)?|votes?|voting|feedback|"
    r"print(?:-?(?:only|link|button|version|me|icon))?|no-?print|printfriendly|tool-?(?:bar|box|tip|s)|tools|"
    r"action-?(?:bar|links?|buttons?)|actions|buttons?(?:-?(?:bar|group|row|wrap))?|btn(?:-?\w+)?|icons?(?:-?\w+)?|"
    r"badge|kudos|claps?|likes?|views|counter|view-?count|toc(?:-?(?:list|container|wrapper|box|nav|menu|sidebar))?|"
    r"table-?of-?contents|ez-?toc-?\w*|lwptoc\w*|inhaltsverzeichnis|d-?none|noscript|noprint|nodisplay|edit-?section|"
    r"mw-?(?:editsection|jump-?link|indicators)|navbox\w*|catlinks|printfooter|reflist-?x|js-?voting-?container|"
    r"jump-?link|back-?to-?top|scroll-?(?:top|to-?top|up)|to-?top|totop|go-?top|"
    r"language(?:-?(?:switcher|selector|links|menu|list|switch))?|lang-?(?:switch(?:er)?|menu|list|selector)|weather|"
    r"poll|upcoming-?events|calendar|audio-?player|players?|podcast-?\w+|shop-?\w+|cart|warenkorb|basket|"
    r"product-?(?:list|grid|slider)|anchor-?link|header-?link|headerlink|heading-?anchor|hash-?link|perma-?link|"
    r"wp-?block-?(?:latest-?posts|categories|archives|tag-?cloud|search|social-?links|buttons?|post-?(?:date|author|te"
    r"rms|comments))|"
    r"report-?(?:error|this|ad)|abstract-?links|ressort|kicker|hinweis|partner(?:s)?|unsubscribe|membership-?\w+|"
    r"edit-?link|post-?edit-?link|archive-?(?:list|links?)|blog-?archive|blogarchive"
)
"""Menus, shares, comments, other pages, advertisements, accounts, notices, what is said about an article."""
BEFORE = (
    r"site|page|main|top|bottom|left|right|global|post|entry|article|blog|header|footer|block|region|pane|module|mod|"
    r"section|content|single|story|news|mobile|desktop|l|c|m|o|js|wp|jp|g|u|td|tdb|et|et-pb|fl|elementor|mkd|qodef|vc|"
    r"wpb|sticky|global|the|pre|post|primary|node|field(?:-name)?|view|box|container|component|view|art|layout|ui|app|"
    r"yui"
)
"""Words that may stand before one of SITE_PARTS."""
BEHIND = (
    r"container|wrapper|wrap|inner|outer|box|boxes|list|lists|links?|items?|area|bar|section|block|blocks|widget|"
    r"content|menu|group|row|rows|col|cols|column|holder|panel|title|heading|headline|header|left|right|top|bottom|"
    r"main|mobile|desktop|wide|small|large|module|icons?|body|text|label|open|closed|active|default|horizontal|"
    r"vertical|primary|secondary|fixed|sticky|one|two|three|first|last|new|old|[a-z]?\d+|inline|view|grid|nav|toggle|"
    r"button|buttons|page|single|post|article|region|zone|placeholder|component|teaser|footer|pane"
)
"""Words that may stand behind one."""
BEHIND_IDS = (
    r"container|wrapper|wrap|inner|outer|box|area|bar|list|section|block|nav|menu|links?|content|main|left|right|top|"
    r"bottom|primary|secondary|header|footer"
)
"""Those that may do so in an id, which is often a heading's words."""
WITHIN = (
    r"newsletter|cookie|breadcrumb|relatedposts|related-(?:post|article|stor|content|link|news|box|item)|"
    r"(?:posts?|articles?|stor(?:y|ies)|news|links?|content|beitraege|artikel)-related|relacionad|recommend|recommand|"
    r"social-(?:media|share|link|icon|bar|button)|share-(?:button|bar|link|icon|tool|box)|sharing|advert|sponsor|"
    r"paywall|disqus|comments?-(?:form|list|area|section|disclosure)|subscribe|copyright|outbrain|taboola|disclosure|"
    r"disclaimer|spenden|author-(?:box|bio|info|card|profile)|read-?more|also-read|most-read|"
    r"teaser-(?:list|box|row|grid|container)|promo-|contact-?box|appstore|app-download|print-(?:button|recipe|link)|"
    r"recipe-print"
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
_SITE = re.compile(rf"(?:(?:{BEFORE})-)*(?:{SITE_PARTS})(?:-?(?:{BEHIND}))*")
_SITE_ID = re.compile(rf"(?:(?:{BEFORE})-)*(?:{SITE_PARTS})(?:-?(?:{BEHIND_IDS}))*")
_WITHIN, _CERTAIN, _COMMENTS = re.compile(WITHIN), re.compile(CERTAIN), re.compile("comment|respon|repl|discussion")
_HEADING = re.compile(rf"(?:{HEADINGS})", re.IGNORECASE)
_CAPITAL, _JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])"), re.compile(r"[_\-:]+")
_TOLD = re.compile(r' (class|id|role|itemprop|rel|style|aria-hidden|hidden)(?:="([^"]*)")?')
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
_SITE_RELATIONS = frozenset(["author", "prev", "next", "tag", "search"])


@lru_cache(maxsize=1 << 16)
def meaning(attributes: bytes) -> Meaning:
    """What an element is by its attributes, as serialised. What holds the text of an article is not the site's,
    whatever else it is called."""
    site, main = Meaning.NOTHING, Meaning.NOTHING
    for name, value in _TOLD.findall(attributes.decode()):
        found = _of_attribute(name, value)
        site, main = min(site, found), max(main, found)
    if site == Meaning.HIDDEN:
        return site
    return site if site and main < Meaning.TEXT else main


def _of_attribute(name: str, value: str) -> Meaning:
    match name:
        case "class":
            found = [_of_name(word, False) for word in value.split()]
            main = max(found, default=Meaning.NOTHING)
            return main if main >= Meaning.TEXT else min(found, default=main) or main
        case "id":
            return _of_name(value, True)
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
        case "rel" if value in _SITE_RELATIONS:
            return Meaning.SITE
    return Meaning.NOTHING


@lru_cache(maxsize=1 << 16)
def _of_name(name: str, is_id: bool) -> Meaning:
    name = _JOINTS.sub("-", _CAPITAL.sub("-", name)).lower().strip("-")
    if _MAIN_TEXT.fullmatch(name):
        return Meaning.TEXT
    if _CODE.fullmatch(name):
        return Meaning.NOTHING if is_id else Meaning.CODE
    if _LEAD.fullmatch(name):
        return Meaning.NOTHING if is_id else Meaning.LEAD
    if _SITE_ID.fullmatch(name) if is_id else _SITE.fullmatch(name) or _WITHIN.search(name):
        if not _CERTAIN.search(name):
            return Meaning.SITE
        return Meaning.COMMENTS if _COMMENTS.search(name) else Meaning.CERTAINLY_SITE
    return Meaning.AREA if _MAIN_AREA.fullmatch(name) else Meaning.NOTHING


def begins_the_site(heading: str) -> bool:
    """Whether a heading is that of a block of the site: related articles, comments, shares."""
    return bool(_HEADING.match(heading.strip(" \t\n:»>•-–·")))
