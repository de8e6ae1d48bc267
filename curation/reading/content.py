"""Which elements of a page are its main text, and which are the site around it."""

import re
from dataclasses import dataclass
from functools import lru_cache

from curation.reading.outline import Outline

GUARD = 0.3
SMALL_SHARE = 0.15
NUMBERED = re.compile(r"(?:fig(?:ure)?|tab(?:le)?|algorithm|listing|abb(?:ildung)?|scheme|plate|chart|example|theorem|box)\b\W{0,2}[\dIVXA-D]", re.IGNORECASE)
GONE_TAGS = frozenset("nav aside menu footer figcaption del".split())
CLASSES = re.compile(r' (class|id|role|itemprop|rel|style|aria-hidden|hidden)(?:="([^"]*)")?')
HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
ROLES = frozenset("alert alertdialog banner complementary contentinfo dialog menu menubar menuitem navigation search searchbox toolbar tooltip tablist".split())
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
SEPARATORS = re.compile(r"[_\-:]+")
BEST = re.compile(
    r"(?:[a-z]+-)?(?:article|post|entry|story|blog|news|artikel|articulo|recipe|td-post|art-post|single-post|blogpost|field-name|field)-?(?:body|content|text|bodytext|copy|full|main-content|inhalt|main-text|richtext|article-body)(?:-(?:inner|wrapper|container|main|article|content|body|copy|text|\d+))*"
    r"|(?:article|post|entry|story)-?(?:content-?)?(?:body|text)|body-text|bodytext|story-body-text|mw-parser-output|mw-content-text|markdown-body|the-content|rich-?text(?:-\w+)?|storycontent|text-content|post-bodycopy|single-content|wpb-text-column|gni-nota|content-text|main-text|fliesstext|body-copy|c-entry-content|e-content|theme-content|itemtext|item-?full-?text|com-content-article-body|page-content|document-body|cuerpo|articulo-cuerpo|article-detail|articledetail|article-main|news-detail|news-text|detail-text|text-long|contents"
)
GOOD = re.compile(
    r"(?:[a-z]+-)?(?:article|post|entry|story|blogpost|hentry|h-entry|single-post|single|artikel|articulo|blog-post|news-article|type-post|blog-entry)(?:-(?:container|wrapper|wrap|inner|main|full|page|detail|view|area|column|\d+))*"
    r"|(?:main|page|site|body|center|middle|left|primary|inner|the)?-?(?:content|contents|inhalt|contenido|contenu)(?:-(?:main|inner|area|wrapper|wrap|container|body|column|center|primary|left|page|col))*|main(?:-(?:inner|area|wrapper|wrap|column|col|text|body|container))*|maincontent|content-?main|mainbody|primary|text|document|bd"
)
WORD = (
    r"nav|navi|navigation|navbar|menus?|sub-?menu|main-?menu|top-?nav|sub-?nav|main-?nav|dropdown|bread-?crumbs?|crumbs?|pagination|pager|paging|page-?nav(?:i|igation)?|post-?navi?(?:gation)?|nav-?links|nav-?(?:previous|next)|wp-?pagenavi|"
    r"skip(?:-?links?|-?to(?:-?(?:main|content|nav))*|-?nav)?|screen-?reader-?text|sr-?only|visually-?hidden|"
    r"side-?bars?\d*|side-?box|rail|rightcol|leftcol|right-?column|left-?column|aside|secondary|tertiary|sticky-?bar|sidenav|"
    r"footers?|foot|bottom-?bar|copyrights?|legal|imprint|impressum|colophon|disclaimer|credits?|fine-?print|"
    r"mast-?head|top-?bar|header-?bar|branding|logo|site-?title|site-?description|site-?info|tagline|"
    r"cookies?(?:-?(?:notice|bar|banner|law|consent|info|hint|policy|popup|message))?|consent|gdpr|cc-?window|privacy(?:-?policy)?|"
    r"shar(?:e|es|ing)(?:-?(?:this|icons?|links?|buttons?|bar|tools|box|post|daddy|article))?|sharedaddy|shareaholic|social(?:-?(?:media|links?|icons?|share|sharing|bar|buttons?|network|box|likes?|bookmarks?))?|sociable|addtoany|addthis|a2a|shariff|ssba|ssbp|follow(?:-?us)?|like-?(?:button|box)|facebook|twitter|whatsapp|pinterest|linkedin|fb-?(?:like|root|comments)|tweet|heateor|swp|jp-?relatedposts|jetpack-?likes|sd-?(?:block|social|sharing)|teilen|compartir|partager|wpfp|bookmarks?|"
    r"comments?(?:-?(?:list|area|form|wrap|section|respond|meta|body|text|link|count|closed|box|thread|container|content|post|block|title|header|author|template))?|comment-?\d+|commentlist|disqus(?:-?thread)?|respond|reply|replies|responses?|trackbacks?|pingbacks?|kommentare?|kommentar-?\w+|reader-?comments|no-?comments?|discussion|formulaire-?forum|"
    r"related(?:-?(?:posts?|articles?|content|links?|news|stories|topics|products|items|entries|pages|reading|info|media|teaser))?|relateds?|relacionad[oa]s|verwandte|similar(?:-?(?:posts?|articles?|products))?|recommend(?:ed|ations?)?(?:-?(?:posts?|articles?|stories|reading|for-you|content))?|more-?(?:news|stories|articles|posts|from|on|like-?this|links?|info|about|in)|read-?(?:more|next|also)|readmore|also-?(?:read|like|on)|you-?may-?(?:also-?)?like|trending|popular(?:-?\w+)?|most-?(?:read|popular|viewed|recent|shared|commented)|featured-?(?:posts?|articles?|stories|content)|latest(?:-?(?:news|posts?|articles?|stories))?|recent(?:-?(?:posts?|comments|articles|news|entries))?|teasers?(?:-?\w+)?|promos?(?:-?\w+)?|outbrain|taboola|ob-?widget|upsell|cross-?sell|yarpp\w*|rp4wp\w*|crp-?related|mehr-?zum-?thema|zum-?thema|linkliste|linklist|link-?(?:list|box|block)|blogroll|cta(?:-?\w+)?|call-?to-?action|infobox-?cta|read-?on|up-?next|next-?(?:post|article|up)|prev(?:ious)?-?(?:post|article)|prev-?next|see-?also-?box|"
    r"ads?|advert(?:s|ise|isement|ising|orial)?|anzeigen?|werbung|sponsor(?:s|ed|ship)?|ad-?(?:slot|unit|box|container|wrapper|banner|block|space|zone|label|area|content|holder|placeholder|top|bottom|left|right|middle|\d+)|adsense|adsbygoogle|banners?(?:-?ad)?|dfp|google-?ads?|publicidad|publicite|"
    r"news-?letter(?:-?\w+)?|subscri(?:be|ption|ptions|ber)(?:-?\w+)?|sign-?(?:up|in)(?:-?\w+)?|log-?in(?:-?\w+)?|register|registration|account|pay-?wall(?:-?\w+)?|mailing-?list|mc4wp\w*|mailchimp|optin|opt-?in|donat(?:e|ion|ions)(?:-?\w+)?|spenden|membership|"
    r"widgets?(?:-?(?:area|title|content|text|wrap))?|widget-\w+|textwidget|widgettitle|"
    r"pop-?ups?|modals?|overlay|lightbox|tooltips?|toast|snackbar|flyout|off-?canvas|drawer|"
    r"tags?(?:-?(?:list|cloud|links?|container|wrap|section|block|box))?|post-?tags?|entry-?tags?|article-?tags?|tagcloud|categor(?:y|ies)(?:-?(?:list|links?|label|name))?|cat-?(?:links?|list)|post-?categor(?:y|ies)|keywords|topics|schlagworte|filed-?under|"
    r"(?:post|entry|article|blog|story|page|news|content|item)-?(?:meta(?:-?\w+)?|info|infos|details-?meta|footer|utility|tools|date|time|published|author(?:-?\w+)?|byline|tags|actions?|social|share|sharing|nav|navigation|pagination|controls|bottom|stats|views|subline|header-?meta|timestamp|credits?|print|toolbar|sidebar|links|related|categories|labels)|postmeta\w*|postinfo|post-?details|postdate|postmetadata|meta(?:-?(?:data|info|box|line|bar|date|author|wrap))?|metadata|metabar|metas|by-?line(?:-?\w+)?|date-?line|dates?(?:-?(?:header|time|published|publish|created|box|line))?|datum|timestamp|published(?:-?(?:on|date|at))?|pub-?date|posted-?(?:on|by|in|at)|updated|last-?(?:updated?|modified)|authors?(?:-?(?:box|bio|info|name|desc|description|card|block|link|meta|image|avatar|details|section|profile))?|about-?(?:the-?)?author|auth-?info|vcard|autor(?:en)?(?:-?(?:info|box))?|submitted(?:-?by)?|bio(?:graphy)?|user-?info|profile(?:-?\w+)?|"
    r"search(?:-?(?:form|box|bar|field|block|wrap|results?|input|container|widget))?|suche|"
    r"galler(?:y|ies)(?:-?\w+)?|carousel(?:-?\w+)?|sliders?(?:-?\w+)?|slide-?show|slides?|swiper(?:-?\w+)?|slick(?:-?\w+)?|thumbs?|thumbnails?|rev-?slider\w*|owl-\w+|"
    r"captions?(?:-?text)?|wp-?caption-?text|(?:image|img|media|photo|picture|foto)-?(?:caption|credits?|copyright|description|source|meta|info|text)|bild-?(?:unterschrift|nachweis|text|quelle)|credit-?line|"
    r"ratings?(?:-?\w+)?|votes?|voting|feedback|print(?:-?(?:only|link|button|version|me|icon))?|no-?print|printfriendly|tool-?(?:bar|box|tip|s)|tools|action-?(?:bar|links?|buttons?)|actions|buttons?(?:-?(?:bar|group|row|wrap))?|btn(?:-?\w+)?|icons?(?:-?\w+)?|badge|kudos|claps?|likes?|views|counter|view-?count|"
    r"toc(?:-?(?:list|container|wrapper|box|nav|menu|sidebar))?|table-?of-?contents|ez-?toc-?\w*|lwptoc\w*|inhaltsverzeichnis|d-?none|noscript|noprint|nodisplay|edit-?section|mw-?(?:editsection|jump-?link|indicators)|navbox\w*|catlinks|printfooter|reflist-?x|js-?voting-?container|"
    r"jump-?link|back-?to-?top|scroll-?(?:top|to-?top|up)|to-?top|totop|go-?top|language(?:-?(?:switcher|selector|links|menu|list|switch))?|lang-?(?:switch(?:er)?|menu|list|selector)|weather|poll|upcoming-?events|calendar|audio-?player|players?|podcast-?\w+|shop-?\w+|cart|warenkorb|basket|product-?(?:list|grid|slider)|anchor-?link|header-?link|headerlink|heading-?anchor|hash-?link|perma-?link|wp-?block-?(?:latest-?posts|categories|archives|tag-?cloud|search|social-?links|buttons?|post-?(?:date|author|terms|comments))|report-?(?:error|this|ad)|abstract-?links|ressort|kicker|hinweis|partner(?:s)?|unsubscribe|membership-?\w+|edit-?link|post-?edit-?link|archive-?(?:list|links?)|blog-?archive|blogarchive"
)
PREFIX = r"(?:site|page|main|top|bottom|left|right|global|post|entry|article|blog|header|footer|block|region|pane|module|mod|section|content|single|story|news|mobile|desktop|l|c|m|o|js|wp|jp|g|u|td|tdb|et|et-pb|fl|elementor|mkd|qodef|vc|wpb|sticky|global|the|pre|post|primary|node|field(?:-name)?|view|box|container|component|view|art|layout|ui|app|yui)"
SUFFIX = r"(?:container|wrapper|wrap|inner|outer|box|boxes|list|lists|links?|items?|area|bar|section|block|blocks|widget|content|menu|group|row|rows|col|cols|column|holder|panel|title|heading|headline|header|left|right|top|bottom|main|mobile|desktop|wide|small|large|module|icons?|body|text|label|open|closed|active|default|horizontal|vertical|primary|secondary|fixed|sticky|one|two|three|first|last|new|old|[a-z]?\d+|inline|view|grid|nav|toggle|button|buttons|page|single|post|article|region|zone|placeholder|component|teaser|footer|pane)"
BAD = re.compile(rf"(?:{PREFIX}-)*(?:{WORD})(?:-?{SUFFIX})*")

