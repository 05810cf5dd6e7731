"""What ``python -m experiments.benchmark`` measures, and how."""
