"""The words of an answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from scssl.tasks.compare.answers import _asked, _listed, how_sure, permuted
from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.settings import ComparerSettings


def test_genes_of_a_learned_programme_are_in_brackets():
    """The ratio is the programme's, not its last gene's."""
    part = pd.DataFrame({"programme": ["module 8: CXCL10, CXCL11", "HALLMARK: A, B"], "log2_ratio": [3.71, -0.5]})
    assert _listed(part, "programme") == "module 8 (CXCL10, CXCL11) +3.7, HALLMARK: A, B -0.5"


def test_only_what_is_permuted_has_a_smallest_p_value():
    assert permuted(ComparerSettings()) == ("state",)
    settings = dataclasses.replace(ComparerSettings(), test="permutation")
    assert permuted(settings) == ("state", "composition", "programmes")
    asked = {"kind": "composition", "unit": "donor", "p_value": 0.1, "q_value": 0.2}
    assert how_sure({**asked, "smallest_p": 0.1}, settings, donors="3 against 3 donors").startswith("cannot be shown")
    assert how_sure({**asked, "smallest_p": np.nan}, settings, donors="").startswith("not shown")


def test_only_what_was_asked_is_named():
    assert _asked(ComparerSettings()) == "the share, the state, any gene or any programme"
    assert _asked(ComparerSettings(kinds=("composition", "genes"))) == "the share or any gene"
    assert _asked(ComparerSettings(kinds=("composition",))) == "the share"


@pytest.mark.parametrize(
    ("donors", "paired", "words"),
    [
        (
            ["a", "a"],
            True,
            "only one donor has enough cells under both conditions; a test needs at least two such donors",
        ),
        (["a", "b"], False, "only one donor under one of the conditions; a test needs at least two under each"),
        ([], True, "no donor has enough cells under both conditions; a test needs at least two such donors"),
    ],
)
def test_too_few_donors_are_said_in_plain_words(donors, paired, words):
    samples = pd.DataFrame({"donor": donors, "case": [False, True][: len(donors)]})
    with pytest.raises(NotTestable) as caught:
        Layout.of(samples, covariates=(), paired=paired)
    assert str(caught.value) == words
