"""What holds for every test: none depends on how fast or how busy the machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis would give an example 200 ms, and complain of inputs that are slow to make.
settings.register_profile(
    "patient", settings.default, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("patient"), max_examples=500)
settings.load_profile("patient")
