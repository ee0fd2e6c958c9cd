"""A small shop on this machine: search, filters, basket, login, a date picker, and a part that only a script shows.

All of it but the offers works without scripts, so that a page is the same in a browser and out of it: the calendar's
days are made by a script where one runs, and stand in `noscript` where none does.
"""

from __future__ import annotations

import html
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GOODS = {
    "1": ("Desk lamp", "lamps", 30),
    "2": ("Floor lamp", "lamps", 80),
    "3": ("Oak table", "tables", 240),
    "4": ("Garden table", "tables", 120),
    "5": ("Reading lamp", "lamps", 45),
    "6": ("Kitchen chair", "chairs", 60),
}
DAYS = ("Monday 7 December", "Tuesday 8 December", "Friday 11 December")


@dataclass
class Session:
    """One visitor."""

    basket: list[str] = field(default_factory=list)
    name: str = ""


@dataclass
class Shop:
    """The server. `requests` are the method and the path of all that it was asked, `pages` are further pages."""

    requests: list[str] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"shop": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://localhost:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, path: str, content: str | bytes, status: int = 200, **headers: str) -> str:
        """One more page; returns its URL."""
        kept = {"Content-Type": "text/html; charset=utf-8"}
        kept |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, kept, content.encode() if isinstance(content, str) else content)
        return self.url.rstrip("/") + path


class _Handler(BaseHTTPRequestHandler):
    shop: Shop
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer({name: values[-1] for name, values in parse_qs(body).items()})

    def _answer(self, fields: dict[str, str]) -> None:
        self.shop.requests.append(f"{self.command} {self.path}")
        path = urlsplit(self.path).path
        if path in self.shop.pages:
            self._send(*self.shop.pages[path])
            return
        found = _ROUTES.get((self.command, path))
        if found is None:
            self._send(404, {"Content-Type": "text/html"}, b"<title>Not found</title><h1>Not found</h1>")
            return
        session, cookie = self._session()
        title, body = found(session, fields)
        if body.startswith("/"):
            self._send(303, {"Location": body, **cookie}, b"")
        else:
            self._send(
                200, {"Content-Type": "text/html; charset=utf-8", **cookie}, _page(session, title, body)
            )

    def _session(self) -> tuple[Session, dict[str, str]]:
        key = (self.headers["Cookie"] or "").partition("visitor=")[2].partition(";")[0]
        if key in self.shop.sessions:
            return self.shop.sessions[key], {}
        key = secrets.token_hex(8)
        self.shop.sessions[key] = Session()
        return self.shop.sessions[key], {"Set-Cookie": f"visitor={key}; Path=/"}

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _page(session: Session, title: str, body: str) -> bytes:
    who = f"<p>Hello {html.escape(session.name)}</p>" if session.name else '<a href="/login">Log in</a>'
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} - Shop</title></head>
<body>
<header><nav aria-label="Shop"><a href="/">Home</a> <a href="/basket">Basket ({len(session.basket)})</a>
<a href="/delivery">Delivery day</a> <a href="/offers">Offers</a> {who}</nav>
<form aria-label="search" action="/search"><input type="search" name="q" aria-label="Search the shop">
<button>Search</button></form></header>
<main><h1>{html.escape(title)}</h1>
{body}
</main></body></html>""".encode()


def _goods(keys: list[str]) -> str:
    entries = "".join(
        f'<li><a href="/item?id={key}">{GOODS[key][0]}</a> {GOODS[key][2]} euros <form method="post" action="/basket">'
        f'<input type="hidden" name="id" value="{key}"><button>Add to basket</button></form></li>'
        for key in keys
    )
    return f"<ul>{entries}</ul>" if entries else "<p>Nothing found.</p>"


def _home(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    return "Welcome", "<h2>Popular</h2>" + _goods(["1", "3"])


def _search(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    query, kind = fields.get("q", ""), fields.get("kind", "")
    found = [key for key, (name, _, _) in GOODS.items() if query.lower() in name.lower()]
    found = [key for key in found if kind in ("", GOODS[key][1])]
    if fields.get("cheap"):
        found = [key for key in found if GOODS[key][2] <= 100]
    if fields.get("order") == "price":
        found.sort(key=lambda key: GOODS[key][2])
    kinds = "".join(
        f'<option value="{value}"{" selected" if value == kind else ""}>{text}</option>'
        for value, text in (("", "All kinds"), ("lamps", "Lamps"), ("tables", "Tables"), ("chairs", "Chairs"))
    )
    return (
        f"{len(found)} results for {query}",
        f"""<form aria-label="filters" action="/search"><input type="hidden" name="q" value="{html.escape(query)}">
