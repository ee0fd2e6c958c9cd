"""Saved pages: HTML files that link to each other, and recorded sessions as HTTP archives.

Source of the format: "HTTP Archive (HAR) format 1.2", which the developer tools of browsers save.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit, urlunsplit

from lumos_edge.errors import PageError, PageNotLoaded, PageTooLarge
from lumos_edge.web.policy import Policy, file_of
from lumos_edge.web.reading import MAX_HTML_BYTES
from lumos_edge.web.transport import Request, Response, decode

MAX_ARCHIVE_BYTES = 200_000_000
"""A longer archive is refused: it is read into memory."""

_MAX_REDIRECTS = 10


@dataclass(frozen=True)
class FileTransport:
    """Finds pages as files in one folder; what a link asks for behind `?` is not looked at."""

    policy: Policy

    def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        if request.method != "GET":
            raise PageNotLoaded("a saved page cannot be sent a form; its server could")
        self.policy.check_url(request.url)
        path = file_of(urlunsplit((*urlsplit(request.url)[:3], "", "")))
        try:
            if path.stat().st_size > MAX_HTML_BYTES:
                raise PageTooLarge(f"{path} has more than {MAX_HTML_BYTES:,} bytes")
            return Response(request.url, decode(path.read_bytes()))
        except OSError as error:
            raise PageNotLoaded(f"there is no saved page {path}: {error.strerror}") from error


@dataclass(frozen=True)
class _Entry:
    url: str
    html: str
    location: str


_Key = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class ArchiveTransport:
    """Answers requests with what was recorded: the same one asked again gets the next record, the last one for good."""

    entries: dict[_Key, deque[_Entry]] = field(repr=False)
    first: Request

    @classmethod
    def open(cls, path: Path) -> ArchiveTransport:
        """The pages of a HAR file; raises PageError."""
        try:
            if path.stat().st_size > MAX_ARCHIVE_BYTES:
                raise PageError(f"{path} has more than {MAX_ARCHIVE_BYTES:,} bytes")
            recorded = list(_pages(json.loads(path.read_bytes())["log"]["entries"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PageError(f"{path} is no HTTP archive (HAR): {type(error).__name__}: {error}") from error
        if not recorded:
            raise PageError(f"{path} has no page of HTML")
        entries: dict[_Key, deque[_Entry]] = {}
        for request, entry in recorded:
            entries.setdefault(_key(request), deque()).append(entry)
        return cls(entries, recorded[0][0])

    def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        for _ in range(_MAX_REDIRECTS):
            found = self.entries.get(_key(request))
            if not found:
                raise PageNotLoaded(f"the archive has no {request.method} of {request.url}")
            entry = found.popleft() if len(found) > 1 else found[0]
            if not entry.location:
                return Response(entry.url, entry.html)
            request = Request(urljoin(entry.url, entry.location))
        raise PageNotLoaded(f"{request.url} leads to more than {_MAX_REDIRECTS} redirects")


def _key(request: Request) -> _Key:
    return request.method, urldefrag(request.url).url, tuple(request.fields)


def _pages(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[Request, _Entry]]:
    for entry in entries:
        asked, answered = entry["request"], entry["response"]
        content = answered["content"]
        if "html" not in content.get("mimeType", "") and not answered.get("redirectURL"):
            continue
        post = asked.get("postData", {})
        fields = parse_qsl(post.get("text", ""), keep_blank_values=True)
        request = Request(asked["url"], asked["method"].upper(), tuple(fields))
        yield request, _Entry(asked["url"], _text(content), answered.get("redirectURL", ""))


def _text(content: dict[str, Any]) -> str:
    text: str = content.get("text", "")
    if content.get("encoding") != "base64":
        return text
    from base64 import b64decode

    return decode(b64decode(text))
