"""What presets say of themselves, and where the evidence for them is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scssl.training import get_preset, list_presets

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_the_summary_says_what_the_settings_are(preset):
    architecture = preset.config.architecture
    if "layer of" in preset.summary:
        width, code = (
            int(number.replace(",", "")) for number in re.findall(r"(?:layer|code) of ([\d,]*\d)", preset.summary)
        )
        assert (architecture.hidden, architecture.n_latent) == ((width,), code)
    for number in re.findall(r"shared by (\d+) cells", preset.summary):
        assert preset.config.task["group_size"] == int(number)
    for number in re.findall(r"batches of ([\d,]*\d)", preset.summary):
        assert preset.config.training.batch_size == int(number.replace(",", ""))
    assert ("not told" in preset.summary) == (not architecture.source_decoder)


def test_the_papers_preset_has_its_network():
    architecture = get_preset("richter2024").architecture
    assert (architecture.hidden, architecture.n_latent) == ((512, 512, 256, 256), 64)
    assert (architecture.activation, architecture.norm, architecture.dropout) == ("selu", "none", 0.1)


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_every_preset_has_its_table_of_evidence(preset):
    rows = [line.split("|")[1:-1] for line in RECIPES.read_text(encoding="utf-8").splitlines()]
    mine = {cells[1].strip(): cells[2:] for cells in rows if len(cells) > 3 and cells[0].strip() == preset.name}
    assert {"10", "100", "all"} <= set(mine)
    for n_labels in ("10", "100", "all"):
        scores = [float(cell) for cell in mine[n_labels][:-1] if cell.strip()]
        # At least the six confirmation sets.
        assert len(scores) >= 6
        assert all(0 < score < 1 for score in scores)
