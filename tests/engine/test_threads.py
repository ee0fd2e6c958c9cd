"""Fewer threads on a busy machine, and back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lumos_edge.engine.binding import Model
from lumos_edge.engine.threads import ALIKE, Speed, ThreadPace, _between, _Cores, measured_speed
from lumos_edge.resources import cache_folder
from tests.engine.tiny import write_bpe_model

QUIET, BUSY, ONE = 0.007, 0.026, 0.010
PROMPT_TOKEN = 0.003


def pace_of(n_threads: int) -> ThreadPace:
    return ThreadPace(Speed(n_threads, n_threads, PROMPT_TOKEN, (1.0,) * ALIKE))


def run(pace: ThreadPace, n_steps: int, *, busy: bool) -> list[int]:
    """The thread counts of these steps, with the times that a 135M model takes on 2 cores."""
    counts = []
    for _ in range(n_steps):
        counts.append(pace.n_threads)
        with_all = BUSY if busy else QUIET
        pace.step(with_all if pace.n_threads == 2 else ONE)
    return counts


def test_a_quiet_machine_keeps_all_threads() -> None:
    assert set(run(pace_of(2), 500, busy=False)) == {2}


def test_a_busy_machine_gets_fewer_and_all_are_tried_now_and_then() -> None:
    pace = pace_of(2)
    run(pace, 20, busy=False)
    counts = run(pace, 400, busy=True)
    assert counts[:3] == [2, 2, 2]
    assert counts[3:60] == [1] * 57
    assert counts.count(2) / len(counts) < 0.05


def test_all_threads_come_back_when_the_machine_is_quiet_again() -> None:
    pace = pace_of(2)
    run(pace, 20, busy=False)
    run(pace, 50, busy=True)
    counts = run(pace, 200, busy=False)
    assert counts.index(2) <= 64
    assert set(counts[counts.index(2) :]) == {2}


def test_single_slow_steps_are_accidents() -> None:
    pace = pace_of(2)
    for _ in range(100):
        pace.step(QUIET)
        pace.step(BUSY)
    assert pace.n_threads == 2


def test_one_thread_is_the_least() -> None:
    pace = pace_of(1)
    for seconds in (QUIET, BUSY, BUSY, BUSY, BUSY):
        assert pace.step(seconds) == 1


def test_many_threads_are_halved() -> None:
    pace = pace_of(8)
    for seconds in (QUIET, BUSY, BUSY, BUSY):
        pace.step(seconds)
    assert pace.n_threads == 4


def test_a_prompt_that_is_much_slower_than_measured_is_read_with_fewer_threads_at_once() -> None:
    pace = pace_of(2)
    pace.prefill(256 * 2 * PROMPT_TOKEN, 256)  # a long context
    assert pace.n_threads_prefill == 2
    pace.prefill(256 * 20 * PROMPT_TOKEN, 256)
    assert (pace.n_threads, pace.n_threads_prefill) == (1, 1)
    run(pace, 200, busy=False)
    assert (pace.n_threads, pace.n_threads_prefill) == (2, 2)


def test_prompts_and_tokens_have_threads_of_their_own() -> None:
    pace = ThreadPace(Speed(2, 6, PROMPT_TOKEN, (1.0,) * ALIKE))
    assert (pace.n_threads, pace.n_threads_prefill) == (2, 6)


def test_costs_lie_between_those_that_were_measured_and_never_fall() -> None:
    assert _between({1: 1.0, 2: 2.0, 4: 2.6, 7: 2.3}) == (1.0, 2.0, 2.3, 2.6, 2.6, 2.6, 2.6)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the machine does, what is measured counts as measured on a quiet one."""
    monkeypatch.setattr(_Cores, "_FREE_SHARE", 0.0)


def test_threads_that_waited_for_a_core_had_not_all_of_them() -> None:
    cores = _Cores()
    with cores.timed(2):  # one of two threads works
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert not cores.were_free


def test_what_was_measured_beside_other_work_is_kept_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(write_bpe_model(tmp_path / "tiny.gguf"))
    monkeypatch.setattr(_Cores, "_FREE_SHARE", 2.0)
    expires_at = measured_speed(model).expires_at
    assert expires_at is not None
    assert 3500 < expires_at - time.time() <= 3600
    assert measured_speed(model).expires_at == expires_at
    file = cache_folder() / "speed.json"
    file.write_text(file.read_text().replace(str(expires_at), "5.0"))
    monkeypatch.setattr(_Cores, "_FREE_SHARE", 0.0)
    assert measured_speed(model).expires_at is None
    model.close()


@pytest.mark.usefixtures("quiet")
def test_a_model_is_measured_once(tmp_path: Path) -> None:
    model = Model(write_bpe_model(tmp_path / "tiny.gguf"))
    first = measured_speed(model)
    assert min(first.n_threads, first.n_threads_prefill) >= 1
    assert first.prefill_token_s > 0
    assert len(first.costs) == ALIKE
    file = cache_folder() / "speed.json"
    file.write_text(file.read_text().replace(str(first.prefill_token_s), "0.5"))
    assert measured_speed(model).prefill_token_s == 0.5
    model.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("content", ["not json", "[]", "{}", '{"tiny.gguf:1:2": 3}'])
def test_a_spoilt_measurement_is_made_again(tmp_path: Path, content: str) -> None:
    model = Model(write_bpe_model(tmp_path / "tiny.gguf"))
    expected = measured_speed(model)
    file = cache_folder() / "speed.json"
    for spoilt in (content, file.read_text().replace('"n_threads": ', '"n_threads": -')):
        file.write_text(spoilt)
        again = measured_speed(model)
        assert again.n_threads >= 1
        assert len(again.costs) == len(expected.costs)
    model.close()