STRONG = re.compile(r"comments?(?!ary)|disqus|respond|trackback|related|relacionad|verwandt|recommend|recommand|social|shar(?:e|ing)|cookie|consent|gdpr|newsletter|breadcrumb|pagination|subscri|advert|sponsor|outbrain|taboola|navigation|footer")
ANYWHERE = re.compile(r"newsletter|cookie|breadcrumb|relatedposts|related-(?:post|article|stor|content|link|news|box|item)|(?:posts?|articles?|stor(?:y|ies)|news|links?|content|beitraege|artikel)-related|relacionad|recommend|recommand|social-(?:media|share|link|icon|bar|button)|share-(?:button|bar|link|icon|tool|box)|sharing|advert|sponsor|paywall|disqus|comments?-(?:form|list|area|section|disclosure)|subscribe|copyright|outbrain|taboola|disclosure|disclaimer|spenden|author-(?:box|bio|info|card|profile)|read-?more|also-read|most-read|teaser-(?:list|box|row|grid|container)|promo-|contact-?box|appstore|app-download|print-(?:button|recipe|link)|recipe-print")
LEAD = re.compile(r"(?:[a-z]+-)*(?:lead|lede|intro|introduction|teaser|teaser-?text|excerpt|summary|sub-?title|sub-?headline|standfirst|bajada|dek|abstract|vorspann|anleser|sumario|chapeau|sottotitolo|summary|description|intro-?text|headline-?summary)(?:-(?:text|content|\d+|inner))*")

