"""`lumos-edge batch --ray`: a local cluster of two machines.

Ray is large, so it is no part of the `test` extra: `pip install ".[ray]" && pytest tests/cli/test_batch_ray.py`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Command, Start, error_line
from tests.cli.test_batch import QUESTIONS, SHORT, documents

cluster_utils = pytest.importorskip(
    "ray.cluster_utils", reason='run by: pip install ".[ray]" && python -m pytest tests/cli/test_batch_ray.py'
)

# Ray's own threads and sockets end some time after it says that they have.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))
    return file


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of two machines; both are this one, with the user's home of the test."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    machine = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args=machine)
    started.add_node(num_cpus=1, object_store_memory=100_000_000)
    started.wait_for_nodes()
    yield started.address
    started.shutdown()


def test_a_lost_workers_questions_are_asked_again(
    start: Start, tiny: Path, tmp_path: Path, questions: Path, tool_that: Callable[[str], None], cluster: str
) -> None:
    """The first worker that comes to the tool stays in it until it is killed."""
    mark = tmp_path / "process"
    tool_that(
        "import os, pathlib\n"
        f"    file = pathlib.Path({str(mark)!r})\n"
        "    try:\n"
        "        file.open('x').write(str(os.getpid()))\n"
        "        time.sleep(50)\n"
        "    except FileExistsError:\n"
        "        pass\n"
        "    return Number(Fraction(42))"
    )
    process = start("batch", questions, *MODEL, tiny, *SHORT, "--parallel", 2, "--ray", cluster)
    while not (mark.exists() and mark.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(int(mark.read_text()), signal.SIGKILL)
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "lumos-edge: a worker was lost; 2 questions are asked again\n")
    found = documents(out)
    assert [(one["line"], one["question"]) for one in found] == list(enumerate(QUESTIONS, 1))
    assert {one["answer"] for one in found} == {"42"}


def test_what_workers_cannot_do_is_said(run: Command, tmp_path: Path, questions: Path, cluster: str) -> None:
    missing = run("batch", questions, *MODEL, tmp_path / "missing.gguf", "--ray", cluster)
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "missing.gguf" in error_line(missing)


def test_a_cluster_that_is_not_there(run: Command, questions: Path) -> None:
    done = run("batch", questions, "--ray", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no Ray cluster at 127.0.0.1:1" in error_line(done)


def test_offline_forbids_a_cluster(run: Command, questions: Path) -> None:
    done = run("batch", questions, "--ray", "127.0.0.1:1", root=("--offline",))
    assert (done.returncode, "offline" in error_line(done)) == (3, True)
