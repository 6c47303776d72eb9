"""Simulator: how cells would be under another condition, with counts, uncertainty, and an honest word on the worth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scssl.errors import SettingsError
from scssl.tasks.simulate import files
from scssl.tasks.simulate.settings import AUTO, SimulatorSettings
from scssl.tasks.task import SavedTask, open_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from anndata import AnnData

    from scssl.model.cell_model import CellModel
    from scssl.tasks.simulate.beside import Beside
    from scssl.tasks.simulate.cells import Cells
    from scssl.tasks.simulate.fitted import Fitted
    from scssl.tasks.simulate.judge import Verdict
    from scssl.tasks.simulate.scoring import SimulationScores
    from scssl.tasks.simulate.simulation import Simulation
    from scssl.training.devices import Device


class Simulator(SavedTask[SimulatorSettings, "Fitted"]):
    """Predict counts of cells under a condition in which they were not measured, from cells in which others were.

    The change of each gene's mean expression from control to case is seen in groups of cells (types, or types of
    donors), each with its error. How changes spread over groups is learned from all genes together: what is common to
    all, what types have in common that are alike in the model's space and in expression, what is a type's own, and
    how far a change depends on the gene's own level under the control. A group that was not measured gets what this
    makes of the others, with its uncertainty. Counts are made of the counts of its real control cells, which are
    thinned where a gene falls and added to where it rises, so that cells keep their differences.

    Cell types or donors of the reference are left out in turn, to see whether that is better than simple baselines.
    Where it is not, ``method="auto"`` says so and takes the baseline that did best. The cells of the reference are not
    saved with a simulator, so that the latent shift is missing among the baselines of one that was loaded.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one.
    method
        ``"auto"``, ``"model"``, or the name of a baseline, such as ``"cell-type mean shift"``.
    confidence
        Of the interval by which the model has to beat the best baseline.

    Examples
    --------
    >>> import scssl
    >>> simulator = scssl.tasks.Simulator("model/")  # doctest: +SKIP
    >>> simulator.fit(cells, condition="condition", control="ctrl", case="stim")  # doctest: +SKIP
    >>> simulator.verdicts["stim"].text, simulator.predict(others)  # doctest: +SKIP
    """

    _files = files
    _fit_first = "this simulator has no reference yet: call fit(reference, condition=..., ...) first"

    def __init__(self, model: CellModel | Path | str, *, method: str = AUTO, confidence: float = 0.9) -> None:
        self.settings = SimulatorSettings(method=method, confidence=confidence)
        self.model, self.model_name = open_model(model)
        if not hasattr(self.model, "encoder"):
            message = f"a simulator needs a scssl.CellModel, not {type(model).__name__}"
            raise SettingsError(message)
        self.fitted: Fitted | None = None
        self._train: Cells | None = None

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By case: whether the model beat the baselines on groups left out of the reference, in words and numbers."""
        return self._fitted().verdicts

    def fit(
        self,
        reference: AnnData | Path | str,
        *,
        condition: str,
        control: str,
        case: str | Sequence[str],
        cell_type: str | None = None,
        donor: str | None = None,
        covariates: str | Sequence[str] = (),
        hold_out: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Self:
        """Learn what conditions do to cells.

        Parameters
        ----------
        reference
            AnnData or file with raw counts of cells under the control and each case.
        condition
            Column of ``obs`` with the conditions.
        control, case
            Their names; several cases are learned one by one.
        cell_type
            Column with the cell types; None for ``"cell_type"`` if there is one, ``"none"`` to take all cells for one.
        donor
            Column with the donors; None for ``"donor"`` if it has several, ``"none"`` for none.
        covariates
            Columns with what a change may depend on, such as sex, age (a number) or tissue: cells of like values
            respond more alike, as far as that is seen. What differs within donors divides their cells.
        hold_out
            ``"COL=VALUE"``: case cells of that value are not looked at. What the verdict leaves out is values of COL.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        seed
            Of everything random.
        device
            Where to embed.

        Raises
        ------
        DataError
            If the values are not counts, a column or condition is missing, no group was seen under both conditions,
            or a covariate has no value, or one only.
        SettingsError
            If control and case are the same, or a column is given twice.
        """
        from scssl.tasks.simulate.fit import fit

        self.fitted, self._train = fit(
            self.model, reference, settings=self.settings, condition=condition, control=str(control),
            cases=_names(case) or [], cell_type=cell_type, donor=donor, covariates=_names(covariates) or [],
            hold_out=hold_out, layer=layer, seed=seed, device=device,
        )  # fmt: skip
        return self

    def simulate(
        self,
        query: AnnData | Path | str,
        *,
        case: str | Sequence[str] | None = None,
        where: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Simulation:
        """Simulate the control cells of a query under a case.

        Parameters
        ----------
        query
            AnnData or file with raw counts, with the columns of the reference. Of its cells those under the control
            are simulated; all, if it has no column with conditions.
        case
            What was learned; or a sum of cases (``"A+B"``), or a dose between those learned, where conditions are
            numbers. None for all that was learned.
        where
            ``"COL=VALUE"``: only cells of that value.
        layer
            Where the counts are.
        seed
            Of the counts.
        device
            Where to embed.

        Raises
        ------
        DataError
            If there are no control cells, a column is missing, or genes differ from those of the reference.
        SettingsError
            If `fit` has not been called, or the case cannot be predicted.
        """
        from scssl.tasks.simulate.fit import simulate

        cases = _names(case)
        return simulate(
            self._fitted(), query, train=self._train, settings=self.settings, model_name=self.model_name,
            cases=cases, where=where, layer=layer, seed=seed, device=device,
        )  # fmt: skip

    def predict(
        self,
        query: AnnData | Path | str,
        *,
        case: str | Sequence[str] | None = None,
        where: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> AnnData:
        """Simulate the control cells of a query under a case, as a new AnnData.

        Parameters
        ----------
        query, case, where, layer, seed, device
            As for `simulate`.

        Returns
        -------
        anndata.AnnData
            One cell per control cell and case, on the genes of the reference:

            - ``X``: counts, float32 whole numbers, CSR.
            - ``obs``: that of the control cells, with the case for the condition: also their batch, which the counts
              derive from, and totals or clusters, which hold for the control cells only. ``scssl_control_cell``: name
              of the control cell; ``scssl_type``, ``scssl_donor``: its group; ``scssl_method``: the model or the
              baseline that predicted it; ``scssl_case_measured``: whether cells of this group were learned from under
              the case.
            - ``varm["scssl_change"]``: table, genes by groups, predicted change of log1p of the mean counts per 10,000;
              ``varm["scssl_change_sd"]``: how far it may be off (one standard deviation), as wide as it had to be
              for ``change +- 1.645 sd``, once the error of measuring is added, to hold 90 % of the changes measured in
              groups that were left out. Where sums are made of few cells that error is the larger part.
            - ``uns["scssl"]["simulate"]``: verdict, how far the uncertainty is to be believed, settings, model and
              versions.
        """
        return self.simulate(query, case=case, where=where, layer=layer, seed=seed, device=device).to_anndata()

    def evaluate(
        self,
        query: AnnData | Path | str,
        *,
        case: str | Sequence[str] | None = None,
        where: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> SimulationScores:
        """Simulate the control cells of a query, and compare with its measured case cells; nothing is written.

        Parameters
        ----------
        query
            AnnData or file with cells under the control and the case, which `fit` must not have looked at.
        case, where, layer, seed, device
            As for `simulate`.

        Returns
        -------
        SimulationScores
            Of the model and every baseline, and of one half of the truth against the other.

        Raises
        ------
        DataError
            If no group has ten cells under both conditions.
        """
        from scssl.tasks.simulate.fit import evaluate

        cases = _names(case)
        return evaluate(
            self._fitted(), query, train=self._train, cases=cases, where=where, layer=layer, seed=seed, device=device
        )

    def beside(
        self,
        simulation: Simulation,
        *,
        query: AnnData | Path | str,
        case: str | None = None,
        where: str | None = None,
        layer: str | None = None,
        device: Device = "auto",
    ) -> Beside:
        """Put simulated cells beside the control and measured cells of a query, for figures.

        Parameters
        ----------
        simulation
            From `simulate`.
        query, where, layer, device
            As for `evaluate`.
        case
            One that was learned; None for the first.

        Returns
        -------
        Beside
            For `scssl.pl.simulation_means` and `scssl.pl.simulation_cells`.
        """
        from scssl.tasks.simulate.beside import put_beside

        fitted = self._fitted()
        return put_beside(
            fitted, simulation, query, case=case or next(iter(fitted.learned)), where=where, layer=layer, device=device
        )


def _names(case: object) -> list[str] | None:
    """Return cases as they are called in obs, where numbers are text as well."""
    several = isinstance(case, Iterable) and not isinstance(case, str)
    return None if case is None else [str(name) for name in (case if several else [case])]  # type: ignore[attr-defined]
