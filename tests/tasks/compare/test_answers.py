"""The words of an answer."""

from __future__ import annotations

import pandas as pd

from scssl.tasks.compare.answers import _listed


def test_genes_of_a_learned_programme_are_in_brackets():
    """The ratio is the programme's, not its last gene's."""
    part = pd.DataFrame({"programme": ["module 8: CXCL10, CXCL11", "HALLMARK: A, B"], "log2_ratio": [3.71, -0.5]})
    assert _listed(part, "programme") == "module 8 (CXCL10, CXCL11) +3.7, HALLMARK: A, B -0.5"
