"""Every response of a WARC file is a page or a reason; a file that breaks off gives what stands before."""

import gzip
import io
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from curation.config import CurateRecipe, SourceRecipe
from curation.pipeline import curate
from curation.reading.files import find_files
from curation.reading.records import REASONS, Bad, Good, check_columns, read_records
from manifests.recipe import parse
from manifests.store import Store

LIMIT = 10_000
PAGE = b"<nav>Menu</nav><p>Let <math><msup><mi>x</mi><mn>2</mn></msup></math> be a square.</p>"
TEXT = "Let $x^2$ be a square."
OTHERS = (
    b"%PDF-1.5\n%\xd0\xd4\xc5\xd8\n5 0 obj <</Length 99>> stream\nx\xda\x8d\x00\x01",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\2\0<p>\x08\6\0\0\0\xf4x\xd4\xfa" * 9,
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\1\0H\0H\0\0\xff\xdb\0C\0\5\3\4\4" * 9,
    b"GIF89a\1\0\1\0\x80\0\0",
    b"PK\3\4\x14\0\0\0\x08\0\x8d\xa0" * 9,
    bytes(range(256)) * 20,
    b'{"html": "<p>a</p>", "x": [1, 2]}',
    b'[{"a": "<div>b</div>"}]',
    b'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title></channel></rss>',
    b'<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title></feed>',
    b'<?xml version="1.0"?><!-- map --><urlset><url><loc>http://a.org</loc></url></urlset>',
    b'<svg xmlns="http://www.w3.org/2000/svg"><title>t</title></svg>',
    b"(function(){var a='<div>'; document.write(a + '</div>');})();",
    b"/* style */ body > p { color: red } a { margin: 0 }",
    b"var x = 1; if (x < 2) { y = x; }",
    b"name,value\na,1\nb,2\n",
)
"""What servers have called text/html."""
HTTP = "application/http; msgtype=response"


def packed(data: bytes) -> bytes:
    """gzip without the time, which would be part of a test's name."""
    return gzip.compress(data, mtime=0)


def read(path: Path, data: bytes) -> list[Good | Bad]:
    path.write_bytes(data)
    source = SourceRecipe(name="s", path=str(path), role="web")
    (file,) = find_files(source, None)
    check_columns(source, [file])
    return list(read_records(file, source, LIMIT, path.parent))


def said(record: Good | Bad) -> tuple[str | None, str | None]:
    """(reason, None) of what is bad, (address, text) of what is good."""
    return (record.reason, None) if isinstance(record, Bad) else (record.fields[0], record.fields[2])


def record(kind: str, block: bytes, content_type: str = HTTP, address: str = "http://a.org/x", more: str = "") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n{more}"
    head += f"WARC-Target-URI: {address}\r\nContent-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


def response(body: bytes, *headers: str, status: str = "200 OK", kind: str = "text/html", **more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers, "", ""]
    return record("response", "\r\n".join(lines).encode() + body, **more)


