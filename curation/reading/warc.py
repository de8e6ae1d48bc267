"""WARC files: the pages in them, one per response.

`pages` gives for each record of type response or resource, in order, the page's characters and address, or why there is
none, with a reason of REASONS; other records (requests, metadata, warcinfo, revisits) are passed over. Compressed files
(.warc.gz, one member per record or one for all) and bodies (gzip, deflate, br, zstd, chunked) are read. Promises. A
record longer than `max_bytes` is never held whole, compressed or not. Bytes that are no WARC raise OSError, and so does
a file that breaks off. Leaves out continuation records, .warc.zst, and WET, which is text already.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard
from fastwarc.stream_io import BrotliReader, ChunkedReader
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord, WarcRecordType

from curation.reading.pages import Refused, check_markup, decoded

REASONS = {
    "http_error": "a response whose status is not 200",
    "truncated_record": "a record that the crawler cut off, or shorter than it says",
    "damaged_record": "a response whose body does not decode",
}
GZIP = b"\x1f\x8b"
HTML_TYPES = ("text/html", "application/xhtml+xml")
UNDECIDED = ("text/", "application/xml", "application/octet-stream")
"""Types that crawlers find for pages as well."""
BEGINS_A_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
PAGES = WarcRecordType.response | WarcRecordType.resource


def pages(path: Path, max_bytes: int) -> Iterator[tuple[str, str | None] | Refused]:
    """(characters, address) of each page of the WARC file at `path`, or why there is none."""
    try:
        with path.open("rb") as stream:
            for record in ArchiveIterator(_readable(stream), parse_http=False):  # type: ignore[arg-type]
                if record.record_type & PAGES:
                    yield _page_or_reason(record, max_bytes)
                else:
                    _pass_over(record)
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error


class _Inflating:
    """A gzip file for FastWARC. Python's gzip says when a file breaks off, where FastWARC ends as if it were whole; by
    `read1` it does so after the last byte that can be read, not instead of it."""

    def __init__(self, stream: BinaryIO):
        self.file = gzip.GzipFile(fileobj=stream)

    def read(self, size: int = -1) -> bytes:
        return self.file.read1(size)

    def tell(self) -> int:
        return self.file.tell()


def _readable(stream: BinaryIO) -> BinaryIO | _Inflating:
    compressed = stream.read(2) == GZIP
    stream.seek(0)
    return _Inflating(stream) if compressed else stream


def _page_or_reason(record: WarcRecord, max_bytes: int) -> tuple[str, str | None] | Refused:
    try:
        return _page(record, max_bytes), _address(record)
    except Refused as refused:
        return refused


def _pass_over(record: WarcRecord) -> None:
    length = record.content_length
    if "Content-Length" not in record.headers or record.consume() < length:
        raise OSError(f"cut off within a record of type {record.headers.get('WARC-Type')}")


def _page(record: WarcRecord, max_bytes: int) -> str:
    address = _address(record) or "no address"
    if not record.content_length:
        raise Refused("truncated_record", f"{address}: empty")
    headers = _http(record, address)
    if cut := record.headers.get("WARC-Truncated"):
        raise Refused("truncated_record", f"{address}: {cut}")
    if headers and headers.status_code != 200:
        raise Refused("http_error", f"{address}: {headers.status_line}")
    kind = (headers or record.headers).get("Content-Type") or ""
    if kind.startswith("application/http"):
        raise Refused("damaged_record", f"{address}: no HTTP response")
    found = record.headers.get("WARC-Identified-Payload-Type") or ""
    if not _is_html(kind, found):
        raise Refused("not_html", f"{address}: {found or kind}")
    data = _body(record, address, max_bytes)
    if not (kind or found) and not BEGINS_A_PAGE.match(data[:4096]):
        raise Refused("not_html", f"{address}: no content type")
    charset = re.search(r"charset\s*=\s*[\"']?([^\s;\"']+)", kind, re.IGNORECASE)
    return _as_page(decoded(data, charset[1] if charset else None), address)


def _address(record: WarcRecord) -> str | None:
    """The page's address; wget puts it between angle brackets."""
    address = record.headers.get("WARC-Target-URI")
    return address.strip().removeprefix("<").removesuffix(">") if address else address


