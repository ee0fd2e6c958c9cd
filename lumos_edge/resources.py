"""Where content (tool packs, model packs), the user's own packs, caches and data are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def content_folder(kind: str) -> Path:
    """The folder of the built-in `kind` ("tools", "models"): beside the package in a checkout, inside it in a wheel."""
    checkout = _PACKAGE.parent
    # Only a checkout has setup.cfg there: in site-packages a foreign folder called "tools" must not be taken for ours.
    return (checkout if (checkout / "setup.cfg").is_file() else _PACKAGE) / kind


def content_files(kind: str, suffix: str) -> Iterator[Path]:
    """Every built-in and every user's file of that kind, sorted by name within each folder, the user's last."""
    for folder in (content_folder(kind), config_folder() / kind):
        if folder.is_dir():
            yield from sorted(
                p for p in folder.iterdir() if p.suffix == suffix and not p.name.startswith(("_", "."))
            )


def _folder(kind: str) -> Path:
    home = os.environ.get("LUMOS_EDGE_HOME")
    if home:
        return Path(home).expanduser() / kind
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")("lumos-edge", appauthor=False))


def config_folder() -> Path:
    """The user's own packs and settings; `LUMOS_EDGE_HOME` overrides the platform's folder."""
    return _folder("config")


def data_folder() -> Path:
    """Weights and other large files; `LUMOS_EDGE_HOME` overrides the platform's folder."""
    return _folder("data")


def cache_folder() -> Path:
    """What may be deleted at any time; `LUMOS_EDGE_HOME` overrides the platform's folder."""
    return _folder("cache")