BAD_ID = re.compile(rf"(?:{PREFIX}-)*(?:{WORD})(?:-?(?:container|wrapper|wrap|inner|outer|box|area|bar|list|section|block|nav|menu|links?|content|main|left|right|top|bottom|primary|secondary|header|footer))*")

@lru_cache(maxsize=1 << 16)
def grade(token: str, is_id: bool) -> int:
    """-2 surely a part of the site, -1 a part of the site, 1 main area, 2 main text, 5 lead"""
    token = SEPARATORS.sub("-", CAMEL.sub("-", token)).lower().strip("-")
    if BEST.fullmatch(token): return 2
    if LEAD.fullmatch(token): return 5
    if is_id and not BAD_ID.fullmatch(token): return 1 if GOOD.fullmatch(token) else 0
    if BAD.fullmatch(token) or ANYWHERE.search(token): return -2 if STRONG.search(token) else -1
    if GOOD.fullmatch(token): return 1
    return 0

@lru_cache(maxsize=1 << 16)
def verdict(attributes: str) -> int:
    """-2 hidden, -1 a part of the site, 0 neither, 1 main area, 2 main text."""
    found = 0
    bad, lead = 0, False
    for name, value in CLASSES.findall(attributes):
        match name:
            case "class":
                for token in value.split():
                    g = grade(token, False)
                    if g < 0: bad = min(bad, g)
                    elif g == 5: lead = True
                    else: found = max(found, g)
            case "id":
                g = grade(value, True)
                if g < 0: bad = min(bad, g)
                elif g < 5: found = max(found, g)
            case "style":
                if HIDDEN_STYLE.search(value): return -9
            case "hidden": return -9
            case "aria-hidden":
                if value == "true": return -9
            case "role":
                if value in ROLES: bad = min(bad, -1)
                if value in ("main", "article"): found = max(found, 1)
            case "itemprop":
                if value == "articleBody" or value=="text": return 2
                if value in ("author", "datePublished", "dateModified", "publisher", "keywords", "comment"): bad = min(bad, -1)
            case "rel":
                if value in ("author", "prev", "next", "tag", "search"): bad = min(bad, -1)
    return bad if bad and found < 2 else found or (5 if lead else 0)

