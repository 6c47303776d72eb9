"""Simulate: cells under a condition in which they were not measured, and what that is worth."""

from __future__ import annotations

from scssl.tasks.simulate.judge import Verdict
from scssl.tasks.simulate.scoring import SimulationScores
from scssl.tasks.simulate.simulation import Simulation
from scssl.tasks.simulate.simulator import Simulator

__all__ = ["Simulation", "SimulationScores", "Simulator", "Verdict"]
