"""What holds for every test: none depends on how fast or how busy the machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis would give an example 200 ms, and complain of inputs that are slow to make.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
