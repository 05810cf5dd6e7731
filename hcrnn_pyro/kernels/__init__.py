"""The recurrence over time and lean likelihoods: functions of tensors, each fast form beside its readable reference."""
