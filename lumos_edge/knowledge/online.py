"""Wikipedia, or another wiki of MediaWiki, over the network. Nothing but `--online` makes one.

https://www.mediawiki.org/wiki/API:Parsing_wikitext gives a page by its name, https://www.mediawiki.org/wiki/API:Search
finds names. What came is kept on disk for a week.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from lumos_edge import __version__
from lumos_edge.errors import PageNotLoaded, PageTooLarge
from lumos_edge.knowledge.html_text import html_text
from lumos_edge.knowledge.passage import Passage
from lumos_edge.knowledge.splitting import passages
from lumos_edge.resources import cache_folder

T = TypeVar("T")

WIKIPEDIA = "https://en.wikipedia.org"
MAX_BYTES = 8 << 20
"""Of one reply, unpacked. Wikipedia's longest pages have some 4 MB of HTML."""

_TIMEOUTS_S = (5.0, 10.0)  # to connect; until the next bytes
_N_RETRIES = 3
_BACKOFF_S = 0.5  # 0, 1 and 2 s before the retries
_RETRIED = (429, 500, 502, 503, 504)
_N_FOUND = 3  # articles that a search reads: each is a request
_KEPT_S = 7 * 24 * 3600
_MOST_KEPT = 5000  # replies: some 100 MB
_NO_PAGE = ("missingtitle", "invalidtitle", "pagecannotexist")
# What a page shows beside its text: marks of references, links to edit, boxes of links, notes on the article's state.
_FURNITURE = (
    "style, script, sup.reference, .mw-editsection, .mw-references-wrap, .references, .navbox, .vertical-navbox, "
    ".sidebar, .metadata, .noprint, .hatnote, .toc, #toc, .shortdescription"
)
_SIGNS = re.compile(r"[\w'’.,]+")


class OnlineWiki:
    """The articles of a wiki as passages. It may be used from several threads."""

    def __init__(self, address: str = WIKIPEDIA) -> None:
        """`address` is what stands before /wiki/ and /w/api.php; raises ValueError when it is no web address."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address!r} is no address of a wiki; expected one such as {WIKIPEDIA}")
        self._address = address.rstrip("/")
        self._name = parts.hostname
        self._kept = _Kept(cache_folder() / "online.sqlite")
        self._session: Any = None

    def entity(self, name: str) -> list[Passage]:
        """The passages of the article that is called so; of a page that lists several, also those of the first three.

        Empty when there is none. Raises PageNotLoaded, PageTooLarge.
        """
        page = self._page(name)
        if page is None:
            return []
        return [p for each in (page, *self._pages(page["meanings"])) for p in self._passages(each)]

    def search(self, query: str) -> list[Passage]:
        """The passages of the first three articles that the wiki's own search finds. Raises PageNotLoaded."""
        words = _SIGNS.findall(query.lower())  # without what is syntax to the wiki
        if not words:
            return []
        # The wiki wants all words to be there, and a question has some that an article need not have.
        titles = self._titles(" ".join(words)) or self._titles(" OR ".join(w for w in words if len(w) > 3))
        return [passage for page in self._pages(titles) for passage in self._passages(page)]

    def _passages(self, page: dict[str, Any]) -> Iterator[Passage]:
        source = f"{self._address}/wiki/{quote(page['title'].replace(' ', '_'))}"
        for text in passages(page["text"]):
            yield Passage(page["title"], text, self._name, source)

    def _pages(self, titles: list[str]) -> list[dict[str, Any]]:
        return [page for title in titles[:_N_FOUND] if (page := self._page(title))]

    def _page(self, title: str) -> dict[str, Any] | None:
        return self._kept.get(f"{self._address} page {title}", lambda: self._parsed(title))

    def _titles(self, query: str) -> list[str]:
        return self._kept.get(f"{self._address} search {query}", lambda: self._found(query)) if query else []

    def _parsed(self, title: str) -> dict[str, Any] | None:
        reply = self._ask(action="parse", page=title, redirects=1, prop="text|properties")
        if _error(reply).get("code") in _NO_PAGE:
            return None
        try:
            page = reply["parse"]
            text, meanings = _read(page["text"], "disambiguation" in page["properties"])
            return {"title": str(page["title"]), "text": text, "meanings": meanings}
        except (KeyError, TypeError) as error:
            raise self._misunderstood(reply) from error

    def _found(self, query: str) -> list[str]:
        reply = self._ask(
            action="query", list="search", srsearch=query, srnamespace=0, srlimit=_N_FOUND, srprop=""
        )
        try:
            return [str(hit["title"]) for hit in reply["query"]["search"]]
        except (KeyError, TypeError) as error:
            raise self._misunderstood(reply) from error

    def _misunderstood(self, reply: dict[str, Any]) -> PageNotLoaded:
        reason = _error(reply).get("info") or f"a reply of another form: {json.dumps(reply):.80}"
        return PageNotLoaded(f"{self._name}: {reason}")

    def _ask(self, **fields: object) -> dict[str, Any]:
        import requests

        if self._session is None:
            self._session = _session()
        fields |= {"format": "json", "formatversion": 2}
        try:
            with self._session.get(
                f"{self._address}/w/api.php",
                params=fields,
                timeout=_TIMEOUTS_S,
                stream=True,
                # Elsewhere is not where the user allowed to go.
                allow_redirects=False,
            ) as response:
                if response.status_code != 200:
                    raise PageNotLoaded(f"{self._name} answered {response.status_code} {response.reason}")
                content = self._content(response)
        except requests.RequestException as error:
            raise PageNotLoaded(f"{self._name} did not answer: {error}") from error
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PageNotLoaded(f"{self._name} answered something else than JSON: {error}") from error
        if not isinstance(reply, dict):
            raise PageNotLoaded(f"{self._name}: a reply of another form: {content[:80]!r}")
        return reply

    def _content(self, response: Any) -> bytes:
        content = bytearray()
        for chunk in response.iter_content(1 << 16):
            content += chunk
            if len(content) > MAX_BYTES:
                raise PageTooLarge(f"{self._name}: a reply of more than {MAX_BYTES:,} bytes")
        return bytes(content)