def crawl(pages: int, compressed: bool) -> bytes:
    """A crawl by warcio: info, then request, response and metadata of each page."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=compressed)
    writer.write_record(writer.create_warcinfo_record("a.warc", {"software": "test"}))
    for number in range(pages):
        address = f"http://a.org/{number}"
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        ask = StatusAndHeaders("GET / HTTP/1.1", [("Host", "a.org")], is_http_request=True)
        for kind, body, http in (("request", b"", ask), ("response", PAGE, headers)):
            made = writer.create_warc_record(address, kind, payload=io.BytesIO(body), http_headers=http)
            writer.write_record(made)
        note = writer.create_warc_record(
            address, "metadata", payload=io.BytesIO(b"fetchTimeMs: 1"), warc_content_type="application/warc-fields"
        )
        writer.write_record(note)
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_each_response_is_a_page_with_its_address(tmp_path, name):
    found = read(tmp_path / name, crawl(3, name.endswith(".gz")))
    assert [record.position for record in found] == [0, 1, 2]
    assert [said(record) for record in found] == [(f"http://a.org/{number}", TEXT) for number in range(3)]


def test_one_gzip_member_for_the_whole_file(tmp_path):
    assert len(read(tmp_path / "a.warc.gz", packed(crawl(3, False)))) == 3


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (response(PAGE, status="404 Not Found"), "http_error"),
        (response(PAGE, "Location: /y", status="301 Moved"), "http_error"),
        (response(b"%PDF-1.4", kind="application/pdf"), "not_html"),
        (record("response", b"a.org. 60 IN A 1.2.3.4", "text/dns"), "not_html"),
        (record("response", b"no http at all"), "damaged_record"),
        (response(PAGE, more="WARC-Truncated: length\r\n"), "truncated_record"),
        (record("response", b""), "truncated_record"),
        (response(b""), "empty_field"),
        (response(b"<nav>Menu</nav>"), "no_text"),
        (response(b"<p>" + b"x" * LIMIT), "record_too_long"),
        (response(packed(b"<p>" + b"x" * 10**7), "Content-Encoding: gzip"), "record_too_long"),
        (response(packed(PAGE)[:-9], "Content-Encoding: gzip"), "damaged_record"),
        (response(b"junk", "Content-Encoding: br"), "damaged_record"),
        (response(b"junk", "Content-Encoding: rot13"), "damaged_record"),
        (response(packed(PAGE), "Content-Encoding: gzip"), None),
        (response(zlib.compress(PAGE), "Content-Encoding: deflate"), None),
        (response(zlib.compress(PAGE)[2:-4], "Content-Encoding: deflate"), None),
        (response(b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE), "Transfer-Encoding: chunked"), None),
        (response(PAGE, "Content-Encoding: gzip", "Transfer-Encoding: chunked"), None),
        (record("resource", PAGE, "text/html; charset=utf-8"), None),
        (response(packed(PAGE[:40]) + packed(PAGE[40:]), "Content-Encoding: gzip"), None),
        (response(packed(PAGE[:40]) + packed(PAGE[40:])[:-9], "Content-Encoding: gzip"), "damaged_record"),
        (response(packed(PAGE) + b"\0" * 9, "Content-Encoding: gzip"), None),
        (response(packed(PAGE) + packed(b"x" * 10**7), "Content-Encoding: gzip"), "record_too_long"),
        (response(PAGE, address="<http://a.org/x>"), None),
        (response(PAGE, kind="", more="WARC-Identified-Payload-Type: text/html\r\n"), None),
        (response(PAGE, kind="text/plain", more="WARC-Identified-Payload-Type: application/xhtml+xml\r\n"), None),
        (response(PAGE, more="WARC-Identified-Payload-Type: application/pdf\r\n"), "not_html"),
        (response(PAGE, more="WARC-Identified-Payload-Type: text/plain\r\n"), None),
        (response(PAGE, kind=""), "not_html"),
        (response(b"<!-- a --><!DOCTYPE html>" + PAGE, kind=""), None),
        *((response(body), "not_html") for body in OTHERS),
    ],
)
def test_a_bad_response_is_named_and_its_neighbours_live(tmp_path, data, outcome):
    good = response(PAGE, address="http://a.org/good")
    for name in ("a.warc", "a.warc.gz"):
        parts = [packed(part) if name.endswith(".gz") else part for part in (good, data, good)]
        found = [said(record) for record in read(tmp_path / name, b"".join(parts))]
        assert found == [
            ("http://a.org/good", TEXT),
            (outcome or "http://a.org/x", None if outcome else TEXT),
            found[0],
        ]
    assert outcome is None or outcome in REASONS


def test_the_servers_charset_is_used(tmp_path):
    page = "<p>Théorème de Liouville</p>".encode("latin-1")
    (found,) = read(tmp_path / "a.warc", response(page, kind="text/html; charset=ISO-8859-1"))
    assert said(found)[1] == "Théorème de Liouville"


def test_other_records_are_no_pages(tmp_path):
    (tmp_path / "b").mkdir()
    found = read(tmp_path / "a.warc", record("revisit", b"HTTP/1.1 200 OK\r\n\r\n") + record("metadata", b"a: b"))
    assert [said(record)[0] for record in found] == ["empty_file"]


@pytest.mark.parametrize("data", [b"hello\n" * 100, b"\x1f\x8b" + b"x" * 100, packed(b"hello" * 100)])
def test_what_is_no_warc_is_unreadable(tmp_path, data):
    assert [said(record)[0] for record in read(tmp_path / "a.warc.gz", data)] == ["unreadable_file"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(1, 10_000), st.booleans())
def test_a_file_cut_anywhere_gives_what_stands_before(tmp_path, cut, compressed):
    whole = crawl(4, compressed)
    cut = cut % len(whole) or 1
    found = [said(record) for record in read(tmp_path / "a.warc.gz", whole[:cut])]
    pages = [(address, text) for address, text in found if text]
    assert pages == [(f"http://a.org/{number}", TEXT) for number in range(len(pages))]
    assert found[: len(pages)] == pages and len(found) - len(pages) <= 1
    if compressed:  # a cut between members cannot be told from an end
        ends = {len(whole) - len(rest) for rest in _members(whole)}
        assert (len(found) > len(pages)) == (cut not in ends) or not pages


def test_pages_of_a_folder_and_a_crawl_become_one_corpus(tmp_path, tokenizer, monkeypatch):
    """Every record is a document or in quarantine, and how files are grouped does not change the ID."""
    (tmp_path / "site").mkdir()
    for number in range(6):
        words = " ".join(f"the {number + 2}-nd power of {part} is {part**number}" for part in range(number, number + 9))
        (tmp_path / "site" / f"{number}.html").write_text(f"<nav>Menu</nav><p>Let {words} = <math><mi>x</mi></math>.")
    (tmp_path / "site" / "empty.htm").write_text("")
    (tmp_path / "a.warc.gz").write_bytes(crawl(2, True)[:-4])
    sources = [
        {"name": name, "path": str(tmp_path / path), "role": "general"}
        for name, path in (("site", "site"), ("crawl", "a.warc.gz"))
    ]
    recipe = parse({"name": "pages", "tokenizer": str(tokenizer), "sources": sources}, CurateRecipe, "test")
    together = curate(Store(tmp_path / "store"), recipe)
    monkeypatch.setattr("curation.reading.files.PAGES_PER_TASK", 2)
    apart = curate(Store(tmp_path / "other"), recipe)
    assert together.id == apart.id
    found = Counter((row["source"], row["drop_reason"]) for row in together.read("documents").to_pylist())
    assert found == {("site", None): 6, ("crawl", "too_short"): 2}
    refused = {(row["source"], row["file"], row["reason"]) for row in apart.read("quarantine").to_pylist()}
    assert refused == {("site", "empty.htm", "empty_file"), ("crawl", "a.warc.gz", "unreadable_file")}


def _members(data: bytes) -> list[bytes]:
    """What is left after each gzip member."""
    rests = []
    while data:
        inflate = zlib.decompressobj(31)
        inflate.decompress(data)
        data = inflate.unused_data
        rests.append(data)
    return rests


def test_a_damaged_member_ends_the_file(tmp_path):
    members = [packed(response(PAGE, address=f"http://a.org/{number}")) for number in range(3)]
    members[1] = members[1][:20] + b"\x55" * 30 + members[1][50:]
    found = [said(record)[0] for record in read(tmp_path / "a.warc.gz", b"".join(members))]
    assert found == ["http://a.org/0", "unreadable_file"]
