"""Pictures in files: what is one, its pixels, and what cannot be read."""

from __future__ import annotations

import builtins
import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import pytest

from lumos_edge import images
from lumos_edge.errors import PictureError
from lumos_edge.images import open_image
from tests.engine.seeing import write_picture


def test_a_picture_is_its_bytes(tmp_path: Path) -> None:
    first = open_image(write_picture(tmp_path / "a.png", 1))
    copy = tmp_path / "b.png"
    copy.write_bytes(first.path.read_bytes())
    assert open_image(copy) == first
    assert first.sha256 == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert open_image(write_picture(tmp_path / "c.png", 2)) != first
    assert first.text == f"[picture {first.sha256[:12]}]"


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "webp", "tiff", "jpg"])
def test_the_pixels_of_each_format(tmp_path: Path, ending: str) -> None:
    """Grey, which a palette and a lossy format keep."""
    path = tmp_path / f"photo.{ending}"
    PIL.Image.fromarray(np.repeat(np.arange(0, 256, 8, dtype=np.uint8), 8).reshape(16, 16)).save(path)
    width, height, pixels = open_image(path).pixels()
    assert (width, height, len(pixels)) == (16, 16, 16 * 16 * 3)
    found = np.frombuffer(pixels, np.uint8).reshape(-1, 3).astype(int)
    assert np.abs(found - np.repeat(np.arange(0, 256, 8), 8)[:, None]).max() <= 12


def test_a_picture_is_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    upright = PIL.Image.fromarray(np.array([[[200, 0, 0], [0, 200, 0]]], np.uint8))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the left
    path = tmp_path / "photo.png"
    upright.save(path, exif=exif)
    assert open_image(path).pixels() == (1, 2, bytes([200, 0, 0, 0, 200, 0]))


@pytest.mark.parametrize("size", [0, 5, 16, 40, -40])
def test_what_is_cut_off(tmp_path: Path, size: int) -> None:
    path = write_picture(tmp_path / "photo.jpg")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PictureError, match=str(path)):
        open_image(path).pixels()


def test_sizes_that_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_image(write_picture(tmp_path / "photo.png"))
    monkeypatch.setattr(images, "_MAX_PIXELS", 3071)
    with pytest.raises(PictureError, match="64 by 48 pixels, at most 3,071 are looked at"):
        image.pixels()
    monkeypatch.setattr(images, "_MAX_BYTES", 100)
    with pytest.raises(PictureError, match="has more than the 100 bytes that are read of a picture"):
        open_image(image.path)


def test_a_picture_that_claims_to_be_huge(tmp_path: Path) -> None:
    """A PNG of 70 bytes whose header says 100,000 by 100,000: nothing is unpacked."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(PictureError, match=r"bomb\.png"):
        open_image(path).pixels()


def test_without_pillow(tmp_path: Path) -> None:
    image = open_image(write_picture(tmp_path / "photo.png"))
    really = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return really(name, *arguments)

    with (
        mock.patch("builtins.__import__", without),
        pytest.raises(PictureError, match=r"needs the extra: pip install 'lumos-edge\[vision\]'"),
    ):
        image.pixels()
