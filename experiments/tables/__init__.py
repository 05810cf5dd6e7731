"""The parts of ``python -m experiments.table``."""
