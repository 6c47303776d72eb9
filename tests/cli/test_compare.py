"""`scssl compare` from a file to tables, figures, words and a page."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.cli.app import main
from scssl.tasks import Comparer

FILES = {
    "answers.csv", "composition.csv", "state.csv", "genes.csv", "programmes.csv", "shares.csv", "samples.csv",
    "members.csv", "left_out.csv", "comparison.json", "summary.txt", "summary.json", "run.json", "report.html",
    "figures", "capsule.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    cells = scssl.datasets.simulate_atlas(
        600, 120, n_types=3, n_studies=1, batches_per_study=1, n_donors=6, n_programmes=6, condition_effect=2.0, seed=4
    )
    cells.obs["run"] = np.where(cells.obs["condition"] == "disease", "monday", "friday")
    cells.write_h5ad(folder / "cells.h5ad")
    sets = cells.uns["simulation"]["programmes"]
    (folder / "sets.gmt").write_text("".join(f"{n}\ttrue\t" + "\t".join(p["genes"]) + "\n" for n, p in sets.items()))
    scssl.pretrain(
        cells, preset="small", genes="union", max_epochs=1, loggers=["csv"], device="cpu",
        overrides=["architecture.hidden=[16]", "architecture.n_latent=8"],
    ).save(folder / "model")  # fmt: skip
    return folder


def command(folder, out, *more, model=True):
    embedded = ("--model", str(folder / "model")) if model else ()
    return [
        "compare", str(folder / "cells.h5ad"), "--condition", "condition", "--control", "healthy", "--case", "disease",
        "--donor", "donor", "--cell-type", "cell_type", *embedded, "--out", str(out), *more,
    ]  # fmt: skip


def test_tables_figures_words_and_a_page(folder, tmp_path, capsys):
    pytest.importorskip("pydeseq2")
    before = (folder / "cells.h5ad").read_bytes()
    assert main(command(folder, tmp_path / "o", "--programmes", str(folder / "sets.gmt"), "--json")) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (folder / "cells.h5ad").read_bytes() == before
    assert {path.name for path in (tmp_path / "o").iterdir()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"o"}
    assert {path.name for path in (tmp_path / "o" / "figures").iterdir()} == {
        "overview.png", "state_shifts.png", "composition.png", "composition_changes.png", "volcano.png",
        "programmes.png",
    }  # fmt: skip
    assert "GB of memory" in said.err
    assert "CONFOUNDED" in said.err
    assert result["sentences"][0].startswith("WARNING: both values of obs['run']")
    assert "0.1" in result["sentences"][-1]
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["answers"] == result["answers"]
    assert (tmp_path / "o" / "summary.txt").read_text().startswith("WARNING")
    page = (tmp_path / "o" / "report.html").read_text()
    assert "Do it again" in page
    assert "WARNING: both values" in page
    assert page.count("<svg") >= 6
    # The folder is a saved comparison, also once its page was made anew.
    assert main(["report", str(tmp_path / "o")]) == 0
    again = Comparer.load(tmp_path / "o").comparison
    assert len(again.answers) == len(result["answers"])
    assert again.genes["symbol"].tolist() == pd.read_csv(tmp_path / "o" / "genes.csv")["symbol"].tolist()


def test_without_a_model_states_are_left_out(folder, tmp_path, capsys):
    more = ("--skip", "genes,programmes", "--covariates", "batch", "--test", "permutation")
    assert main(command(folder, tmp_path / "o", *more, model=False)) == 0
    said = capsys.readouterr()
    assert "no --model is given" in said.err
    assert "3 against 3 donors" in said.out
    assert "cannot be shown with 3 against 3 donors" in (tmp_path / "o" / "answers.csv").read_text()


BAD = [
    (("--donor", "patient"), "no column 'patient'"),
    (("--case", "cancer"), "no cell has 'cancer'"),
    (("--case", "healthy"), "control and case are both 'healthy'"),
    (("--skip", "shape"), "--skip 'shape' is not known"),
    (("--skip", "composition,genes,programmes"), "nothing is left to ask"),
    (("--covariates", "run"), "covariate 'run' cannot be adjusted for"),
    (("--paired", "yes"), "so none are paired"),
    (("--fdr", "2"), "between 0 and 1"),
    (("--cell-type", "kind"), "no column 'kind' with the cell type"),
    (("--seed", "-1"), "seed is -1; it must be a whole number from 0"),
    (("--fdr", "a"), 'unable to convert "a" into float'),
    (("--condition", "donor"), "'donor' is given twice"),
    (("--min-cells", "500"), "are too few to compare; 500 are needed"),
]


@pytest.mark.parametrize(("more", "words"), BAD, ids=lambda value: str(value))
def test_mistakes_are_one_line_and_write_nothing(folder, tmp_path, capsys, more, words):
    skip = () if "--skip" in more else ("--skip", "genes,programmes")
    base = command(folder, tmp_path / "o", *skip, model=False)
    for option in more[::2]:
        if option in base:
            at = base.index(option)
            del base[at : at + 2]
    assert main([*base, *more]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not list(tmp_path.iterdir())


def test_nothing_but_a_comparison_is_replaced(folder, tmp_path, capsys):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("precious")
    for more in ((), ("--overwrite",)):
        assert main(command(folder, tmp_path / "o", "--skip", "genes,programmes", *more, model=False)) == 2
        assert "choose another folder" in capsys.readouterr().err
    assert (tmp_path / "o" / "mine.txt").read_text() == "precious"
    assert main(command(folder, tmp_path / "n", "--skip", "genes,programmes", model=False)) == 0
    assert Comparer.load(tmp_path / "n").comparison.genes.empty


def test_one_type_of_which_nothing_can_be_asked_gets_a_report(folder, tmp_path, capsys):
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    cells[cells.obs["cell_type"] == cells.obs["cell_type"].iloc[0]].write_h5ad(tmp_path / "one.h5ad")
    words = command(folder, tmp_path / "o", "--skip", "genes,programmes", "--json", model=False)
    words[1] = str(tmp_path / "one.h5ad")
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(tmp_path / "o")
    assert (tmp_path / "o" / "figures" / "composition.png").is_file()
    assert "there is one type only" in (tmp_path / "o" / "report.html").read_text()