def _is_html(kind: str, found: str) -> bool:
    """Whether a response is taken for a page, by the server's type and by what the crawler found in it."""
    if found.lower().startswith(HTML_TYPES):
        return True
    if found and not found.lower().startswith(UNDECIDED):
        return False
    return not kind or kind.lower().strip().startswith(HTML_TYPES)


def _as_page(html: str, address: str) -> str:
    """`html`, looked at whether it is what its label says. Nothing at all is refused by who reads the record."""
    try:
        if html.strip():
            check_markup(html)
    except Refused as refused:
        raise Refused(refused.args[0], f"{address}: {refused.args[1]}") from refused
    return html


def _http(record: WarcRecord, address: str) -> HeaderMap | None:
    """The server's headers; None where the record holds a page by itself."""
    if not record.is_http:
        return None
    try:
        record.parse_http()
    except (OSError, ValueError) as error:
        raise Refused("damaged_record", f"{address}: {str(error)[:80]}") from error
    return record.http_headers


def _body(record: WarcRecord, address: str, max_bytes: int) -> bytes:
    if record.content_length > max_bytes:
        raise Refused("record_too_long", f"{address}: more than {max_bytes} bytes")
    length = record.content_length
    data = record.reader.read(length)
    if len(data) < length:
        raise Refused("truncated_record", f"{address}: {len(data)} of {length} bytes")
    for encoding in _encodings(record):
        data = _unpacked(data, encoding, max_bytes, address)
    if len(data) > max_bytes:
        raise Refused("record_too_long", f"{address}: more than {max_bytes} bytes")
    return data


def _encodings(record: WarcRecord) -> list[str]:
    """What the body is wrapped in, outermost first."""
    if not record.is_http_parsed:
        return []
    named = (record.http_headers.get(name) or "" for name in ("Content-Encoding", "Transfer-Encoding"))
    applied = [encoding.strip().lower() for header in named for encoding in header.split(",")]
    return [encoding for encoding in reversed(applied) if encoding not in ("", "identity")]


def _unpacked(data: bytes, encoding: str, max_bytes: int, address: str) -> bytes:
    """`data` without one encoding, up to one byte more than `max_bytes`. Crawlers often keep the header of a body that
    they have unpacked: what begins like a page is taken as it is."""
    try:
        match encoding:
            case "chunked":
                return ChunkedReader(io.BytesIO(data)).read(max_bytes + 1)
            case "gzip" | "x-gzip" | "deflate":
                return _inflated(data, max_bytes)
            case "br":
                return BrotliReader(io.BytesIO(data)).read(max_bytes + 1)
            case "zstd":
                return zstandard.ZstdDecompressor().stream_reader(data).read(max_bytes + 1)
        raise ValueError("unknown")
    except (OSError, ValueError, zlib.error, zstandard.ZstdError) as error:
        if data.lstrip()[:1] == b"<":
            return data
        raise Refused("damaged_record", f"{address}: {encoding}: {str(error)[:80]}") from error


def _inflated(data: bytes, max_bytes: int) -> bytes:
    """gzip of any number of members, zlib, or deflate without a header, as some servers send it."""
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            return _members(data, window, max_bytes)
        except zlib.error:
            continue
    raise ValueError("does not decode")


def _members(data: bytes, window: int, max_bytes: int) -> bytes:
    """All members of gzip; what follows the last one and is none is passed over, as by gzip itself."""
    found = b""
    while True:
        inflate = zlib.decompressobj(window)
        found += inflate.decompress(data, max_bytes + 1 - len(found))
        if len(found) > max_bytes:
            return found
        if not inflate.eof:
            raise ValueError("ends too early")
        data = inflate.unused_data
        if not data.startswith(GZIP):
            return found
