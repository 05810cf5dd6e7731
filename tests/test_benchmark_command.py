import json

import pytest

from experiments.benchmark import main
from hcrnn_pyro.errors import UserError


def test_rows_are_printed_and_written(capsys, tmp_path):
    file = tmp_path / "rows.json"
    main(["--hidden", "4", "--contexts", "3", "--batch-size", "64", "--repeats", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    records = json.loads(file.read_text())
    assert [record["what"] for record in records] == [
        "training epoch",
        "evaluation of test, exact",
        "evaluation of test, one-pass",
    ]
    for record in records:
        assert record["what"] in printed
        assert record["median"] > 0
        assert record["unit"] == "s"


def test_nonsense_is_refused():
    with pytest.raises(UserError, match="--repeats"):
        main(["--repeats", "0"])