def _error(reply: dict[str, Any]) -> dict[str, Any]:
    error = reply.get("error")
    return error if isinstance(error, dict) else {}


def _session() -> Any:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        _N_RETRIES,
        backoff_factor=_BACKOFF_S,
        status_forcelist=_RETRIED,
        raise_on_status=False,
        # A server may ask for an hour, and a run waits.
        respect_retry_after_header=False,
    )
    session = requests.Session()
    # https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy
    session.headers["User-Agent"] = (
        f"lumos-edge/{__version__} (answers the questions of one user) requests/{requests.__version__}"
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _read(page: str, is_disambiguation: bool) -> tuple[str, list[str]]:
    """The text of a page's HTML, and the titles that it lists when it is a list of meanings."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page, "html.parser")
    for element in soup.select(_FURNITURE):
        element.decompose()
    links = [item.find("a", title=True) for item in soup.find_all("li")] if is_disambiguation else []
    return html_text(str(soup))[1], [str(link["title"]) for link in links if link][:_N_FOUND]


class _Kept:
    """Replies by key, as JSON, in a SQLite file. Where there is no room or right for one nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str, make: Callable[[], T]) -> T:
        """What is kept of the last week, else what `make` gives."""
        rows = self._run("SELECT value FROM kept WHERE key = ? AND at > ?", key, time.time() - _KEPT_S)
        if rows:
            kept: T = json.loads(rows[0][0])
            return kept
        value = make()
        self._run("INSERT OR REPLACE INTO kept VALUES(?, ?, ?)", key, time.time(), json.dumps(value))
        self._run(
            "DELETE FROM kept WHERE at <= (SELECT at FROM kept ORDER BY at DESC LIMIT 1 OFFSET ?)", _MOST_KEPT
        )
        return value

    def _run(self, sql: str, *arguments: object) -> list[Any]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path)) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, at REAL, value TEXT)"
                )
                return connection.execute(sql, arguments).fetchall()
        except sqlite3.OperationalError:
            return []  # read-only, full or locked by another process
        except sqlite3.DatabaseError:
            with suppress(OSError):
                self._path.unlink()  # no longer a database: the next reply begins a new one
            return []
        except OSError:
            return []
