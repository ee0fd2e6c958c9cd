"""`lumos-edge convert verify --reference`: the actions of two GGUF files on the real engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lumos_edge.cli.convert import command
from lumos_edge.errors import ConversionError
from tests.engine.tiny import write_adapter, write_bpe_model, write_spm_model

# The built-in examples do not fit a tiny context window, the short template does.
COMPACT = {"lumos.template": "compact"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "model.gguf", n_ctx=2048)


@pytest.fixture
def adapters(tmp_path: Path) -> list[str]:
    planner = write_adapter(tmp_path / "planner.gguf", 1, metadata={**COMPACT, "lumos.module": "planner"})
    grounder = write_adapter(tmp_path / "grounder.gguf", 2, metadata={**COMPACT, "lumos.module": "grounder"})
    return ["--planner-adapter", str(planner), "--grounder-adapter", str(grounder)]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "How many are 2 and 3?", "answer": "5"}\n\n')  # as `eval` takes them
    return path


def verify(model: Path, *arguments: str | Path) -> Result:
    given = ["verify", str(model), *map(str, arguments)]
    return CliRunner().invoke(command, given, catch_exceptions=False)


def actions(result: Result) -> dict[str, object]:
    found: dict[str, object] = json.loads(result.stdout)["actions"]
    return found


def test_the_same_weights_write_the_same_actions_without_torch(
    monkeypatch: pytest.MonkeyPatch, model: Path, adapters: list[str], questions: Path
) -> None:
    for package in ("torch", "transformers", "peft"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    result = verify(model, "--reference", model, "--actions", questions, *adapters)
    found = actions(result)
    assert result.exit_code == 0
    assert found["n_turns"] == found["n_equal"] != 0
    assert (found["share"], found["first_difference"]) == (1.0, None)
    document = json.loads(result.stdout)
    assert document.keys() == {"actions", "reference_logits", "missed"}
    assert (document["reference_logits"]["kl"], document["reference_logits"]["argmax_agreement"]) == (
        0.0,
        1.0,
    )


def test_other_weights_miss_the_bound_and_the_first_difference_is_shown(
    tmp_path: Path, model: Path, adapters: list[str], questions: Path
) -> None:
    other = write_bpe_model(tmp_path / "other.gguf", n_ctx=2048, seed=8)
    result = verify(other, "--reference", model, "--actions", questions, *adapters)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reference_logits"]["kl"] > 0.01
    assert json.loads(result.stdout)["missed"] == ["unchanged actions"]
    difference = actions(result)["first_difference"]
    assert isinstance(difference, list)
    expected, found = difference
    assert expected != found
    assert "found there" in result.stderr


@pytest.mark.parametrize(("module", "written"), [("grounder", "actions"), ("planner", "subgoals")])
def test_a_module_alone_is_asked_what_the_pair_that_stands_for_it_was_asked(
    tmp_path: Path, model: Path, adapters: list[str], questions: Path, module: str, written: str
) -> None:
    whole = {**COMPACT, "lumos.module": module}
    same, other = (
        write_bpe_model(tmp_path / f"{seed}.gguf", n_ctx=2048, metadata=whole, seed=seed) for seed in (7, 8)
    )
    # Adapters that are strong enough for other texts than their base writes.
    result = verify(model, "--reference", same, "--actions", questions, *adapters)
    found = json.loads(result.stdout)[written]
    assert (found["module"], result.exit_code) == (module, 1)
    plain = [
        write_adapter(tmp_path / f"{name}0.gguf", 1, alpha=1e-30, metadata={**COMPACT, "lumos.module": name})
        for name in ("planner", "grounder")
    ]
    nothing = ["--planner-adapter", str(plain[0]), "--grounder-adapter", str(plain[1])]
    result = verify(model, "--reference", same, "--actions", questions, *nothing)
    assert (json.loads(result.stdout)[written]["share"], result.exit_code) == (1.0, 0)
    assert json.loads(result.stdout)["reference_logits"]["kl"] == pytest.approx(0, abs=1e-9)
    result = verify(model, "--reference", other, "--actions", questions, *nothing)
    assert json.loads(result.stdout)["missed"] == [f"unchanged {written}"]
    assert f"{module} turns with unchanged {written}" in result.stderr


def test_a_fine_tune_of_both_modules_answers_without_the_adapters(
    tmp_path: Path, model: Path, adapters: list[str], questions: Path
) -> None:
    both = write_bpe_model(tmp_path / "both.gguf", n_ctx=2048, metadata=COMPACT)
    found = actions(verify(model, "--reference", both, "--actions", questions, *adapters))
    assert found["n_equal"] != found["n_turns"]
    same = actions(verify(both, "--reference", both, "--actions", questions))
    assert same["n_equal"] == same["n_turns"] != 0


def test_another_vocabulary_is_refused_with_both_sizes(tmp_path: Path, model: Path, questions: Path) -> None:
    other = write_spm_model(tmp_path / "other.gguf")
    with pytest.raises(ConversionError, match=r"other\.gguf has 364 tokens, .*model\.gguf has 268"):
        verify(other, "--reference", model, "--actions", questions)


def test_a_checkpoint_needs_the_extra_that_brings_transformers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ConversionError, match=r"needs the Python package transformers: .*lumos-edge\[train\]"
    ):
        verify(model, "--against", tmp_path)


@pytest.mark.parametrize("line", ["", "What?", '{"task": "What?"}', '{"question": " "}', '{"question": 5}'])
def test_a_file_without_questions_is_refused(
    tmp_path: Path, model: Path, adapters: list[str], line: str
) -> None:
    (tmp_path / "q.jsonl").write_text(line)
    with pytest.raises(ConversionError, match=r'q\.jsonl: expected {"question": ...} in each line'):
        verify(model, "--reference", model, "--actions", tmp_path / "q.jsonl", *adapters)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --against, --reference, or both"),
        (("--reference",), "--reference and --actions go together"),
        (("--reference", "--actions", "--adapter-against"), "--adapter-against needs --adapter"),
        (("--reference", "--actions", "--adapter"), "--adapter needs --against"),
    ],
)
def test_options_that_belong_together_are_asked_for(
    model: Path, options: tuple[str, ...], message: str
) -> None:
    path = {"--adapter-against": str(model.parent)}
    arguments = [argument for option in options for argument in (option, path.get(option, str(model)))]
    with pytest.raises(click.UsageError, match=message):
        command.main(["verify", str(model), *arguments], standalone_mode=False)
