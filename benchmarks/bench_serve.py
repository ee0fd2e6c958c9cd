"""Clients that ask `lumos-edge serve` at once: is each request answered, in its order, and is cancelling quick?

    python benchmarks/bench_serve.py [--minutes 10] [--clients 16] [--pack nano]

Every client asks one question after the other, streamed; every fourth of its requests it breaks off at the first event.
From outside a run begins with the first event of its stream. So what a run that was broken off takes from the next one
is seen in the time between the end of a run and the beginning of the next, against that after a run that ended. A
request has overtaken another one when it was sent more than 0.25 s later and began earlier. Linux (memory of the
server). The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_SENT_LATER_S = 0.25
_BREAKS_OFF = 4  # every so many requests


@dataclass
class Request:
    """One request; times are of `time.perf_counter`, 0 until they come."""

    is_broken_off: bool
    sent: float
    began: float = 0.0
    ended: float = 0.0
    error: str = ""


def main() -> None:
    """Run the clients and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pack", default="nano")
    options = parser.parse_args()
    requests: list[Request] = []
    with server(options.pack) as (process, address):
        send(address, options.pack, "What is 2 + 3?", requests)
        before = state(process.pid)
        requests.clear()
        until = time.perf_counter() + 60 * options.minutes
        clients = [
            threading.Thread(target=client, args=(number, address, options.pack, until, requests))
            for number in range(options.clients)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        send(address, options.pack, "What is 2 + 3?", requests)  # it goes on afterwards
        time.sleep(1)
        after = state(process.pid)
    print(json.dumps({**vars(options), **report(requests), "before": before, "after": after}))


@contextmanager
def server(pack: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command on a free port, and its host and port."""
    command = [
        sys.executable,
        "-m",
        "lumos_edge",
        "serve",
        "--pack",
        pack,
        "--port",
        "0",
        "--max-tokens",
        "400",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline().strip().rpartition("//")[2].removesuffix("/v1")
    finally:
        process.terminate()
        process.wait()


def state(pid: int) -> dict[str, float]:
    """Resident memory, threads and open files of the server."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "resident_mb": round(int(lines["VmRSS"].split()[0]) * 1024 / 1e6, 1),
        "threads": int(lines["Threads"]),
        "files": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }


def client(number: int, address: str, pack: str, until: float, requests: list[Request]) -> None:
    """Ask until then."""
    asked = number
    while time.perf_counter() < until:
        rows = 2 + asked % 23
        question = f"A box has {rows} rows of {3 + number} apples. How many apples are in it?"
        send(address, pack, question, requests, is_broken_off=asked % _BREAKS_OFF == 0)
        asked += 1


def send(
    address: str, pack: str, question: str, requests: list[Request], *, is_broken_off: bool = False
) -> None:
    """Send one request and read its stream, to the end or to the first event."""
    body = {"model": pack, "stream": True, "messages": [{"role": "user", "content": question}]}
    connection = http.client.HTTPConnection(address, timeout=600)
    request = Request(is_broken_off, time.perf_counter())
    requests.append(request)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        if reply.status != 200:
            request.error = f"status {reply.status}: {reply.read().decode()[:200]}"
        else:
            read(reply, request)
    except (OSError, http.client.HTTPException, ValueError) as error:
        request.error = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
        request.ended = time.perf_counter()


def read(reply: http.client.HTTPResponse, request: Request) -> None:
    """Read the events; raises ValueError for a stream without an end."""
    finish_reason = None
    for line in reply:
        if not line.startswith(b"data: "):
            continue
        request.began = request.began or time.perf_counter()
        if request.is_broken_off:
            reply.close()
            return
        if line.startswith(b"data: [DONE]"):
            break
        document = json.loads(line.removeprefix(b"data: "))
        if "error" in document:
            raise ValueError(document["error"]["message"])
        finish_reason = document["choices"][0]["finish_reason"] or finish_reason
    else:
        raise ValueError("the stream ended without [DONE]")
    if finish_reason not in ("stop", "length"):
        raise ValueError(f"finish_reason {finish_reason}")


def report(requests: list[Request]) -> dict[str, object]:
    """The figures."""
    begun = sorted((request for request in requests if request.began), key=lambda request: request.began)
    gaps: dict[bool, list[float]] = {False: [], True: []}
    for previous, current in pairwise(begun):
        if current.sent < previous.ended:  # it waited
            gaps[previous.is_broken_off].append(current.began - previous.ended)
    latest = 0.0
    n_overtaken = 0
    for request in begun:
        n_overtaken += request.sent < latest - _SENT_LATER_S
        latest = max(latest, request.sent)
    errors = [request.error for request in requests if request.error]
    return {
        "benchmark": "serve",
        "requests": len(requests),
        "broken_off": sum(request.is_broken_off for request in requests),
        "errors": len(errors),
        "first_errors": errors[:3],
        "lost": sum(not request.error and not request.began for request in requests),
        "overtaken": n_overtaken,
        "next_begins_after_an_end_ms": spread(gaps[False]),
        "next_begins_after_a_break_ms": spread(gaps[True]),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, 95 % point and maximum."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        "median": round(1000 * statistics.median(ordered), 1),
        "p95": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 1),
        "most": round(1000 * ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
