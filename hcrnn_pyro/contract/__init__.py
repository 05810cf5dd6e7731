"""What a model, its prior and its guide owe each other, checked one by one on toy data and told in sentences.

``run_checks(make_pair)`` is what ``python -m experiments.check`` prints and what the test suite runs on every
registered combination.
"""

from hcrnn_pyro.contract.results import Check, CheckResult
from hcrnn_pyro.contract.runner import CHECKS, run_checks
from hcrnn_pyro.contract.subject import Subject

__all__ = ["CHECKS", "Check", "CheckResult", "Subject", "run_checks"]
