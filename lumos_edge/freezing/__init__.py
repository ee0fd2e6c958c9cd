"""PyInstaller's hooks for this package; PyInstaller finds them by the entry point `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Where the files `hook-*.py` are (PyInstaller's documented interface for hooks that packages bring)."""
    return [str(Path(__file__).parent)]
