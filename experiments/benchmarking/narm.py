"""RecBole's NARM as a peer, in an environment of its own: RecBole needs older versions than this project.

    python -m venv recbole && recbole/bin/pip install recbole torch 'numpy<2' 'pandas<2.3' 'setuptools<81'

Every prefix is a row of its own, 512 rows a batch; embeddings and states of size 100. As it comes, RecBole cuts a
prefix to its last 50 events; uncut, it reads what our systems read. The training sequences are ours, handed over as a
temporary atomic file.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError

CHILD = Path(__file__).with_name("recbole_child.py")
DATASET = "train"
CUT = 50  # events, RecBole's default


class RecBoleNARM:
    """A process of another interpreter that trains NARM an epoch at a time; a context manager.

    Args:
        python: path of that interpreter.
        train: training sequences.
        length: events to which a prefix is cut.
        threads: of its torch.
    """

    def __init__(self, python: Path, train: Sequences, length: int, threads: int) -> None:
        self.python = python
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        write_atomic_file(folder / DATASET / f"{DATASET}.inter", train)
        self.messages = folder / "messages.txt"
        # Isolated, so that it finds its own packages alone; in the folder, as RecBole leaves logs where it runs.
        arguments = [str(folder), DATASET, str(length), str(threads)]
        command = [str(python.absolute()), "-I", str(CHILD.absolute()), *arguments]
        try:
            with self.messages.open("w") as messages:
                self.process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True
                )
        except OSError as error:
            self.folder.cleanup()
            raise UserError(f"--recbole {python}: {error.strerror}; it is the path of a Python interpreter.") from error

    def epoch(self) -> float:
        """CPU seconds of one more training epoch.

        Raises:
            UserError: when the process has ended instead, with the last line that it wrote.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already; the answer will show it
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            said = self.messages.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise UserError(f"--recbole {self.python} could not train NARM; its last line: {said[-1]}")
        return float(answer)

    def __enter__(self) -> RecBoleNARM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


def write_atomic_file(file: Path, sequences: Sequences) -> None:
    """RecBole's format of interactions: user, item and time with typed headers, separated by tabs."""
    file.parent.mkdir()
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    table = pd.DataFrame(
        {
            "user_id:token": rows,
            "item_id:token": sequences.items,
            "timestamp:float": np.arange(sequences.events) - sequences.offsets[rows],
        }
    )
    table.to_csv(file, sep="\t", index=False)
