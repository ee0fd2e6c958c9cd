"""Real small files of every format; damaged ones are typed errors."""

from __future__ import annotations

import bz2
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lumos_edge.errors import SourceError
from lumos_edge.knowledge import mediawiki
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.html_text import html_text
from lumos_edge.knowledge.opening import open_source
from lumos_edge.knowledge.source import Item

EXPORT = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo><sitename>Test</sitename><base>https://wiki.example.org/wiki/Main_Page</base>
    <namespaces><namespace key="0" case="first-letter" /><namespace key="6">Datei</namespace></namespaces></siteinfo>
  <page><title>Genghis Khan</title><ns>0</ns><id>1</id><revision><id>7</id>
    <text xml:space="preserve">'''Genghis Khan''' had [[child|sixteen]] children &amp; more. [[Datei:x.jpg]]</text>
  </revision></page>
  <page><title>Temujin</title><ns>0</ns><id>2</id><redirect title="Genghis Khan#Name" />
    <revision><text>#REDIRECT [[Genghis Khan]]</text></revision></page>
  <page><title>Talk:Genghis Khan</title><ns>1</ns><id>3</id><revision><text>No.</text></revision></page>
  <page><title>Khan</title><ns>0</ns><id>4</id><revision>
    <text>* [[Genghis Khan]]
