"""`lumos-edge ask --image`, on tiny weights that see and on some that do not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lumos_edge.resources import config_folder
from tests.cli.conftest import CHAT_TEMPLATE, MODEL, Command, error_line
from tests.engine.seeing import write_picture, write_projector, write_seeing_model

QUESTION = "What pulls the cart? There're some choices: A. goat, B. horse."
SHOWS = " The image shows the following contents: "


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The options for weights that see."""
    folder = tmp_path_factory.mktemp("seeing")
    model = write_seeing_model(
        folder / "smolvlm.gguf",
        "smolvlm",
        chat_template=CHAT_TEMPLATE,
        n_ctx=8192,
        metadata={"lumos.template": "lumos-eval"},
    )
    return (*MODEL, model, "--projector", write_projector(folder / "mmproj.gguf", "smolvlm"))


def test_a_picture_is_looked_at_recorded_and_replayed(
    run: Command, seeing: tuple[object, ...], tmp_path: Path
) -> None:
    image, trace = write_picture(tmp_path / "cart.png"), tmp_path / "trace.jsonl"
    asked = ("ask", *seeing, "--image", image, "--max-subgoals", "2", "--trace", trace, "--json", QUESTION)
    done = run(*asked)
    document = json.loads(done.stdout)
    assert done.stderr.count("\n") <= 1
    assert document["completions"][0]["module"] == "reader"
    caption = document["completions"][0]["text"].removeprefix("Answer: ")
    assert document["trajectory"]["question"].startswith(f"{QUESTION}{SHOWS}{caption[:10]}")
    image.unlink()
    for options in ((), ("--live",)):
        if options:
            write_picture(image)
        replayed = run("trace", "replay", trace, *options)
        assert (replayed.returncode, replayed.stdout) == (0, "same trajectory\n")
    shown = run("trace", "show", trace, "--prompts").stdout
    digest = hashlib.sha256(image.read_bytes()).hexdigest()[:12]
    assert f"[picture {digest}]" in shown
    assert f"[picture {digest}]" in run("trace", "html", trace).stdout


def test_lines_of_eval_about_pictures(run: Command, seeing: tuple[object, ...], tmp_path: Path) -> None:
    """One has a caption, the others are looked at; the results are found again by the questions as they stand."""
    for seed in (1, 2):
        write_picture(tmp_path / f"{seed}.png", seed)
    (tmp_path / "1.txt").write_text("A horse.")
    lines = [{"question": QUESTION, "answer": "horse", "image": f"{seed}.png"} for seed in (1, 2, 1)]
    file, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = ("eval", file, *seeing, "--max-subgoals", "1", "--output", output)
    done = run(*asked)
    assert json.loads(done.stdout)["n"] == 3
    settings, *results = map(json.loads, output.read_text().splitlines())
    assert settings["settings"]["projector"].endswith("mmproj.gguf")
    assert [result["question"] for result in results] == [
        f"{QUESTION}{SHOWS}A horse.",
        QUESTION,
        results[0]["question"],
    ]
    assert run(*asked).stdout == done.stdout
    without = run(*(asked[:-2]), "--output", output, "--n-ctx", "4096")
    assert "another run" in error_line(without)


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--projector", "x.gguf"), 2, "--projector needs --model"),
        (("--server", "http://localhost:1", "--projector", "x.gguf"), 2, "are the server's"),
        (("--model", "{tiny}", "--projector", "nowhere.gguf"), 3, "nowhere.gguf cannot be read"),
        (("--model", "{tiny}", "--projector", "{tiny}"), 3, "is no projector of pictures"),
        (("--model", "{tiny}"), 3, "cart.png has no caption"),
    ],
)
def test_mistakes(
    run: Command, tiny: Path, tmp_path: Path, options: tuple[str, ...], code: int, expected: str
) -> None:
    image = write_picture(tmp_path / "cart.png")
    given = [option.replace("{tiny}", str(tiny)) for option in options]
    done = (
        run("ask", "--n-threads", "1", *given, "--image", image, QUESTION)
        if code == 3
        else run("ask", *given, "--image", image, QUESTION)
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr


def test_a_page_of_html_is_no_picture(run: Command, seeing: tuple[object, ...], tmp_path: Path) -> None:
    image = tmp_path / "cart.png"
    image.write_bytes(b"<html>")
    done = run("ask", *seeing, "--image", image, QUESTION)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is no picture: expected PNG" in error_line(done)


def test_a_pack_with_a_projector(run: Command, seeing: tuple[object, ...], tmp_path: Path) -> None:
    """Made, verified, asked, damaged, refused."""
    _, _, _, base, _, projector = seeing
    made = run("convert", "pack", "eyes", "--like", "nano", "--base", base, "--projector", projector)
    assert made.returncode == 0, made.stderr
    manifest = config_folder() / "models" / "eyes.toml"
    assert "[projector]" in manifest.read_text()
    verified = run("models", "verify", "eyes")
    assert verified.stdout.count("as expected") == 2
    assert "eyes-mmproj.gguf" in run("models", "show", "eyes").stdout
    image = write_picture(tmp_path / "cart.png")
    options = ("--pack", "eyes", "--n-ctx", "8192", "--n-threads", "1", "--max-subgoals", "1", "--json")
    done = run("ask", *options, "--image", image, QUESTION)
    assert json.loads(done.stdout)["completions"][0]["module"] == "reader"
    file = Path(next(line for line in verified.stdout.splitlines() if "mmproj" in line).split(": sha256")[0])
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "expected" in error_line(run("models", "verify", "eyes"))
    other = run("convert", "pack", "blind", "--like", "nano", "--base", base, "--projector", base)
    assert "has the architecture 'llama', expected a projector's" in error_line(other)