PROSE = frozenset("p pre blockquote dd li td dt th h1 h2 h3 h4 h5 h6 summary caption figcaption address".split())
HOLDERS = frozenset("div section article main body center span font form td tr details b i em strong".split())
BLOCKY = frozenset("div section ul ol dl table p form fieldset header article center details td tr tbody li h2 h3 h4 h5 h6 menu hgroup main".split())
HEADS = frozenset("h1 h2 h3 h4 h5 h6".split())
CODE = frozenset("pre code math body main html h1".split())

SITE_HEADING = re.compile(
    r"(?:(?:you (?:may|might|could) (?:also )?(?:like|be interested)|related|recommended|more (?:from|on|in|stories|articles|news|about|like)|read (?:more|next|also)|also (?:read|on)|see also on|popular|trending|most (?:read|popular)|latest (?:news|posts|articles|stories)|recent (?:posts|articles|news)|share (?:this|on|via|with)|share\b\W*$|follow us|subscribe|sign up|newsletter|leave a (?:reply|comment)|comments?\W*$|\d+ (?:comments?|responses?|thoughts?)\b|post navigation|about the author|tags?\W*$|categories\W*$|filed under|sponsored|advertisement|don't miss|editor's picks|what to read next|join the|similar (?:posts|articles|products)|further articles|next article|previous article|"
    r"(?:das könnte|auch interessant|lesen sie (?:auch|mehr)|mehr (?:zum thema|dazu|aus|von|artikel|infos|informationen)|weitere (?:artikel|beiträge|informationen|meldungen|nachrichten|themen|links|infos)|ähnliche|verwandte|zum weiterlesen|passend dazu|neueste|aktuelle (?:beiträge|artikel|meldungen)|teilen\b|kommentare?\W*$|schreibe? (?:einen|ein)|schlagw|kategorien|über den autor|zum thema\W*$|empfehlungen|beliebt|meistgelesen|unsere partner|artikel teilen|ihre meinung)|"
    r"(?:te puede interesar|le puede interesar|también te|noticias relacionadas|notas relacionadas|relacionad|lea también|más (?:noticias|sobre|leíd|información)|últimas noticias|comentarios?\W*$|compartir|etiquetas|puedes ver)|"
    r"(?:à lire aussi|lire aussi|articles? (?:liés|similaires|connexes)|sur le même (?:sujet|thème)|vous aimerez|voir aussi sur|partager|commentaires?\W*$|vos réactions|derniers articles|leggi anche|ti potrebbe|articoli correlati|condividi|commenti\W*$|leia (?:também|mais)|veja também|notícias relacionadas|czytaj (?:też|także|również)|zobacz (?:też|także|również)|polecane|podobne|komentarze|tagi\W*$|udostępnij)))", re.IGNORECASE)

