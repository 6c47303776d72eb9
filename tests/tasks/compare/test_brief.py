"""The answer in a few lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scssl.tasks import Comparer
from scssl.tasks.compare.brief import brief


def test_a_few_lines_say_what_changes_most_where_and_how_sure(fitted, study):
    found = fitted.comparison
    known = study.uns["simulation"]["conditions"]["disease"]
    (shifted,) = known["types"]
    said = brief(found)
    assert 3 <= len(said) <= 6
    assert max(map(len, said)) < 260
    n = len(found.found)
    assert said[0].startswith("'disease' was compared with 'healthy': 4 against 4 donors, 3 cell types.")
    assert said[0].endswith("The smallest p-value that permutations allow is 0.029.")
    assert f"{n} of {found.answers['p_value'].notna().sum()} questions" in said[0]
    assert said[1].startswith("Cells that move furthest")
    assert said[1].split("): ")[1].startswith(shifted)
    row = found.answers[(found.answers["kind"] == "genes") & (found.answers["cell_type"] == shifted)].iloc[0]
    assert f"most in {shifted} ({row['n_found']} of {row['n_tests']}, q = " in said[2]
    assert found.genes["symbol"].iloc[0] in said[2]
    assert said[4].startswith("Shares of cells")
    warned = brief(replace(found, warnings=["run is condition"], notes=["3 cells of other conditions take no part"]))
    assert warned[0] == "WARNING: run is condition."
    assert warned[-1] == "Took no part: 3 cells of other conditions."


def test_what_cannot_be_shown_or_known_is_said(study, pairs, asked):
    few = Comparer(use_rep="X_rep", kinds=["state", "composition"]).fit(pairs, **asked).comparison
    said = " ".join(brief(few))
    assert "4 pairs (each donor with itself)" in said
    assert "The smallest p-value that permutations allow is 0.12." in said
    assert "So few donors can show none of this." in said
    donors = study.obs.groupby("condition", observed=True)["donor"].first().tolist()
    alone = Comparer(use_rep="X_rep", kinds=["state", "composition"])
    said = brief(alone.fit(study[study.obs["donor"].isin(donors)].copy(), **asked).comparison)
    assert "nothing can be known about other donors" in said[0]
    assert len(said) == 2
    assert not any("found" in line for line in said)
    none = few.answers.assign(found=False, p_value=np.nan, effect=np.nan)
    assert len(brief(replace(few, answers=none))) == 1
