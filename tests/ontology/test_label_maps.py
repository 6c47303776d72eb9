"""The committed label maps: readable, complete for the data sets they are for, and in line with the matcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from scssl.ontology import match_labels, read_terms
from scssl.tasks.annotate.labels import UNLABELLED, read_label_map

MAPS = Path(__file__).parents[2] / "benchmarks" / "label_maps"
FILES = {
    "pbmc3k": ["pbmc3k_10xv1"],
    "kang": ["kang_ifnb_scgen", "kang_ifnb_harmony", "kang_ctrl_8donors_1287g", "kang_ctrl_5donors_2511g"],
    "pdacA": ["pdacA_indrop_moncada"],
    "lymph_ref": ["human_lymph_ref_330"],
    "human_immune_corpus": ["human_immune_corpus"],
}


@pytest.mark.parametrize("path", sorted(MAPS.glob("*_to_*.csv")), ids=lambda path: path.stem)
def test_maps_can_be_read(path):
    assert len(read_label_map(path)) > 5


@pytest.mark.parametrize("name", FILES)
def test_terms_agree_with_the_ontology_and_the_matcher(name, real_ontology):
    terms = read_terms(MAPS / f"{name}_terms.csv")
    for row in match_labels(terms, ontology=real_ontology).itertuples():
        own = terms[row.label]
        assert own in real_ontology
        # By hand a label may be placed more closely ("Acinar cells" of a pancreas), but not elsewhere.
        assert row.term is None or row.term in real_ontology.ancestors(own), row.label
    assert not {label.casefold() for label in terms} & set(UNLABELLED)


@pytest.mark.parametrize("name", FILES)
def test_every_label_has_a_term_and_a_place_in_the_corpus(name, real_data):
    from scssl.corpus.sources.source import open_source

    terms = read_terms(MAPS / f"{name}_terms.csv")
    for file in FILES[name]:
        with open_source(real_data / "cells" / f"{file}.h5ad") as source:
            labels = {label for label in source.obs["cell_type"] if label not in UNLABELLED}
        assert labels <= set(terms), file
        if name != "human_immune_corpus":
            mapped = read_label_map(MAPS / f"{name}_to_corpus.csv")
            assert labels <= set(mapped), file
            assert set(mapped.values()) <= set(read_terms(MAPS / "human_immune_corpus_terms.csv"))
