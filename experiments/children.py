"""Child processes of a command that makes many runs: one thread each, one command a folder, none left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from hcrnn_pyro.errors import UserError

POLL = 0.1  # seconds
LOCK = ".lock"


class Child(Protocol):
    """What has a process."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""


def start(
    command: Sequence[str], log: Path, environment: dict[str, str], lock: int, append: bool = False
) -> subprocess.Popen[bytes]:
    """Start a process.

    Args:
        command: its words.
        log: what it prints goes there.
        environment: its variables, those of :func:`child_environment`.
        lock: that of the folder it works in, as :func:`locked` gives it.
        append: whether the log goes on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab" if append else "wb") as output:
        # The lock goes along: it holds as long as a process works in the folder, even where this one was killed.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, pass_fds=(lock,)
        )


def child_environment(data_dir: Path | None) -> dict[str, str]:
    """One thread a process; the folder of the data is no part of a run, so that the data may be moved."""
    place = {} if data_dir is None else {"HCRNN_DATA": str(data_dir.resolve())}
    return os.environ | {"OMP_NUM_THREADS": "1"} | place


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")


@contextmanager
def stopped_in_the_end(children: Sequence[Child]) -> Iterator[None]:
    """No child outlives the block; SIGTERM ends it as Ctrl-C does.

    Ctrl-C is listened to even where the shell had it ignored, as it does for what runs in the background.

    Args:
        children: a list that the block fills.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for child in children:  # a run may be killed at any moment, and leaves whole files
            child.process.terminate()
        for child in children:
            child.process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def locked(out: Path) -> Iterator[int]:
    """The lock of a folder, which is made if need be.

    Raises:
        UserError: another command, or one of its children, works there.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise UserError(f"Another command, or a run that it started, still works in {out}; wait for it.") from error
    try:
        yield lock
    finally:
        os.close(lock)
