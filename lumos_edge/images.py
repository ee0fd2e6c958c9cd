"""Pictures in files, for weights that see: what tells one from another, and its pixels.

Pillow reads them. The binding's own reader takes neither WebP nor TIFF, does not know how a camera was held, and gives
what it cannot read to a program (ffmpeg).
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from lumos_edge.errors import PictureError

_MAX_BYTES = 100_000_000
_MAX_PIXELS = 64_000_000  # as decoded they take three bytes each, twice while they are handed over

_SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\x00{4}|RIFF.{4}WEBP|II\*\x00|MM\x00\*", re.DOTALL
)


@dataclass(frozen=True)
class Image:
    """A picture: the SHA-256 of its file says which one, and its pixels are read from `path` when they are needed."""

    sha256: str
    path: Path = field(compare=False)

    @property
    def text(self) -> str:
        """What stands for it where a prompt is shown."""
        return f"[picture {self.sha256[:12]}]"

    def pixels(self) -> tuple[int, int, bytes]:
        """Width, height, and red, green and blue of each pixel by rows, upright.

        Raises PictureError, also where the file is another one by now. Cost: some 10 ms a million pixels.
        """
        content = _content(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise PictureError(f"{self.path} has changed since it was opened")
        return _decoded(content, self.path)


def open_image(path: Path) -> Image:
    """The picture in a file, whose beginning alone is looked at; raises PictureError for what is none."""
    check_image(path)
    return Image(hashlib.sha256(_content(path)).hexdigest(), path)


def check_image(path: Path) -> None:
    """Raise PictureError for a file that does not begin as a picture does."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    if not _SIGNATURES.match(start):
        raise PictureError(f"{path} is no picture: expected PNG, JPEG, GIF, WebP, BMP or TIFF")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise PictureError(f"{path} has more than the {_MAX_BYTES:,} bytes that are read of a picture")
    return content


def _decoded(content: bytes, path: Path) -> tuple[int, int, bytes]:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise PictureError("looking at pictures needs the extra: pip install 'lumos-edge[vision]'") from error
    try:
        with PIL.Image.open(io.BytesIO(content)) as opened:
            width, height = opened.size
            if width * height > _MAX_PIXELS:
                raise PictureError(
                    f"{path} has {width:,} by {height:,} pixels, at most {_MAX_PIXELS:,} are looked at"
                )
            upright = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except PIL.UnidentifiedImageError as error:
        raise PictureError(f"{path} is no picture that Pillow can read") from error
    # Pillow's readers raise these for damaged files (SyntaxError for a PNG's chunks).
    except (OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise PictureError(f"{path} cannot be read: {error}") from error
    return upright.width, upright.height, upright.tobytes()
