"""What ``python -m experiments.posterior`` is made of."""
