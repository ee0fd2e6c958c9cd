"""Which source a path is."""

from __future__ import annotations

from pathlib import Path

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.dictionary import Dictionary
from lumos_edge.knowledge.documents import Documents
from lumos_edge.knowledge.jsonl import JsonLines
from lumos_edge.knowledge.mediawiki import MediaWikiExport
from lumos_edge.knowledge.source import Source
from lumos_edge.knowledge.zim import ZimFile


def open_source(path: Path) -> Source:
    """The source of a file or folder, by its name; raises SourceError when there is none."""
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        return Documents(path)
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        return JsonLines(path)
    if name.endswith((".xml", ".xml.bz2")):
        return MediaWikiExport(path)
    if name.endswith(".zim"):
        return ZimFile(path)
    if name.endswith(".index"):
        return Dictionary(path)
    return Documents(path)
