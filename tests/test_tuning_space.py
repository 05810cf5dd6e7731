"""The space of a search: what its file may say, and how a wrong one is refused."""

import shlex

import pytest

from experiments.options import parse, words
from experiments.svi import COMMAND, SVIConfig, configuration, default_config
from experiments.tuning.attempt import changes
from experiments.tuning.config import DEFAULT_SPACE
from experiments.tuning.space import Choices, Range, read_space
from hcrnn_pyro.errors import UserError


def read(tmp_path, text, model="hcrnn3-bi"):
    file = tmp_path / "space.toml"
    file.write_text(text)
    return read_space(file, default_config(model))


def test_values_ranges_and_choices(tmp_path):
    space = read(
        tmp_path,
        'likelihood = "without-replacement"\n'
        "kl-weight = 1\n"
        "lr = { low = 5e-4, high = 5e-3, log = true }\n"
        "dropout-in = { low = 0.2, high = 0.6, step = 0.05 }\n"
        "free_bits = { low = 0, high = 2 }\n"
        'item-embeddings = { choices = ["flat", "spectral"] }\n'
        "item-scale = { low = 1, high = 2 }\n"  # a number or nothing, and of spectral embeddings alone
        "hidden = { low = 50, high = 150, step = 50 }\n"
        "batch-size = { choices = [16, 32] }\n"
        'prior = { choices = ["dirichlet", "logistic-normal"] }\n',
    )
    assert space.fixed == {"likelihood": "without-replacement", "kl-weight": 1.0}
    assert space.searched == {
        "lr": Range(5e-4, 5e-3, log=True),
        "dropout-in": Range(0.2, 0.6, step=0.05),
        "free-bits": Range(0.0, 2.0),
        "item-embeddings": Choices(("flat", "spectral")),
        "item-scale": Range(1.0, 2.0),
        "hidden": Range(50, 150, step=50),
        "batch-size": Choices((16, 32)),
        "prior": Choices(("dirichlet", "logistic-normal")),
    }
    whole = {flag for flag, domain in space.searched.items() if isinstance(domain, Range) and domain.whole}
    assert whole == {"hidden"}


def test_a_trial_has_the_drawn_values_the_fixed_ones_and_the_defaults(tmp_path):
    space = read(tmp_path, "patience = 4\nlr = { low = 1e-4, high = 1.0 }\nhidden = { low = 8, high = 64 }\n")
    default = default_config("hcrnn3-bi")
    config = space.configuration(default, {"lr": 0.0123456789, "hidden": 10001})
    assert (config.training.patience, config.training.lr, config.settings.hidden) == (4, 0.01235, 10001)
    assert (config.training.batch_size, config.pair, config.data) == (16, default.pair, default.data)


def test_the_words_of_a_trial_say_the_same_to_the_command(tmp_path):
    space = read(
        tmp_path,
        "check-every-batch = true\nlr = { low = 1e-7, high = 1.0 }\ndropout = { low = 0.0, high = 0.5 }\n",
        "sasrec",
    )
    config = space.configuration(default_config("sasrec"), {"lr": 2e-06, "dropout": 0.1 + 0.2})
    said = words(changes(config))
    assert said == shlex.split("--model sasrec --dropout 0.3 --lr 2e-06 --check-every-batch")
    assert configuration(said) == config
    assert parse(SVIConfig, COMMAND, said, default=default_config("sasrec")) == config


def test_values_that_need_each_other_are_a_legal_space(tmp_path):
    text = 'objective = { choices = ["elbo", "iwae"] }\nparticles = { choices = [1, 4] }\n'
    space = read(tmp_path, text)
    with pytest.raises(UserError, match="iwae needs --particles of at least 2"):
        space.configuration(default_config("hcrnn3-bi"), {"objective": "iwae", "particles": 1})


def test_the_default_space_is_one_of_hcrnn3_bi():
    space = read_space(DEFAULT_SPACE, default_config("hcrnn3-bi"))
    assert {"lr", "dropout-in", "hidden"} <= set(space.searched)
    with pytest.raises(UserError, match=r"space\.toml: .*: Unknown flag of pop"):
        read_space(DEFAULT_SPACE, default_config("pop"))