* [[Kublai Khan]]
{{disambig}}</text></revision></page>
</mediawiki>
"""

ITEMS = [
    Article(
        "Genghis Khan",
        "Genghis Khan had sixteen children & more.",
        "https://wiki.example.org/wiki/Genghis_Khan",
    ),
    Redirect("Temujin", "Genghis Khan"),
    Article(
        "Khan",
        "Genghis Khan\nKublai Khan",
        "https://wiki.example.org/wiki/Khan",
        meanings=("Genghis Khan", "Kublai Khan"),
    ),
]


def _read(path: Path) -> tuple[list[Item], list[str]]:
    said: list[str] = []
    source = open_source(path)
    found = list(source.read(said.append))
    positions = [n_bytes for n_bytes, _ in found]
    assert positions == sorted(positions)
    assert all(0 < n_bytes <= source.size_bytes for n_bytes in positions)
    assert open_source(path).identity() == source.identity()
    return [item for _, item in found], said


def _articles(path: Path) -> list[Article]:
    return [item for item in _read(path)[0] if isinstance(item, Article)]


def test_a_mediawiki_export(tmp_path: Path) -> None:
    plain, packed = tmp_path / "wiki.xml", tmp_path / "wiki.xml.bz2"
    plain.write_text(EXPORT, encoding="utf-8")
    packed.write_bytes(bz2.compress(EXPORT[:500].encode()) + bz2.compress(EXPORT[500:].encode()))
    assert _read(plain)[0] == ITEMS
    assert _read(packed)[0] == ITEMS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (EXPORT.encode()[:-40], "no element found"),
        (EXPORT.replace("</text>", "</page>", 1).encode(), "mismatched tag"),
        (b"<html><page/></html>", "<mediawiki> was expected, <html> was found"),
        (
            b'<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><mediawiki>&b;</mediawiki>',
            "declares the entity 'a'",
        ),
        (
            b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><mediawiki>&x;</mediawiki>',
            "declares the entity 'x'",
        ),
        (EXPORT.encode("utf-16")[:700], "no element found|unclosed|partial"),
        (EXPORT.replace("children", "child\0ren").encode(), "not well-formed|invalid token"),
        (EXPORT.encode().replace(b"children", b"childr\xffen"), "not well-formed|invalid token"),
        (b"", "no element found"),
    ],
)
def test_a_damaged_export_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "wiki.xml"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        _read(path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wiki.xml.bz2"
    path.write_bytes(bz2.compress(EXPORT.encode())[:-20])
    with pytest.raises(SourceError, match=r"wiki\.xml\.bz2 is no whole MediaWiki export"):
        _read(path)
    path.write_bytes(b"not bzip2")
    with pytest.raises(SourceError, match="Invalid data stream"):
        _read(path)


def test_a_page_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mediawiki, "MOST_TEXT_BYTES", 45)
    (tmp_path / "wiki.xml").write_text(EXPORT)
    with pytest.raises(SourceError, match="'Genghis Khan' has more than 45 letters"):
        _read(tmp_path / "wiki.xml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / "deep").mkdir(parents=True)
    (root / "plain.txt").write_text("Just words.\n\nAnd more.")
    (root / "latin.txt").write_bytes(
        "Tous les garçons ont mangé à l'hôtel près de la forêt.".encode("cp1252")
    )
    (root / "wide.txt").write_bytes("Wide wörds".encode("utf-16"))
    (root / "deep" / "read.md").write_text(
        "# The *Title*\n\nSome **bold** [link](http://x).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    (root / "page.html").write_text(
        "<html><head><title>A &amp; page</title><style>p {}</style></head><body><nav>menu</nav><h1>Head</h1>"
        "<p>One<br>two <b>bo</b>ld</p><script>no()</script><table><tr><th>k</th><td>v</td></tr></table></body></html>"
    )
    (root / "picture.png").write_bytes(b"\x89PNG\0\0")
    (root / "binary.txt").write_bytes(b"\0\xff\xfe\0\x01\0" * 50)
    return root


def test_a_folder_of_documents(folder: Path) -> None:
    items, said = _read(folder)
    assert items == [
        Article("latin", "Tous les garçons ont mangé à l'hôtel près de la forêt.", "latin.txt"),
        Article("A & page", "Head\nOne\ntwo bold\nk | v", "page.html"),
        Article("plain", "Just words.\n\nAnd more.", "plain.txt"),
        Article("wide", "Wide wörds", "wide.txt"),
        Article("The *Title*", "The Title\nSome bold link.\na | b\n1 | 2", "deep/read.md"),
    ]
    assert said == [
        f"left out: {folder}/binary.txt: binary content, text expected",
        "1 files are no documents and were left out",
    ]


def test_a_folder_that_changes_is_another_source(folder: Path) -> None:
    before = open_source(folder).identity()
    (folder / "plain.txt").write_text("Other words.")
    assert open_source(folder).identity() != before


def test_a_page_in_a_declared_encoding(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes('<meta charset="iso-8859-5"><p>Привет мир</p>'.encode("iso-8859-5"))
    assert _articles(page)[0].text == "Привет мир"
    page.write_bytes('<meta charset="nonsense"><p>déjà vu, où ça</p>'.encode("cp1252"))
    assert "vu" in _articles(page)[0].text


@pytest.mark.parametrize(
    "bomb",
    [
        "<div>",
        "<",
        "<a href=",
        '<a href="',
        "<a \"'",
        "<!--",
        "&",
        "</",
        "<td>",
        "<![CDATA[",
        "<script>",
        "<head>",
    ],
)
def test_an_html_bomb_ends(bomb: str) -> None:
    html_text(bomb * 50_000)


def test_a_pdf_file(tmp_path: Path) -> None:
    path = tmp_path / "whale.pdf"
    path.write_bytes(_pdf("The whale is a mammal."))
    assert [article.text for article in _articles(path)] == ["The whale is a mammal."]
    path.write_bytes(b"%PDF-1.4 and then nothing")
    with pytest.raises(SourceError, match=r"whale\.pdf is no whole PDF file"):
        _read(path)


def _pdf(text: str) -> bytes:
    """One page, as the PDF reference's simplest example."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>\nstream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"xref\n0 6\n0000000000 65535 f \n{table}trailer <</Size 6/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + trailer.encode()


