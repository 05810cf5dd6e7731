"""NARM in another interpreter: what it is handed, what it answers, and what is said when it cannot run."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarking.narm import CHILD, RecBoleNARM, write_atomic_file
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError

SEQUENCES = Sequences.from_lists([[(user + 2 * t) % 9 + 1 for t in range(6)] for user in range(20)])


def test_the_atomic_file_holds_every_event_in_its_order(tmp_path):
    write_atomic_file(tmp_path / "toy" / "toy.inter", Sequences.from_lists([[3, 1], [2]]))
    lines = [line.split("\t") for line in (tmp_path / "toy" / "toy.inter").read_text().splitlines()]
    assert lines == [
        ["user_id:token", "item_id:token", "timestamp:float"],
        ["0", "3", "0"],
        ["0", "1", "1"],
        ["1", "2", "0"],
    ]


@pytest.fixture
def stand_in(tmp_path):
    """An interpreter that answers each line by the number of lines of the file it was handed."""
    file = tmp_path / "python"
    file.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"assert sys.argv[1:3] == ['-I', {str(CHILD)!r}]\n"
        "folder, name, length, threads = sys.argv[3:]\n"
        "assert length == '4'\n"
        "for line in sys.stdin:\n"
        "    print(float(len(open(f'{folder}/{name}/{name}.inter').readlines())), flush=True)\n"
    )
    file.chmod(0o755)
    return file


def test_each_epoch_is_asked_for_and_answered(stand_in):
    with RecBoleNARM(stand_in, SEQUENCES, length=4, threads=1) as peer:
        folder = Path(peer.folder.name)
        assert [peer.epoch(), peer.epoch()] == [121.0, 121.0]
    assert peer.process.poll() is not None
    assert not folder.exists()


def test_an_interpreter_without_recbole_is_told_with_its_last_words():
    with (
        RecBoleNARM(Path(sys.executable), SEQUENCES, length=4, threads=1) as peer,
        pytest.raises(UserError, match="could not train NARM; its last line: ModuleNotFoundError: No module named"),
    ):
        peer.epoch()


def test_no_interpreter_is_told():
    with pytest.raises(UserError, match="--recbole nowhere: No such file or directory"):
        RecBoleNARM(Path("nowhere"), SEQUENCES, length=4, threads=1)


def test_recbole_itself_trains_an_epoch():
    python = os.environ.get("RECBOLE_PYTHON")
    if not python:
        pytest.skip("needs RecBole: set RECBOLE_PYTHON to the interpreter of an environment that has it")
    with RecBoleNARM(Path(python), SEQUENCES, length=4, threads=1) as peer:
        assert np.isfinite([peer.epoch(), peer.epoch()]).all()
