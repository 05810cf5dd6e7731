"""All checks in their order, each run by itself: what fails in one of them does not keep the others from being run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyro
import torch

from hcrnn_pyro.contract import keeping, learning, objective, reading, rows, sites
from hcrnn_pyro.contract.results import Check, CheckResult, told
from hcrnn_pyro.contract.subject import DoesNotApply, MakePair, Subject

MADE = "parts are made"
CHECKS: tuple[Check, ...] = (
    Check("scopes", sites.scopes_are_served),
    Check("sites match", sites.sites_match, ("scopes",)),
    Check("shapes", sites.shapes_fit, ("sites match",)),
    Check("supports", sites.draws_lie_in_the_support, ("sites match", "shapes")),
    Check("finite densities", sites.densities_are_finite, ("sites match",)),
    Check("theta on the simplex", sites.theta_is_a_proportion, ("scopes",)),
    Check("padding", rows.padding_changes_nothing, ("sites match", "shapes")),
    Check("company", rows.company_changes_nothing, ("sites match", "shapes")),
    Check("future", reading.the_future_is_not_read, ("sites match", "shapes")),
    Check("past", reading.the_past_is_read, ("sites match", "shapes")),
    Check("filtering and prefix", reading.one_past_has_one_posterior, ("sites match", "shapes")),
    Check("one pass", reading.one_pass_is_exact, ("sites match",)),
    Check("draws", objective.draws_vectorise, ("sites match", "shapes", "finite densities")),
    Check("elbo without a latent", objective.the_elbo_is_the_likelihood, ("sites match",)),
    Check("gradients", learning.every_parameter_gets_a_gradient, ("sites match", "shapes", "finite densities")),
    Check("pyro.infer.SVI", learning.pyro_svi_trains_the_pair, ("sites match", "shapes", "finite densities")),
    Check("saved weights", keeping.weights_come_back, ("sites match",)),
    Check("copies", keeping.a_copy_stands_by_itself, ("sites match", "saved weights")),
)


def run_checks(make_pair: MakePair, checks: Sequence[Check] = CHECKS) -> list[CheckResult]:
    """Check a pair.

    Args:
        make_pair: makes a new model and its guide for :data:`hcrnn_pyro.contract.toy.ITEMS` items.
        checks: which.

    Returns:
        A result for the making and one for each check, in order.
    """
    results: list[CheckResult] = []
    with _surroundings():
        try:
            subject = Subject(make_pair)
        except Exception as error:
            return [CheckResult(MADE, "broken", told(error)), *(_waits(check, MADE) for check in checks)]
        results.append(CheckResult(MADE, "kept"))
        for check in checks:
            results.append(_result(check, subject, results))
    return results


def _result(check: Check, subject: Subject, earlier: Sequence[CheckResult]) -> CheckResult:
    """Run one check; what an earlier one has said already is not said again."""
    not_kept = [result.name for result in earlier if result.verdict == "broken"]
    for need in check.needs:
        if need in not_kept:
            return _waits(check, need)
    torch.manual_seed(1)  # what a check makes starts elsewhere than the pair under test
    try:
        return CheckResult(check.name, "kept", check.look(subject) or "")
    except DoesNotApply as reason:
        return CheckResult(check.name, "not judged", f"Does not apply: {reason}")
    except Exception as error:
        sentence = told(error)
    first = next((result.name for result in earlier if result.sentence == sentence), None)
    return CheckResult(check.name, "broken", sentence if first is None else f"As above: {first}.")


def _waits(check: Check, need: str) -> CheckResult:
    return CheckResult(check.name, "not judged", f"Waits for: {need}.")


@contextmanager
def _surroundings() -> Iterator[None]:
    """Double precision, so that a small leak stands out from rounding; no validation by Pyro, as the checks say it.

    Random numbers are fixed, and those of the caller are left alone.
    """
    precision = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), pyro.validation_enabled(False):
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(precision)