def test_a_dictionary(tmp_path: Path) -> None:
    body = "about\nwhale\n  A large mammal.\ncod\n  A fish, n\u00e9e.\n".encode()
    (tmp_path / "sea.dict.dz").write_bytes(gzip.compress(body))
    index = "00-database-short\tA\tG\ncetacean\tG\tY\ncod\te\tU\nwhale\tG\tY\n"
    (tmp_path / "sea.index").write_text(index)
    assert _articles(tmp_path / "sea.index") == [
        Article("cetacean", "whale\n  A large mammal.\n", "sea:6", ("whale",)),
        Article("cod", "cod\n  A fish, n\u00e9e.\n", "sea:30"),
    ]
    (tmp_path / "sea.index").write_text("cod\t//\tV\n")
    with pytest.raises(SourceError, match="ends at 50, 'cod' is at 4,095"):
        _read(tmp_path / "sea.index")
    (tmp_path / "sea.index").write_text("cod e V\n")
    with pytest.raises(SourceError, match="line 1: headword, offset and length expected"):
        _read(tmp_path / "sea.index")
    (tmp_path / "sea.dict.dz").write_bytes(gzip.compress(body)[:-12])
    with pytest.raises(SourceError, match=r"sea\.dict\.dz is damaged"):
        _read(tmp_path / "sea.index")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"title": "A", "text": "b"}\n\n{"title": "C", "text": "d", "source": "e", "aliases": ["f"]}\n'
    )
    assert _articles(path) == [Article("A", "b"), Article("C", "d", "e", ("f",))]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"title": "a"}',
        '{"title": 1, "text": ""}',
        '{"title": "a", "text": "b", "aliases": 3}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_article_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"title": "A", "text": "b"}}\n{line}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2: "):
        _read(path)


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "none")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"holds no document: one of \.txt"):
        open_source(tmp_path / "picture.png")


def _zim(tmp_path: Path, title: str = "Whale", text: str = "The whale is a mammal.") -> Path:
    """Written by libzim itself."""
    from libzim.writer import Creator, Hint, Item, StringProvider

    class Page(Item):  # type: ignore[misc]  # the package has no types
        def __init__(self, path: str, title: str, content: str) -> None:
            super().__init__()
            self._page = (path, title, content)

        def get_path(self) -> str:
            return self._page[0]

        def get_title(self) -> str:
            return self._page[1]

        def get_mimetype(self) -> str:
            return "text/html"

        def get_contentprovider(self) -> StringProvider:
            return StringProvider(self._page[2])

        def get_hints(self) -> dict[Hint, bool]:
            return {Hint.FRONT_ARTICLE: True}

    path = tmp_path / "small.zim"
    with Creator(path).config_indexing(False, "en") as creator:
        creator.set_mainpath(title)
        creator.add_item(Page(title, title, f"<html><body><p>{text}</p></body></html>"))
        creator.add_redirection("Cetacean", "Cetacean", title, {Hint.FRONT_ARTICLE: True})
    return path


def test_a_zim_file(tmp_path: Path) -> None:
    path = _zim(tmp_path)
    items, _ = _read(path)
    assert Article("Whale", "The whale is a mammal.", "Whale") in items
    assert Redirect("Cetacean", "Whale") in items


def test_a_zim_file_of_a_folder(tmp_path: Path) -> None:
    """Made by zimwriterfs (Debian: zim-tools) where it is there, else by the writer that it is made of."""
    path = (
        _zimwriterfs(tmp_path)
        if shutil.which("zimwriterfs")
        else _zim(tmp_path, title="Sea", text="All about the sea.")
    )
    assert ("Sea", "All about the sea.") in [(article.title, article.text) for article in _articles(path)]


def _zimwriterfs(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(
        "<html><head><title>Sea</title></head><body><p>All about the sea.</p></body></html>"
    )
    # A picture of 48 x 48 is what the tool asks for.
    (site / "icon.png").write_bytes(_png(48))
    options = {
        "welcome": "index.html",
        "illustration": "icon.png",
        "language": "eng",
        "title": "Sea",
        "description": "x",
        "creator": "y",
        "publisher": "z",
        "name": "sea",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    path = tmp_path / "sea.zim"
    subprocess.run(
        ["zimwriterfs", "--withoutFTIndex", *arguments, site, path], check=True, capture_output=True
    )
    return path


def _png(size: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * size) * size)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_damaged_zim_file_is_refused(tmp_path: Path) -> None:
    path = _zim(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"small\.zim is no whole ZIM file"):
        _read(path)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("a.zim", "libzim", "zim"), ("a.pdf", "pypdf", "pdf")]
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=rf"pip install 'lumos-edge\[{extra}\]'"):
        _read(tmp_path / name)