LR = "lr = { low = 0.001, high = 0.1 }\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lr = {", "is not TOML"),
        ("epochs = 3", "has no range and no choices, so there is nothing to search"),
        ("droput-in = 0.3", "droput-in: Unknown flag of hcrnn3-bi 'droput-in'. Did you mean 'dropout-in'"),
        ("heads = 2", "heads: Unknown flag of hcrnn3-bi 'heads'"),
        ("split-seed = { choices = [0, 1] }", "split-seed: says which data there are"),
        ("data = 'movielens'", "data: says which data there are"),
        ("seed = { low = 0, high = 9 }", "seed: is a flag of the search itself: --seed; leave it out"),
        ("monitor = 'nll'", "monitor: is a flag of the search itself"),
        ("model = { choices = ['narm', 'stamp'] }", "model: is a flag of the search itself"),
        ("out = 'x'", "out: is a flag of the search itself"),
        ("device = 'cpu'", "device: is a flag of the search itself"),
        ("resume = true", "resume: has no meaning in a trial; leave it out"),
        ("refit = 'runs/x'", "refit: has no meaning in a trial; leave it out"),
        ("preset = 'citeulike'", "preset: stands for several flags; name those; leave it out"),
        ("theta-samples = { low = 1, high = 9 }", "theta-samples: comes after the validation"),
        ("lr = 'fast'", "lr: expected a number; got 'fast'"),
        ("lr = nan", "lr: expected a number; got nan"),
        ("epochs = 2.5", "epochs: expected a whole number; got 2.5"),
        ("epochs = true", "epochs: expected a whole number; got True"),
        ("epochs = [1, 2]", "epochs: expected a whole number; got \\[1, 2\\]"),
        ("likelihood = 'normal'", "likelihood: expected one of categorical, without-replacement, repeat-explore; got"),
        ("prior = { choices = ['dirichlet', 'dirichlett'] }", "prior: Unknown prior 'dirichlett'. Did you mean"),
        ("batch-size = { low = 16, high = 32.5 }", "batch-size: expected a whole number; got 32.5"),
        ("lr = { low = 0.1, high = 0.1 }", "lr: the range is empty: low must be below high; got 0.1 and 0.1"),
        ("lr = { low = 0.1, high = 0.01 }", "lr: the range is empty"),
        ("lr = { low = 0.1 }", "lr: expected { low = ..., high = ... }.*got low"),
        ("lr = { low = 0.1, high = 0.2, lgo = true }", "lr: expected { low = .*got low, high, lgo"),
        ("lr = {}", "lr: expected .*got nothing"),
        ("lr = { low = 0.1, choices = [0.1, 0.2] }", "lr: expected .*got low, choices"),
        ("kl-weight = { low = 0.0, high = 1.0, log = true }", "kl-weight: a logarithmic range needs a low above 0"),
        ("lr = { low = 0.1, high = 0.2, log = 1 }", "lr: log is true or false; got 1"),
        ("lr = { low = 0.1, high = 0.2, log = true, step = 0.1 }", "lr: a logarithmic range has no step"),
        ("dropout-in = { low = 0.2, high = 0.6, step = 0.15 }", "dropout-in: steps of 0.15 from 0.2 do not end at 0.6"),
        ("hidden = { low = 2, high = 6, step = 0 }", "hidden: step is above 0; got 0"),
        ("lr = { choices = [0.1] }", "lr: expected at least two choices; got 1"),
        ("lr = { choices = 0.1 }", "lr: choices are a list; got 0.1"),
        ("hidden = { choices = [16, 16] }", "hidden: the choices have something twice: 16, 16"),
        ("likelihood = { low = 0, high = 1 }", "likelihood: a range needs a flag of numbers, and this is one of categ"),
        ("lr = { low = -1.0, high = 0.1 }", "lr: --lr is above 0 and finite; got -1.0"),
        ("dropout-in = { low = 0.5, high = 1.0 }", "dropout-in: --dropout-in is a share in \\[0, 1\\); got 1.0"),
        (f"batch-size = 0\n{LR}", "--batch-size is a whole number of at least 1; got 0"),
        (f"free-bits = 1\nfree_bits = 2\n{LR}", "free_bits: is given twice"),
    ],
)
def test_a_wrong_file_is_told_in_a_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        read(tmp_path, text)
    assert str(told.value).startswith(str(tmp_path / "space.toml"))


def test_flags_that_would_change_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"gru4rec has no latent variable, so --kl-weight would change nothing"):
        read(tmp_path, "kl-weight = { low = 0.0, high = 1.0 }", "gru4rec")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"--space: there is no file .*nowhere\.toml"):
        read_space(tmp_path / "nowhere.toml", default_config("hcrnn3-bi"))
