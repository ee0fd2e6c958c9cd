"""Many questions on the machines of a Ray cluster."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import click

from lumos_edge.cli.options import AgentOptions
from lumos_edge.cli.questions import Outcome, Question, answer_all
from lumos_edge.errors import ClusterError
from lumos_edge.sources import require_network

_CONNECT_S = 10.0


class Worker:
    """What runs on each machine: an agent of its own, with the weights, tools and files of that machine."""

    def __init__(self, options: AgentOptions) -> None:
        self._agent = options.agent(options.choice())

    def answer(self, questions: Sequence[Question], n_parallel: int, n_samples: int) -> list[Outcome]:
        """What comes of the questions, in their order."""
        return list(answer_all(self._agent, questions, n_parallel, n_samples))


def answer_on_cluster(
    address: str, options: AgentOptions, questions: Sequence[Question], n_parallel: int, n_samples: int
) -> Iterator[Outcome]:
    """What comes of the questions, in their order, from one worker on each machine of the cluster at `address`.

    What a lost worker was asked is asked again of another one. Raises OfflineError, ClusterError when the cluster
    cannot be reached or has no worker left, and what a worker raises.
    """
    require_network(f"the Ray cluster at {address}")
    ray = _connected(address)
    try:
        yield from _Cluster(ray, options).answer(questions, n_parallel, n_samples)
    finally:
        ray.shutdown()  # the workers are this run's, and end with it


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterError('Ray is not installed: pip install "lumos-edge[ray]"') from error
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, OverflowError, OSError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:200]}") from error
    return ray


class _Cluster:
    """The workers, and what each of them is asked."""

    def __init__(self, ray: Any, options: AgentOptions) -> None:
        self._ray = ray
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        # No CPU is reserved: an agent measures what threads are worth on its machine, and gives way to others.
        remote = ray.remote(Worker)
        self._workers = [
            remote.options(num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)).remote(
                options
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        self._asked: dict[Any, tuple[Any, list[Question]]] = {}

    def answer(self, questions: Sequence[Question], n_parallel: int, n_samples: int) -> Iterator[Outcome]:
        """As many questions at a time to each worker as it works on at once."""
        todo = deque(questions)
        idle = deque(self._workers)
        done: dict[int, Outcome] = {}
        for question in questions:
            while question.line not in done:
                while idle and todo:
                    taken = [todo.popleft() for _ in range(min(n_parallel, len(todo)))]
                    worker = idle.popleft()
                    self._asked[worker.answer.remote(taken, n_parallel, n_samples)] = worker, taken
                if not self._asked:
                    raise ClusterError(f"every worker was lost; {len(todo)} questions are not answered")
                (ready,), _ = self._ray.wait(list(self._asked))
                worker, taken = self._asked.pop(ready)
                outcomes = self._outcomes(ready)
                if outcomes is None:
                    click.echo(
                        f"lumos-edge: a worker was lost; {len(taken)} questions are asked again", err=True
                    )
                    todo.extendleft(reversed(taken))
                else:
                    idle.append(worker)
                    done |= {outcome.line: outcome for outcome in outcomes}
            yield done.pop(question.line)

    def _outcomes(self, ready: Any) -> list[Outcome] | None:
        """What a worker answered; None when it was lost. Raises what it raised."""
        errors = self._ray.exceptions
        try:
            outcomes: list[Outcome] = self._ray.get(ready)
        except errors.RayActorError as error:
            if error.actor_init_failed:
                raise ClusterError(f"a worker did not start: {_last_line(error)}") from error
            return None
        except errors.RayTaskError as error:
            raise error.cause from error
        return outcomes


def _last_line(error: Exception) -> str:
    """What a worker raised, without its stack."""
    return str(error).strip().rpartition("\n")[2].strip()
