"""Integrate: the batches of a study in one space, and new cells into it."""

from __future__ import annotations

from scssl.tasks.integrate.evaluate import IntegrationReport
from scssl.tasks.integrate.fitted import Integration
from scssl.tasks.integrate.integrator import Integrator

__all__ = ["Integration", "IntegrationReport", "Integrator"]
