"""The recurrence over time and lean likelihoods: functions of tensors, each fast form beside its readable reference."""

from typing import Literal

Kernel = Literal["fast", "reference"]
"""Which form runs: the fast one where it applies, or the readable one everywhere."""
