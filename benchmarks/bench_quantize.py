"""What quantization changes in a fine-tuned model's actions, with and without calibration.

    python benchmarks/bench_quantize.py TUNED_F16.gguf --questions QUESTIONS.jsonl --calibrate-on OTHERS.jsonl

TUNED_F16.gguf answers the questions; each smaller file grounds the same turns. The importance is computed from the
model's own turns about other questions (`convert quantize --calibrate`). Also the KL divergence of the logits over the
first turns. Greedy, one model in memory at a time (two for the logits).

The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lumos_edge.conversion.native_model import open_model
from lumos_edge.conversion.parity import compare_logits
from lumos_edge.engine import Control
from lumos_edge.loading import of_files
from lumos_edge.turns import Turn, retake, take_turns

FILE_TYPES = ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
N_LOGIT_TURNS = 20


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--questions", type=Path, required=True, help='JSONL: {"question": ...}')
    parser.add_argument("--calibrate-on", type=Path, required=True, help="the same, other questions")
    parser.add_argument("--n-questions", type=int, default=200)
    parser.add_argument("--n-calibration", type=int, default=64)
    parser.add_argument("--file-types", nargs="*", default=FILE_TYPES)
    options = parser.parse_args()
    asked = turns_about(options.model, read_questions(options.questions, options.n_questions))
    others = turns_about(options.model, read_questions(options.calibrate_on, options.n_calibration))
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.jsonl"
        texts.write_text("\n".join(json.dumps(text_of(turn)) for turn in others), encoding="utf-8")
        grounded = [turn for turn in asked if turn.module == "grounder"]
        result: dict[str, Any] = {"n_turns": len(grounded), "n_calibration_texts": len(others), "types": {}}
        for name in options.file_types:
            entry = {
                kind: measure(options.model, Path(folder) / "small.gguf", name, grounded, extra)
                for kind, extra in (("plain", ()), ("calibrated", ("--calibrate", str(texts))))
            }
            result["types"][name] = entry
            print(json.dumps({name: entry}), file=sys.stderr, flush=True)
    print(json.dumps(result))


def read_questions(path: Path, n_questions: int) -> list[str]:
    """The first questions of a file."""
    return [json.loads(line)["question"] for line in path.read_text("utf-8").splitlines()[:n_questions]]


def turns_about(model: Path, questions: Sequence[str]) -> list[Turn]:
    """The model's own turns."""
    return take_turns(of_files(model), questions, lambda _: None)


def text_of(turn: Turn) -> str:
    """A turn's history with what was written, control tokens written out."""
    return "".join(piece.text if isinstance(piece, Control) else piece for piece in turn.prompt) + turn.text


def measure(
    model: Path, small: Path, file_type: str, turns: Sequence[Turn], extra: Sequence[str]
) -> dict[str, float]:
    """Size, unchanged turns, and the divergence of the logits."""
    command = [sys.executable, "-m", "lumos_edge", "convert", "quantize", str(model), "-o", str(small)]
    subprocess.run([*command, "--type", file_type, *extra], check=True)
    texts = retake(of_files(small), turns, lambda _: None)
    with open_model(model) as expected, open_model(small) as found:
        ids = [expected.tokenize(text_of(turn)) for turn in turns[:N_LOGIT_TURNS]]
        logits = compare_logits((expected.logits(tokens), found.logits(tokens)) for tokens in ids)
    size_bytes = small.stat().st_size
    small.unlink()
    unchanged = sum(turn.text == text for turn, text in zip(turns, texts, strict=True))
    return {"size_bytes": size_bytes, "unchanged": unchanged / len(turns), "kl": logits.kl}


if __name__ == "__main__":
    main()
