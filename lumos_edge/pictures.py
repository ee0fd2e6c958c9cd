"""Pictures by their captions, which is what Agent Lumos' planner saw of them, and as they are for a reader that sees.

Source of the words: the paper's annotations for A-OKVQA and ScienceQA.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from lumos_edge.errors import PictureError
from lumos_edge.images import Image, check_image, open_image
from lumos_edge.toolbox import Resource
from lumos_edge.trajectory import Task

_SHOWS = "The image shows the following contents: "
_MAX_CAPTION = 4000


@dataclass(frozen=True)
class Picture(Resource):
    """What a picture shows, in words ("" where nobody has said it), and itself where the reader sees."""

    caption: str
    image: Image | None = None

    wanted = "a picture with a caption: --image FILE"

    def write_json(self) -> dict[str, Any] | None:
        """See `Resource.write_json`: a run that looks at a picture begins with a caption of it."""
        if self.image is None:
            return None
        return {"caption": self.caption, "picture": str(self.image.path), "sha256": self.image.sha256}

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Picture:
        """See `Resource.read_json`."""
        return cls(data["caption"], Image(data["sha256"], Path(data["picture"])))


def open_picture(path: Path, question: str, *, is_seen: bool = False) -> tuple[Picture, Task]:
    """The picture in a file, and the question with its caption in the paper's words.

    The caption is what the question says after `The image shows the following contents: `, or the text in a file
    beside the picture (`photo.jpg.txt` or `photo.txt`). Where weights see it (`is_seen`) there need be none. Raises
    PictureError.
    """
    if not is_seen:
        check_image(path)
    task = task_about(path, question)
    caption = task.question.partition(_SHOWS)[2]
    if not (caption or is_seen):
        raise PictureError(
            f"{path} has no caption: expected one in {path.name}.txt, or after {_SHOWS.strip()!r} in the question"
        )
    return Picture(caption, open_image(path) if is_seen else None), task


def task_about(path: Path, question: str) -> Task:
    """The question about a picture with its caption, if there is one. Raises PictureError for one that is too long."""
    asked, _, caption = question.partition(_SHOWS)
    caption = " ".join((caption or _sidecar(path)).split())
    if len(caption) > _MAX_CAPTION:
        raise PictureError(
            f"the caption of {path} has {len(caption):,} characters, at most {_MAX_CAPTION:,} are read"
        )
    return captioned(Task(asked), caption) if caption else Task(asked)


def captioned(task: Task, caption: str) -> Task:
    """The task as the paper's planner got it."""
    return Task(f"{task.question.strip()} {_SHOWS}{caption}")


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
    return ""


_CHOICES = re.compile(r"There're some choices: (.+?)\.?(?: The image shows|$)", re.DOTALL)
_CHOICE = re.compile(r"(?:^|, )([A-Z]\. .+?)(?=, [A-Z]\. |$)", re.DOTALL)


def with_choices(question: str, choices: Sequence[str]) -> str:
    """The question with its choices in the paper's words; raises ValueError where they could not be read again."""
    lettered = tuple(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    asked = f"{question.strip()} There're some choices: {', '.join(lettered)}."
    if len(choices) < 2 or choices_of(asked) != lettered or len(lettered) < len(choices):
        raise ValueError(f"expected 2 to 26 choices, each a few words on one line, found {choices!r}")
    return asked


def choices_of(question: str) -> tuple[str, ...]:
    """The choices that a question names, with their letters: `There're some choices: A. goat, B. horse.`"""
    found = _CHOICES.search(question)
    return tuple(_CHOICE.findall(found[1])) if found else ()
