"""Finding parts by name and by path, and the sentences for those that are not there."""

import pytest

from guides import GUIDES
from hcrnn_pyro.components import find
from hcrnn_pyro.errors import UserError
from models import PRIORS

USER_FILE = """
from models import LogisticNormal

def my_prior(contexts):
    return LogisticNormal(contexts)

NOT_CALLABLE = 3
"""


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(USER_FILE)
    monkeypatch.chdir(tmp_path)


def test_registered_names_give_the_registered_objects():
    assert find("prior", "logistic-normal") is PRIORS["logistic-normal"]
    assert find("guide", "bag-of-items") is GUIDES["bag-of-items"]


@pytest.mark.parametrize("location", ["mine", "mine.py", "./mine.py"])
def test_a_users_file(user_file, location):
    assert find("prior", f"{location}:my_prior")(4).location.shape == (4,)


def test_an_installed_module():
    assert find("prior", "models.priors:LogisticNormal") is PRIORS["logistic-normal"]


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("model", "hcrn3", r"Unknown model 'hcrn3'\. Did you mean 'hcrnn3'\?"),
        ("prior", "logistic", r"Did you mean 'logistic-normal'\? .*--prior my_file:my_prior"),
        ("guide", "nowhere:thing", r"neither the file nowhere\.py nor an installed module"),
        ("prior", "mine:my_priro", r"Unknown attribute of mine 'my_priro'\. Did you mean 'my_prior'\?"),
        ("prior", "mine:NOT_CALLABLE", r"must be a callable; NOT_CALLABLE is a int"),
    ],
)
def test_mistakes_are_told_in_a_sentence(user_file, kind, name, sentence):
    with pytest.raises(UserError, match=sentence):
        find(kind, name)
