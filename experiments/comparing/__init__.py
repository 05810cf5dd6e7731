"""The parts of ``python -m experiments.compare``."""
