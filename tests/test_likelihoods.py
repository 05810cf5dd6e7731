"""Which likelihood a run names, and which one its data speak for."""

import pandas as pd
import pytest

from experiments.likelihoods import check_support, likelihood_line
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from models import HCRNNConfig, SASRecConfig, SwitchingConfig


def data(*sequences):
    part = Sequences.from_lists([list(sequence) for sequence in sequences])
    return DataSet("mine", part, part, part, pd.DataFrame({"item_id": list("abc")}))


NEW, AGAIN = data([1, 2, 3], [3, 1]), data([1, 2, 1], [3, 1])


@pytest.mark.parametrize(
    ("settings", "on", "line"),
    [
        (
            HCRNNConfig(),
            NEW,
            "categorical; as no item repeats in mine, --likelihood without-replacement may fit better",
        ),
        (HCRNNConfig(), AGAIN, "categorical; as items repeat in mine, --likelihood repeat-explore may fit better"),
        (HCRNNConfig(likelihood="without-replacement"), NEW, "without-replacement"),
        (HCRNNConfig(likelihood="repeat-explore"), AGAIN, "repeat-explore"),
        (SASRecConfig(), AGAIN, "categorical"),
        (SwitchingConfig(), AGAIN, "categorical"),
        (object(), NEW, "categorical"),
    ],
)
def test_the_line_names_what_the_data_speak_for_where_the_model_has_it(settings, on, line):
    assert likelihood_line(settings, on) == f"likelihood {line}"


def test_a_likelihood_that_excludes_what_the_data_hold_is_refused():
    check_support(HCRNNConfig(likelihood="without-replacement"), NEW)
    with pytest.raises(UserError, match=r"--likelihood without-replacement gives .* and mine has repeats"):
        check_support(HCRNNConfig(likelihood="without-replacement"), AGAIN)
