import pytest

from experiments.audit import main
from hcrnn_pyro.errors import UserError


def test_prints_the_audit(capsys):
    main(["--data", "synthetic"])
    printed = capsys.readouterr().out
    assert printed.startswith("synthetic: ")
    assert "predictions" in printed


def test_a_users_file_with_options(tmp_path, capsys):
    path = tmp_path / "log.tsv"
    lines = [f"u{i}\t{item}" for i in range(5) for item in ("a", "b", "c", "b", "a")]
    path.write_text("\n".join(["user\titem", *lines]) + "\n")
    options = ["--columns", "user,item", "--split", "leave-last-out", "--min-length", "3", "--min-item-count", "2"]
    main(["--data", str(path), *options])
    predictions = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("predictions "))
    assert predictions.split() == ["predictions", "10", "5", "5"]  # train a b c, valid its last of 4, test of 5


def test_a_mistake_is_told_in_a_sentence(capsys):
    with pytest.raises(UserError, match="Did you mean 'citeulike'"):
        main(["--data", "citulike"])
    assert capsys.readouterr().out == ""


def test_help_shows_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--min-item-count" in capsys.readouterr().out