<label for="kind">Kind</label> <select id="kind" name="kind">{kinds}</select>
<label><input type="checkbox" name="cheap" value="1"> At most 100 euros</label>
<fieldset><legend>Order</legend><label><input type="radio" name="order" value="name" checked> by name</label>
<label><input type="radio" name="order" value="price"> by price</label></fieldset>
<button>Apply filters</button></form>{_goods(found)}""",
    )


def _item(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    name, kind, price = GOODS[fields["id"]]
    return name, (
        f"<p>{price} euros</p><details><summary>Technical details</summary><p>One of our {kind}. "
        f'<a href="/search?q=&amp;kind={kind}">All {kind}</a></p></details><form method="post" action="/basket">'
        f'<input type="hidden" name="id" value="{fields["id"]}"><button>Put into basket</button></form>'
    )


def _basket(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    rows = "".join(f"<tr><td>{GOODS[key][0]}</td><td>{GOODS[key][2]}</td></tr>" for key in session.basket)
    total = sum(GOODS[key][2] for key in session.basket)
    return f"Basket: {total} euros", (
        f'<table>{rows}</table><form method="post" action="/empty"><button>Empty basket</button></form>'
        '<a href="/delivery">Choose delivery day</a>'
    )


def _add(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    session.basket.append(fields["id"])
    return "", "/basket"


def _empty(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    session.basket.clear()
    return "", "/basket"


def _login(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    return "Log in", (
        '<form aria-label="login" method="post" action="/login"><label>Name <input name="name" required></label>'
        '<label>Password <input type="password" name="password" required></label><button>Log in now</button></form>'
    )


def _do_login(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    if fields.get("password") != "sesame":
        return "Wrong password", _login(session, {})[1]
    session.name = fields["name"]
    return "", "/"


def _delivery(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    days = "".join(f"<option>{day}</option>" for day in DAYS)
    return "Delivery", (
        '<form aria-label="delivery" method="post" action="/delivery">'
        f'<label>Week day <select name="day">{days}</select></label>'
        '<label>Or a date <input type="date" name="date"></label>'
        '<label>Note <textarea name="note"></textarea></label><button>Save day</button></form>'
        '<a href="/calendar">Calendar</a>'
    )


def _calendar(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    days = "".join(
        f'<button name="date" value="2026-12-{day:02}">{day} December</button>' for day in range(1, 32)
    )
    return "Calendar", (
        f'<form aria-label="calendar" method="post" action="/delivery"><div id="days"></div><noscript>{days}</noscript>'
        f'</form><script>document.getElementById("days").innerHTML = {json.dumps(days)};</script>'
    )


def _do_delivery(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    day, note = fields.get("date") or fields["day"], fields.get("note", "")
    return f"Delivered on {day}", f"<h2>Note: {html.escape(note)}</h2>" if note else "<p>No note.</p>"


_OFFERS = """<div id="offers"></div><button type="button" id="pick">Pick a date</button><div id="days" hidden></div>
<h2 id="picked"></h2><script>
const offers = document.getElementById("offers"), days = document.getElementById("days");
const picked = document.getElementById("picked");
setTimeout(() => { for (const name of ["Half-price lamp", "Table with chairs"]) {
  const button = document.createElement("button"); button.textContent = "Take " + name;
  button.onclick = () => { picked.textContent = "You took " + name; };
  offers.append(button); } }, 50);
document.getElementById("pick").onclick = () => { days.hidden = false; };
for (let day = 1; day <= 31; day++) {
  const cell = document.createElement("div"); cell.setAttribute("role", "gridcell");
  cell.textContent = day + " December";
  cell.onclick = () => { picked.textContent = "Picked " + day + " December"; };
  days.append(cell); }
</script>"""


def _offers(session: Session, fields: dict[str, str]) -> tuple[str, str]:
    """Rendered by the browser; without one there is nothing but the heading."""
    return "Offers", _OFFERS


_ROUTES: dict[tuple[str, str], Callable[[Session, dict[str, str]], tuple[str, str]]] = {
    ("GET", "/"): _home,
    ("GET", "/search"): _search,
    ("GET", "/item"): _item,
    ("GET", "/basket"): _basket,
    ("POST", "/basket"): _add,
    ("POST", "/empty"): _empty,
    ("GET", "/login"): _login,
    ("POST", "/login"): _do_login,
    ("GET", "/delivery"): _delivery,
    ("POST", "/delivery"): _do_delivery,
    ("GET", "/calendar"): _calendar,
    ("GET", "/offers"): _offers,
}
