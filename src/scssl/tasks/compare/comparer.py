"""Comparer: what differs between two conditions, in which cells, and how sure that is, with donors as the units."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scssl import keys
from scssl.errors import DataError, SettingsError, import_extra
from scssl.log import logger
from scssl.tasks.compare import files
from scssl.tasks.compare.answers import rank_answers, sentences
from scssl.tasks.compare.bulk import read_bulk, refuse_zeros
from scssl.tasks.compare.comparison import Comparison, left_out
from scssl.tasks.compare.composition import shares_of_samples
from scssl.tasks.compare.design import Design, Question, choose_types, read_design
from scssl.tasks.compare.null import NullReport, null_report
from scssl.tasks.compare.programmes import read_sets
from scssl.tasks.compare.settings import (
    KINDS,
    LARGEST_SEED,
    MOST,
    ComparerSettings,
    Kind,
    Paired,
    Test,
    names_of,
    require_whole,
)
from scssl.tasks.compare.tables import Material, compare_all
from scssl.tasks.output import Results
from scssl.tasks.task import open_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from anndata import AnnData

    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device


class Comparer:
    """Compare two conditions, with donors as the units.

    Asked of each cell type: does its share change (composition), do its cells lie elsewhere in the model's space
    (state), which genes (pseudobulk) and which programmes are expressed differently. All p-values come from
    differences between donors; the false discovery rate is kept across everything that is asked.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one, for the states. Without it (and without `use_rep`) states are not
        asked.
    use_rep
        Key of ``obsm`` with an embedding that is there already (``"X_pca"``, ``"X_scssl"``), instead of a model's.
    kinds
        What is asked: some of ``"composition"``, ``"state"``, ``"genes"``, ``"programmes"``; all by default.
    test
        Whose p-value counts for composition and programmes, ``"moderated"`` or ``"permutation"``.
    paired
        ``"auto"``: donors seen under both conditions are compared with themselves; ``"yes"``, ``"no"``.
    programmes
        GMT file, collection (``"msigdb:H"``), or ``"modules:N"``, learned from the cells without their conditions.
    min_cells
        Cells that a donor must have of a type.
    fdr
        False discovery rate.

    Examples
    --------
    >>> import scssl
    >>> comparer = scssl.tasks.Comparer("model/")  # doctest: +SKIP
    >>> comparer.fit(adata, condition="disease", control="healthy", case="COVID-19", donor="donor")  # doctest: +SKIP
    >>> print(comparer.comparison)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: CellModel | Path | str | None = None,
        *,
        use_rep: str | None = None,
        kinds: Sequence[Kind] | None = None,
        test: Test = "moderated",
        paired: Paired = "auto",
        programmes: Path | str = "modules:20",
        min_cells: int = 10,
        fdr: float = 0.05,
    ) -> None:
        if model is not None and use_rep is not None:
            message = f"states are compared in one space: give a model or use_rep={use_rep!r}, not both"
            raise SettingsError(message)
        embeds = model is not None or use_rep is not None
        usual = tuple(kind for kind in KINDS if embeds or kind != "state")
        chosen = usual if kinds is None else names_of("kinds", kinds)
        if "state" in chosen and not embeds:
            message = "states are compared in an embedding: give a model (or use_rep), or leave out the kind 'state'"
            raise SettingsError(message)
        self.settings = ComparerSettings(
            kinds=cast("tuple[Kind, ...]", tuple(sorted(dict.fromkeys(chosen), key=[*KINDS, *chosen].index))),
            test=test, paired=paired, programmes=str(programmes), min_cells=min_cells, fdr=fdr,
        )  # fmt: skip
        self.use_rep = use_rep
        self.model: CellModel | None = None
        self.model_name = ""
        if model is not None:
            self.model, self.model_name = open_model(model)
        self._comparison: Comparison | None = None
        self._read: tuple[Design, Material, int] | None = None

    @property
    def comparison(self) -> Comparison:
        """What `fit` found."""
        if self._comparison is None:
            message = "nothing was compared yet: call fit(cells, condition=..., control=..., case=..., donor=...) first"
            raise SettingsError(message)
        return self._comparison

    def fit(
        self,
        cells: AnnData | Path | str,
        *,
        condition: str,
        control: str,
        case: str,
        donor: str,
        cell_type: str | None = None,
        covariates: Sequence[str] = (),
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Self:
        """Compare; the result is in `comparison`.

        Parameters
        ----------
        cells
            AnnData or file with raw counts.
        condition
            Column of ``obs`` with the conditions.
        control, case
            The two values of it that are compared; differences are case minus control.
        donor
            Column of ``obs`` with the donors: the units. Cells of one donor say the same thing many times.
        cell_type
            Column of ``obs`` with the types; what `scssl.tasks.Annotator` wrote by default.
        covariates
            Columns of ``obs`` to adjust for, one value per donor: numbers (age) as such, others (sex, study) as levels.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        seed
            Of everything random.
        device
            Where to compute the embedding.

        Raises
        ------
        DataError
            If a column or a condition is missing, a covariate says nothing about donors or goes with the condition, or
            values are no counts or nothing but zeros.
        SettingsError
            If the seed is no whole number from 0 on, or covariates are no names.
        MissingExtraError
            If genes are asked and pydeseq2 is not installed.
        """
        settings = self.settings
        require_whole("seed", seed, least=0, most=LARGEST_SEED)
        if "genes" in settings.kinds:
            # Before an hour's work rather than after it.
            import_extra("pydeseq2", extra="compare")
        question = Question(
            condition=condition, control=str(control), case=str(case), donor=donor,
            cell_type=choose_types(cells, cell_type),
            covariates=names_of("covariates", covariates),
        )  # fmt: skip
        design = read_design(cells, question, layer=layer, paired=settings.paired, min_cells=settings.min_cells)
        refuse_zeros(cells, layer=layer)
        for found in design.confounded:
            logger.warning("%s: CONFOUNDED: %s", design.file, found.words)
        if not design.testable:
            logger.warning(
                "%s: donors %d against %d: nothing can be known about other donors, and nothing is tested", design.file,
                *design.n_donors,
            )  # fmt: skip
        material = self._material(cells, design, layer=layer, seed=seed, device=device)
        self._read = (design, material, seed)
        tables = compare_all(design, material, settings, kinds=settings.kinds, seed=seed)
        answers = rank_answers(tables, design, settings)
        members = None if material.sets is None or material.bulk is None else material.sets.table(material.bulk)
        none = tables.programmes.iloc[:0].reindex(columns=["programme", "genes"])
        self._comparison = Comparison(
            answers=answers, composition=tables.composition, state=tables.state, genes=tables.genes,
            programmes=tables.programmes, shares=shares_of_samples(design),
            samples=design.samples.drop(columns="case"), members=none if members is None else members,
            left_out=left_out(tables, design, min_cells=settings.min_cells, kinds=settings.kinds),
            sentences=sentences(answers, design, settings), warnings=[f.words for f in design.confounded],
            notes=list(design.notes), settings=self._describe(design, layer=layer, seed=seed),
        )  # fmt: skip
        return self

    def predict(self, cells: AnnData, *, cell_type: str | None = None, key_added: str | None = None) -> AnnData:
        """Write beside each cell how far cells of its type move, to colour a UMAP by what changes.

        Parameters
        ----------
        cells
            Written to; those that were compared, or others with the same types.
        cell_type
            Column of ``obs`` with the types, if these cells have another one.
        key_added
            Name in ``obs`` instead.

        Returns
        -------
        anndata.AnnData
            The cells. Written:

            - ``obs["scssl_shift"]``: float32, relative state shift of the cell's type; NaN where it was not tested.
            - ``uns["scssl"]["compare"]``: settings, and the answers in words.

        Raises
        ------
        SettingsError
            If nothing was compared, or states were not.
        DataError
            If the column is missing, or these are no cells in memory.
        """
        found = self.comparison
        if found.state.empty:
            message = "states were not compared: give the Comparer a model, or use_rep"
            raise SettingsError(message)
        if not hasattr(cells, "obs"):
            message = f"predict writes to an AnnData in memory, not {type(cells).__name__}: read the file first"
            raise DataError(message)
        column = cell_type or str(found.settings["cell_type"])
        if column not in cells.obs.columns:
            message = f"obs has no column {column!r} with the cell type; there are: {', '.join(map(str, cells.obs))}"
            raise DataError(message)
        by_type = dict(zip(found.state["cell_type"], found.state["relative_shift"].astype(float), strict=True))
        values = cells.obs[column].astype(str).map(by_type).to_numpy(dtype=np.float32)
        Results(
            task="compare", settings={**found.settings, "answers": found.sentences},
            obs={keys.SHIFT if key_added is None else key_added: values},
        ).into(cells)  # fmt: skip
        return cells

    def evaluate(
        self, *, kinds: Sequence[Kind] | None = None, max_splits: int = 35, seed: int | None = None
    ) -> NullReport:
        """Say how often this comparison cries wolf: control donors against control donors, where nothing differs.

        Parameters
        ----------
        kinds
            What is asked; by default all that `fit` was asked but genes, which take long.
        max_splits
            Halves to compare at most; eight donors have 35.
        seed
            Of everything random; that of `fit` by default.

        Raises
        ------
        SettingsError
            If `fit` was not called, as after `load`, which brings back results without cells; or if the kinds were not
            compared, or numbers are not possible.
        DataError
            If there are fewer than four control donors.
        """
        if self._read is None:
            message = "there are no cells to evaluate with: call fit(...) first (a saved comparison has results only)"
            raise SettingsError(message)
        design, material, own = self._read
        require_whole("max_splits", max_splits, least=1, most=MOST)
        require_whole("seed", own if seed is None else seed, least=0, most=LARGEST_SEED)
        usual = tuple(kind for kind in self.settings.kinds if kind != "genes")
        given = usual if kinds is None else names_of("kinds", kinds)
        asked = tuple(kind for kind in KINDS if kind in given)
        if not asked or any(kind not in self.settings.kinds for kind in given):
            message = f"kinds {list(given)} were not all compared; choose some of: {', '.join(self.settings.kinds)}"
            raise SettingsError(message)
        return null_report(
            design, material, self.settings, kinds=asked, most=max_splits, seed=own if seed is None else seed
        )

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the comparison (tables as CSV, settings and answers as JSON) to a folder.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Replace a comparison that is there.

        Raises
        ------
        SettingsError
            If nothing was compared, or there is something else at `path`.
        """
        files.write(Path(path), self.comparison, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a comparison that `save` or ``scssl compare`` wrote. Nothing is unpickled and nothing executed.

        Parameters
        ----------
        path
            The folder.

        Raises
        ------
        FormatError
            If the folder is not a comparison, or is truncated, altered or of a later version.
        """
        comparer = cls()
        comparer._comparison = files.read(Path(path))
        return comparer

    def _material(
        self, cells: AnnData | Path | str, design: Design, *, layer: str | None, seed: int, device: Device
    ) -> Material:
        kinds, material = self.settings.kinds, Material()
        if "genes" in kinds or "programmes" in kinds:
            material.bulk = read_bulk(cells, design, layer=layer)
        if "programmes" in kinds and material.bulk is not None:
            material.sets = read_sets(cells, material.bulk, spec=self.settings.programmes, layer=layer, seed=seed)
        if "state" not in kinds:
            return material
        if self.model is not None:
            from scssl.tasks.annotate.quality import read_quality

            material.codes = self.model.embed(cells, layer=layer, device=device)
            material.empty = read_quality(cells, self.model.panel, layer=layer).empty
            return material
        if isinstance(cells, str | Path):
            message = f"use_rep={self.use_rep!r} is for an AnnData in memory; read {cells} first, or give a model"
            raise SettingsError(message)
        if self.use_rep not in cells.obsm:
            message = f"obsm has no {self.use_rep!r}; there are: {', '.join(map(str, cells.obsm)) or 'none'}"
            raise DataError(message)
        material.codes = np.asarray(cells.obsm[self.use_rep], dtype=np.float64)
        material.empty = ~np.isfinite(material.codes).all(axis=1)
        if material.codes.shape[1] == 0 or material.empty.all():
            message = f"obsm[{self.use_rep!r}] has no column, or no cell with finite values, to compare states by"
            raise DataError(message)
        return material

    def _describe(self, design: Design, *, layer: str | None, seed: int) -> dict[str, Any]:
        n_control, n_case = design.n_donors
        packages = ("scssl", "pydeseq2", "anndata", "numpy", "scipy", "scikit-learn")
        return {
            **asdict(design.question), "covariates": list(design.question.covariates), "file": design.file,
            "layer": layer or "X", "seed": seed, **asdict(self.settings), "kinds": list(self.settings.kinds),
            "embedding": self.model_name or self.use_rep or "", "compared_as_pairs": design.paired,
            "n_donors_control": n_control, "n_donors_case": n_case, "n_types": len(design.types),
            "n_cells": int((design.sample >= 0).sum()), "versions": _versions(packages),
        }  # fmt: skip


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
