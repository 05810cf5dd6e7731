"""Commands: parse, build, run, report. ``python -m experiments.svi --help``."""
