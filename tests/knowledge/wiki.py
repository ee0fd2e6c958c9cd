"""A web server that answers as MediaWiki's API does (formatversion 2), and misbehaves when it is told to."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGES = {
    "Genghis Khan": """<div class="mw-content-ltr mw-parser-output" lang="en" dir="ltr">
<div class="shortdescription nomobile noexcerpt noprint">Founder of the Mongol Empire</div>
<style data-mw-deduplicate="TemplateStyles:r1">.infobox{float:right}</style>
<div role="note" class="hatnote">For other uses, see Genghis Khan (disambiguation).</div>
<table class="infobox"><tbody><tr><th>Born</th><td>Temüjin<br>c. 1162</td></tr></tbody></table>
<p><b>Genghis Khan</b> had sixteen children.<sup class="reference"><a href="#cite_note-1">[1]</a></sup></p>
<div class="mw-heading mw-heading2"><h2 id="Empire">Empire</h2>
<span class="mw-editsection">[<a href="/w/index.php?action=edit">edit</a>]</span></div>
<p>He founded the Mongol Empire.</p>
<div class="mw-references-wrap"><ol class="references"><li id="cite_note-1">A book, 1990.</li></ol></div>
<div class="navbox">Rulers of Asia: Attila</div></div>""",
    "Mercury": """<div class="mw-parser-output"><p><b>Mercury</b> may refer to:</p><ul>
<li><a href="/wiki/Mercury_(planet)" title="Mercury (planet)">Mercury (planet)</a>, the nearest to the Sun</li>
<li>the god <a href="/wiki/Mercury_(mythology)" title="Mercury (mythology)">Mercury</a></li>
<li>something that has no article</li></ul></div>""",
    "Attila": "<p>Attila, ruler of the Huns, came after Caesar.</p>",
    "Mercury (planet)": "<p>Mercury is the planet closest to the Sun.</p>",
    "Mercury (mythology)": "<p>Mercury is the god of commerce.</p>",
}
REDIRECTS = {"Temüjin": "Genghis Khan"}


class Wiki:
    """The server; `asked` holds the parameters of every request."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.user_agents: set[str | None] = set()
        self.statuses: list[int] = []  # answers to give before the true ones
        self.pause_s = 0.0  # before an answer
        self.body: bytes | None = None  # instead of the true one
        self.packs = False  # compresses what it sends
        handler = type("Handler", (_Handler,), {"wiki": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @contextmanager
    def running(self) -> Iterator[Wiki]:
        """Answers within the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def reply(self, fields: dict[str, str]) -> dict[str, Any]:
        """What the API says."""
        if fields["action"] == "parse":
            return self._parse(fields["page"])
        words = re.findall(r"\w+", fields["srsearch"].replace(" OR ", " ").lower())
        wanted = any if " OR " in fields["srsearch"] else all
        found = [title for title, text in PAGES.items() if wanted(word in text.lower() for word in words)]
        hits = [{"ns": 0, "title": title, "pageid": 1} for title in found[: int(fields["srlimit"])]]
        return {"batchcomplete": True, "query": {"searchinfo": {"totalhits": len(found)}, "search": hits}}

    def _parse(self, asked: str) -> dict[str, Any]:
        title = REDIRECTS.get(asked, asked)
        title = title[:1].upper() + title[1:]
        if title not in PAGES:
            return {"error": {"code": "missingtitle", "info": "The page you specified doesn't exist."}}
        properties = {"disambiguation": ""} if title == "Mercury" else {"wikibase_item": "Q720"}
        return {"parse": {"title": title, "pageid": 1, "text": PAGES[title], "properties": properties}}


class _Handler(BaseHTTPRequestHandler):
    wiki: Wiki

    def do_GET(self) -> None:
        wiki, url = self.wiki, urlsplit(self.path)
        fields = {name: values[0] for name, values in parse_qs(url.query).items()}
        wiki.asked.append(fields)
        wiki.user_agents.add(self.headers["User-Agent"])
        time.sleep(wiki.pause_s)
        status = wiki.statuses.pop(0) if wiki.statuses else 200
        body = wiki.body if wiki.body is not None else json.dumps(wiki.reply(fields)).encode()
        if url.path != "/w/api.php" or fields["format"] != "json" or fields["formatversion"] != "2":
            status = 404
        with suppress(ConnectionError):  # a client that did not wait
            self._send(status, body)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        if 300 <= status < 400:
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
        if self.wiki.packs:
            self.send_header("Content-Encoding", "gzip")
            body = gzip.compress(body)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
