"""Processes that judge mutants, and survive what these do to them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .corpus import Corpus
from .judge import judge
from .making import make

#: The number of a mutant, and which of its mutations to make (None for all).
Task = tuple[int, tuple[int, ...] | None]

SECONDS = 30
#: A process may take so many bytes more than it has at first.
MEMORY = 2 << 30
#: After so many mutants a process is replaced, since ONNX Runtime may lose memory.
_MUTANTS_A_PROCESS = 1000


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant: the fields of its verdict, and how it was made."""

    number: int
    kept: tuple[int, ...] | None
    kind: str
    reason: str
    detail: str
    seed: str = ""
    mutations: tuple[str, ...] = ()
    options: str = ""
    seconds: float = 0.0


def outcomes(tasks: Iterable[Task], corpus: Corpus, processes: int = 1) -> Iterator[Outcome]:
    """Judges mutants, each in a process of limited memory and time.

    Args:
        tasks: what to judge.
        corpus: what mutants are made of.
        processes: how many work at a time; the outcomes do not depend on it.
    """
    queue = deque(tasks)
    workers = [_Worker(corpus) for _ in range(max(1, min(processes, len(queue))))]
    try:
        for worker in workers:
            worker.give(queue)
        while busy := [worker for worker in workers if worker.task is not None]:
            ready = wait([worker.connection for worker in busy], timeout=0.5)
            for worker in busy:
                if worker.connection in ready:
                    outcome = worker.outcome()
                elif worker.seconds() > SECONDS:
                    outcome = worker.hung()
                else:
                    continue
                worker.give(queue)
                yield outcome
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process, replaced when it dies."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.task: Task | None = None
        self.begun = 0.0
        self.count = 0
        self.stage: Any = multiprocessing.get_context("fork").RawArray("c", 32)
        self.process: Any = None
        self.connection: Connection

    def give(self, queue: deque[Task]) -> None:
        """Gives it the next task, if there is one."""
        if not queue:
            self.task = None
            return
        if self.process is None or self.count >= _MUTANTS_A_PROCESS:
            self.stop()
            self.start()
        self.task, self.begun = queue.popleft(), time.monotonic()
        self.count += 1
        self.connection.send(self.task)

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there, self.stage, self.corpus))
        self.process.start()
        there.close()
        self.count = 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def outcome(self) -> Outcome:
        try:
            received: Outcome = self.connection.recv()
            return received
        except (EOFError, ConnectionError):
            self.process.join()
            return self._dead(f"crash (exit code {self.process.exitcode})")

    def hung(self) -> Outcome:
        return self._dead("hang")

    def _dead(self, how: str) -> Outcome:
        self.stop()
        stage = self.stage.value.decode()
        number, kept = self.task or (0, None)
        kind = "died-original" if stage.endswith("original") else "bug"
        return Outcome(number, kept, kind, f"{how} in stage {stage!r}", "")


def _work(connection: Connection, stage: Any, corpus: Corpus) -> None:
    """What a process does: judges what it is given until it is killed."""
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    limit = _virtual_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="trtfuse-fuzz-", dir=place))

    def tell(name: str) -> None:
        stage.value = name.encode()

    with contextlib.suppress(EOFError, KeyboardInterrupt, ConnectionError):
        # It has both ends of the connection, so it does not see that the other is gone.
        parent = os.getppid()
        while os.getppid() == parent:
            if not connection.poll(5):
                continue
            number, kept = connection.recv()
            tell("make")
            begun = time.perf_counter()
            try:
                made = make(number, corpus, kept)
                verdict = judge(made, folder, tell)
            except Exception:  # noqa: BLE001 - a fault of the fuzzer's own
                told = traceback.format_exc()
                connection.send(Outcome(number, kept, "fuzzer-error", told[-300:], told))
                continue
            connection.send(
                Outcome(
                    number,
                    kept,
                    verdict.kind,
                    verdict.reason,
                    verdict.detail[-4000:],
                    made.seed.name,
                    made.mutations,
                    f"groups={made.groups} verify={made.verify} given={made.given}",
                    time.perf_counter() - begun,
                )
            )
    shutil.rmtree(folder, ignore_errors=True)


def _virtual_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def minimized(outcome: Outcome, count: int, corpus: Corpus) -> tuple[Outcome, Collection[int]]:
    """The same bug with as few of its mutations as it takes."""
    kept = list(range(count))
    best = outcome
    for at in range(count):
        fewer = tuple(each for each in kept if each != at)
        (tried,) = outcomes([(outcome.number, fewer)], corpus)
        if tried.kind == outcome.kind and _same_kind(tried.reason, outcome.reason):
            best, kept = tried, list(fewer)
    return best, tuple(kept)


def _same_kind(one: str, other: str) -> bool:
    return one.split(" [")[0].split(":")[0] == other.split(" [")[0].split(":")[0]
