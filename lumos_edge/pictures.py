"""Pictures by their captions, which is what Agent Lumos' planner saw of them; no vision weights are needed.

Source of the words: the paper's annotations for A-OKVQA and ScienceQA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lumos_edge.errors import PictureError
from lumos_edge.images import check_image
from lumos_edge.toolbox import Resource
from lumos_edge.trajectory import Task

_SHOWS = "The image shows the following contents: "
_MAX_CAPTION = 4000


@dataclass(frozen=True)
class Picture(Resource):
    """What a picture shows, in words."""

    caption: str

    wanted = "a picture with a caption: --image FILE"


def open_picture(path: Path, question: str) -> tuple[Picture, Task]:
    """The picture in a file, and the question with its caption in the paper's words.

    The caption is what the question says after `The image shows the following contents: `, or the text in a file
    beside the picture (`photo.jpg.txt` or `photo.txt`). Raises PictureError.
    """
    check_image(path)
    asked, _, caption = question.partition(_SHOWS)
    caption = " ".join((caption or _sidecar(path)).split())
    if len(caption) > _MAX_CAPTION:
        raise PictureError(
            f"the caption of {path} has {len(caption):,} characters, at most {_MAX_CAPTION:,} are read"
        )
    return Picture(caption), Task(f"{asked.strip()} {_SHOWS}{caption}")


def _sidecar(path: Path) -> str:
    for name in (path.with_name(f"{path.name}.txt"), path.with_suffix(".txt")):
        try:
            caption = name.read_text("utf-8").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise PictureError(f"{name} cannot be read: {error}") from error
        if caption:
            return caption
    raise PictureError(
        f"{path} has no caption: expected one in {path.name}.txt, or after {_SHOWS.strip()!r} in the question"
    )


_CHOICES = re.compile(r"There're some choices: (.+?)\.?(?: The image shows|$)", re.DOTALL)
_CHOICE = re.compile(r"(?:^|, )([A-Z]\. .+?)(?=, [A-Z]\. |$)", re.DOTALL)


def choices_of(question: str) -> tuple[str, ...]:
    """The choices that a question names, with their letters: `There're some choices: A. goat, B. horse.`"""
    found = _CHOICES.search(question)
    return tuple(_CHOICE.findall(found[1])) if found else ()
