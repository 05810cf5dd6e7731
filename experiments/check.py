"""Check what a prior, a guide and a model owe each other, above all your own.

python -m experiments.check --prior my_file:my_prior --guide my_file:my_guide
python -m experiments.check --guide bag-of-items --likelihood without-replacement
python -m experiments.check --model my_file:MyModel
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from experiments.command import run_command
from experiments.options import first_look, parse
from hcrnn_pyro.contract import run_checks
from hcrnn_pyro.contract.toy import ITEMS, SIZES
from hcrnn_pyro.errors import require
from hcrnn_pyro.pair import PairConfig, build_pair, default_settings
from models import HCRNNConfig

COMMAND = "python -m experiments.check"


@dataclass(frozen=True)
class CheckConfig:
    """Check what a prior, a guide and a model owe each other, on three short sequences.

    Every line says whether one promise is kept (ok), broken (FAIL) or not judged (--); docs/checking.md explains them.
    """

    pair: PairConfig = field(default_factory=PairConfig)
    settings: Any = field(default_factory=HCRNNConfig)


def main(argv: list[str] | None = None) -> None:
    """Parse, build, check, report."""
    config = _configuration(argv)
    pair = config.pair
    print(f"{pair.model}, prior {pair.prior}, guide {pair.guide}\n")
    results = run_checks(lambda: build_pair(pair, asdict(config.settings), ITEMS))
    print("\n".join(map(str, results)))
    broken = [result.name for result in results if result.verdict == "broken"]
    require(
        not broken,
        f"\n{len(broken)} of {len(results)} checks fail: {', '.join(broken)}. docs/checking.md says how to mend them.",
    )
    print("\nAll is kept.")


def _configuration(argv: list[str] | None) -> CheckConfig:
    """The flags, among them the chosen model's own, whose sizes are small unless they are given."""
    model = first_look(COMMAND, argv, model=PairConfig.model).model
    settings = default_settings(model)
    small = {setting.name: SIZES[setting.name] for setting in fields(settings) if setting.name in SIZES}
    default = CheckConfig(pair=PairConfig(model), settings=replace(settings, **small))
    return parse(CheckConfig, COMMAND, argv, default=default)


if __name__ == "__main__":
    run_command(main)
