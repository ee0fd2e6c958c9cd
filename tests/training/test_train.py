"""The training loop, on a tiny model with random weights. Needs the `train` extra; CI has the `test` extra only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.sequences import TrainingSequence, pack

torch: Any = pytest.importorskip("torch")
peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

from training.train import Trainer, TrainingConfig, make_batch, train, write_results  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = TrainingConfig(
    pack="tiny",
    formulations=("onetime",),
    rank=4,
    alpha=8,
    learning_rate=2e-2,
    n_steps=30,
    n_warmup_steps=2,
    n_decay_steps=10,
    row_tokens=24,
    n_rows=2,
    seed=0,
    dtype="float32",
    checkpoint_s=0.0,
)


def _sequence(first: int, size: int) -> TrainingSequence:
    """Counts upwards from `first`; all but the first two tokens are learned."""
    return TrainingSequence(tuple(range(first, first + size)), (False, False, *[True] * (size - 2)))


ROWS = pack([_sequence(first, 5 + first % 7) for first in range(1, 30)], CONFIG.row_tokens, seed=0)


def _base() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,  # with the default, no adapter could move the logits
    )
    return transformers.LlamaForCausalLM(config)


def _model() -> Any:
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = peft.LoraConfig(
        r=CONFIG.rank, lora_alpha=CONFIG.alpha, target_modules=linear, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(_base(), lora)


def _trainer(folder: Path, n_steps: int = CONFIG.n_steps) -> Trainer:
    trainer = Trainer(replace(CONFIG, n_steps=n_steps), _model(), folder)
    trainer.resume()
    return trainer


def test_training_learns(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    train(trainer, ROWS)
    assert len(trainer.losses) == CONFIG.n_steps
    assert sum(trainer.losses[-5:]) < 0.8 * sum(trainer.losses[:5])


def test_a_killed_run_resumes_to_the_same_losses(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    whole.folder.mkdir()
    train(whole, ROWS)
    killed = _trainer(tmp_path / "killed")
    batches = [[ROWS[(step * 2 + i) % len(ROWS)] for i in range(2)] for step in range(8)]
    for rows in batches[:7]:
        killed.step(make_batch(rows, CONFIG.row_tokens, torch.float32))
    killed.save()
    killed.step(make_batch(batches[7], CONFIG.row_tokens, torch.float32))  # lost
    killed.checkpoint_file.with_suffix(".new").write_bytes(b"cut off")  # killed while it was written
    resumed = _trainer(tmp_path / "killed")
    assert len(resumed.losses) == 7
    train(resumed, ROWS)
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-5)


def test_a_packed_sequence_sees_no_other(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    model: Any = trainer.model

    def hidden(row: list[TrainingSequence]) -> Any:
        batch = make_batch([row], CONFIG.row_tokens, torch.float32)
        with torch.no_grad():
            output = model.get_base_model().model(
                input_ids=batch.tokens, position_ids=batch.positions, attention_mask=batch.mask
            )
        return output.last_hidden_state[0]

    first, second = _sequence(3, 9), _sequence(20, 8)
    torch.testing.assert_close(hidden([first, second])[9:17], hidden([second])[:8], rtol=1e-4, atol=1e-5)


def test_only_what_a_module_wrote_is_learned() -> None:
    batch = make_batch([[_sequence(3, 5), _sequence(20, 4)]], CONFIG.row_tokens, torch.float32)
    assert batch.targets.tolist() == [5, 6, 7, 22, 23]
    assert batch.tokens[0][batch.predicting].tolist() == [4, 5, 6, 21, 22]


def test_the_learning_rate_rises_stays_and_falls() -> None:
    rates = [CONFIG.learning_rate_at(step) for step in range(CONFIG.n_steps)]
    assert rates[0] == CONFIG.learning_rate / 2
    assert set(rates[1:21]) == {CONFIG.learning_rate}
    assert rates[-1] == pytest.approx(CONFIG.learning_rate / 10)


def test_a_config_file_is_read_strictly(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "training" / "configs" / "nano.toml"
    assert TrainingConfig.read(shipped).pack == "nano"
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(shipped.read_text("utf-8") + "\nranks = 3\n")
    with pytest.raises(TypeError, match="ranks"):
        TrainingConfig.read(wrong)


def test_the_results_are_an_adapter_the_losses_and_their_plot(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, n_steps=3)
    train(trainer, ROWS)
    write_results(trainer)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size > 1000
    assert (tmp_path / "losses.json").read_text().startswith("[")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_rank_every_weight_is_trained_and_the_result_is_a_checkpoint(tmp_path: Path) -> None:
    model, before = _base(), dict(_base().named_parameters())
    trainer = Trainer(replace(CONFIG, rank=0, n_steps=3), model, tmp_path)
    train(trainer, ROWS)
    write_results(trainer)
    saved = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "model")
    after = dict(saved.named_parameters())
    assert after.keys() == before.keys()
    assert not any(torch.equal(after[name], before[name]) for name in before)
    resumed = Trainer(replace(CONFIG, rank=0, n_steps=3), _base(), tmp_path)
    resumed.resume()
    assert all(torch.equal(p, after[name]) for name, p in resumed.model.named_parameters())
