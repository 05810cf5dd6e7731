"""Files are whole or not there, and a failure names the file that was asked for."""

import pytest

from hcrnn_pyro.files import whole_file, write_json


def test_a_finished_block_replaces_the_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, whole_file(tmp_path / "wanted") as _:
        raise OSError(28, "No space left on device", "somewhere/else")
    assert caught.value.filename == str(tmp_path / "wanted")


def test_numbers_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"nll": float("nan")})
    assert list(tmp_path.iterdir()) == []