MARK = "\ufdd0"
CLASS = re.compile(r' class="[^"]+"')
SAID = re.compile("comment|respon|repl")

class Content:
    def __init__(self, outline: Outline):
        self.o = outline
        o = outline
        self.size, self.linked, self.own = o.size.tolist(), o.linked.tolist(), o.own.tolist()
        begin, end = o._attributes
        self.verdicts = [verdict(o.attributes(i)) if end[i] > begin[i] and o.tags[i] != "a" else 0 for i in range(len(o.tags))]
        self.keep = [True] * len(o.tags)

    def prose_sums(self) -> list[int]:
        """characters of prose within each element, dropped ones left out."""
        o, keep = self.o, self.keep
        n = len(o.tags)
        sums = [0] * n
        i = 0
        leaf_until = 0
        while i < n:
            if not keep[i]:
                i = o.after[i]; continue
            t = o.tags[i]
            if t in PROSE:
                if i >= leaf_until:
                    c = self.size[i] - self.linked[i]
                    sums[i] = c if c >= 25 else 0
                    leaf_until = o.after[i]
            elif i >= leaf_until and self.own[i] >= 25 and t != "a":
                sums[i] = self.own[i]
            i += 1
        for i in range(n - 1, 0, -1):
            if sums[i]: sums[o.parent[i]] += sums[i]
        return sums

    def prune(self, guard: float) -> None:
        self._pass(lambda tag, v, i: (v == -9, 0.5) if v == -9 else (v == -2 and tag not in CODE, 0.95))
        self._pass(lambda tag, v, i: ((tag in GONE_TAGS and not (tag == "figcaption" and NUMBERED.match(self.o.texts(i)))) or (tag == "header" and self.o.parent[i] == 0) or (v == -1 and tag not in CODE), guard))
        self._links()

    def _pass(self, bad) -> None:
        o, keep = self.o, self.keep
        n = len(o.tags)
        prose = self.prose_sums()
        left = prose[0] if n else 0
        holds = [False] * n
        for i in range(n - 1, 0, -1):
            if keep[i]:
                t = o.tags[i]
                if (self.verdicts[i] == 2 and prose[i] >= 200 and prose[i] >= 0.15 * left) or t == "h1" or (t in ("article", "main") and prose[i] >= 0.4 * left and self.verdicts[i] >= 0):
                    holds[i] = True
                if holds[i]: holds[o.parent[i]] = True
        i = 1
        while i < n:
            if not keep[i]:
                i = o.after[i]; continue
            if holds[i] and prose[i] >= 200 or self.verdicts[i] == -2 and SAID.search(o.attributes(i)) and MARK in o.texts(i):
                i += 1; continue
            gone, guard = bad(o.tags[i], self.verdicts[i], i)
            if gone and (prose[i] < 25 or (prose[i] <= guard * left and left - prose[i] >= 200)):
                keep[i] = False
                i = o.after[i]; continue
            i += 1

    def _links(self) -> None:
        o, keep = self.o, self.keep
        n = len(o.tags)
        prose = self.prose_sums()
        left = max(prose[0] if n else 0, 1)
        i = 1
        while i < n:
            if not keep[i]:
                i = o.after[i]; continue
            if o.tags[i] in BLOCKY and self.size[i] and self.verdicts[i] not in (1, 2) and self.is_links(i, o.tags[i], prose[i] / left):
                keep[i] = False
                i = o.after[i]; continue
            i += 1

    def is_links(self, i, tag, share):
        d = self.linked[i] / self.size[i]
        if tag in ("h2","h3","h4","h5","h6"): return False
        if share > 0.3: return False
        if tag in ("tr","tbody"): return False
        if tag == "p": return d > 0.9 and self.size[i] < 200
        if tag in ("li","td"):
            return False
        if tag == "table": return d > 0.8 and self.size[i] < 1500
        if d > 0.8: return self.size[i] > 0
        return d > 0.5 and self.size[i] < 1500

    def roots(self) -> list[int]:
        o, keep = self.o, self.keep
        n = len(o.tags)
        prose = self.prose_sums()
        total = max(prose[0], 1)
        alive = []
        i = 0
        while i < n:
            if not keep[i]:
                i = o.after[i]; continue
            alive.append(i); i += 1
        for level in (2, 1):
            found = [i for i in alive if (self.verdicts[i] == level or (level == 1 and o.tags[i] in ("article", "main"))) and o.tags[i] in HOLDERS and i]
            # innermost good ones first: keep those with a good share of the prose
            big = max((prose[i] for i in found), default=0)
            if big < 0.4 * total or big < 100: continue
            biggest = max(found, key=lambda i: prose[i])
            alike = CLASS.search(o.attributes(biggest))
            chosen = [i for i in found if prose[i] >= 0.6 * big or level == 2 and alike and alike[0] in o.attributes(i) and prose[i]]
            if level == 1:
                # the smallest that still holds nearly all of the biggest
                small = [i for i in chosen if prose[i] >= 0.85 * big]
                arts = [i for i in small if o.tags[i]=="article"]
                return [small[-1]]
            # outermost among chosen
            outer = []
            for i in chosen:
                if not outer or i >= o.after[outer[-1]]: outer.append(i)
            said = [i for i in alive if self.verdicts[i] == -2 and i >= o.after[outer[-1]] and SAID.search(o.attributes(i)) and MARK in o.texts(i)]
            for i in said:
                if i >= o.after[outer[-1]]: outer.append(i)
            return self.led(outer, alive, prose)
        # go down while one child holds nearly all
        at = 0
        while True:
            child = next((c for c in self.children(at) if keep[c] and prose[c] >= 0.9 * total), None)
            if child is None or o.tags[child] in PROSE: return [at]
            at = child

    def led(self, roots, alive, prose):
        """`roots` with the lead before the first of them, in the same article."""
        o = self.o
        home = o.parent[roots[0]]
        up = 0
        while home > 0 and up < 6 and o.tags[home] not in ("article", "main") and self.verdicts[home] != 1:
            home, up = o.parent[home], up + 1
        if home < 0: return roots
        leads = [i for i in alive if home < i < roots[0] and self.verdicts[i] == 5 and o.after[i] <= roots[0] and self.size[i] - self.linked[i] >= 40]
        outer = []
        for i in leads:
            if not outer or i >= o.after[outer[-1]]: outer.append(i)
        return outer[:2] + roots

    def orphans(self, roots):
        """headings with nothing kept after them"""
        o, keep = self.o, self.keep
        for root in roots:
            last = None  # heading without text so far
            i = root
            lost = False
            texts = 0
            pend = []
            i = root + 1
            while i < o.after[root]:
                if not keep[i]:
                    if pend and self.size[i]: pend[-1][1] = True
                    i = o.after[i]; continue
                t = o.tags[i]
                if t in HEADS:
                    level = int(t[1])
                    while pend and int(o.tags[pend[-1][0]][1]) >= level:
                        h, l = pend.pop()
                        if l: keep[h] = False
                    pend.append([i, False])
                    i = o.after[i]; continue
                if self.own[i] and t != "a" or t in ("math", "img", "table", "pre"):
                    pend.clear()
                i += 1
            for h, l in pend:
                if o.tags[h] != "h1": keep[h] = False

    def characters(self, roots: list[int]) -> int:
        """Characters of what stays."""
        o, left = self.o, 0
        for root in roots:
            left += self.size[root]
            i = root
            while i < o.after[root]:
                if not self.keep[i]:
                    left -= self.size[i]
                    i = o.after[i]; continue
                i += 1
        return left

    def prune_only_sure(self) -> None:
        self._pass(lambda tag, v, i: (v == -9 or tag in GONE_TAGS or (v == -2 and tag not in CODE), 0.5))

    def site_headings(self, roots):
        """headings that begin a block of the site: gone, with what is mostly links after them"""
        o, keep = self.o, self.keep
        for root in roots:
            i = root + 1
            while i < o.after[root]:
                if not keep[i]:
                    i = o.after[i]; continue
                t = o.tags[i]
                if (t in HEADS and t != "h1" or t in ("p", "div", "span", "strong", "b", "label", "legend", "li")) and 3 <= self.size[i] <= 60 and SITE_HEADING.match(o.texts(i).strip(" \t\n:»>•-–·")):
                    keep[i] = False
                    if t in HEADS:
                        nxt = o.after[i]
                        end = o.after[o.parent[i]]
                        while nxt < end:
                            tt = o.tags[nxt]
                            if tt in HEADS and tt <= t: break
                            if self.size[nxt] and self.linked[nxt] / self.size[nxt] > 0.4: keep[nxt] = False
                            nxt = o.after[nxt]
                    i = o.after[i]; continue
                i += 1

    def children(self, i):
        o = self.o
        c = i + 1
        while c < o.after[i]:
            yield c
            c = o.after[c]

@dataclass(frozen=True)
class Main:
    """The main text of a page: which elements stay, the elements that hold it, and its share of what the page shows."""

    kept: list[bool]
    roots: list[int]
    share: float


def main_content(outline: Outline) -> Main:
    """The main text of a page by the structure of its elements."""
    if not outline.tags or not outline.size[0]:
        return Main([True] * len(outline.tags), [], 0.0)
    content = Content(outline)
    shown = content.prose_sums()[0]
    content.prune(GUARD)
    roots = content.roots()
    content.site_headings(roots)
    content.orphans(roots)
    found = sum(content.prose_sums()[root] for root in roots)
    if found < SMALL_SHARE * shown or not content.characters(roots):
        content = Content(outline)
        content.prune_only_sure()
        roots = [0]
    return Main(content.keep, roots, round(content.characters(roots) / outline.size[0], 4))
