"""Import of the networks that the paper published: their weights, in a `CellModel` that gives the same codes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import nn

from scssl.corpus.format.manifest import checksum
from scssl.errors import DataError, FormatError, SettingsError
from scssl.genes import GenePanel
from scssl.model.checkpoint import read_checkpoint
from scssl.model.files import versions
from scssl.model.genes import check_known, ordered_panel, read_ordered
from scssl.training import Config, build_task, get_preset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from scssl.pretext import PretextTask

DOI: Final = "10.1038/s42256-024-00934-3"
GENE_KEYS: Final = ("genes", "gene_ids", "gene_names", "var_names", "feature_id")
"""Where a checkpoint, or its ``hyper_parameters``, may list its genes."""
DECODER_NOTE: Final = (
    "the decoder is not taken over: it ends in a sigmoid, which cannot reach log1p values above 1; train one with "
    "scssl reconstruct --mode finetune"
)


class Layout(NamedTuple):
    """How a kind of the paper's networks names its weights."""

    trunk: str
    """Prefix of the encoder."""
    marks: tuple[str, ...]
    """Prefixes of its other parts; one of `needs` of them is what tells the kind."""
    kind: str
    needs: tuple[str, ...] = ()


LAYOUTS: Final = (
    Layout("encoder.", ("decoder.",), "masked autoencoder"),
    Layout("inner_model.", ("byol.",), "BYOL", ("byol.",)),
    Layout("inner_model.", ("barlow_twins.",), "Barlow Twins", ("barlow_twins.",)),
    Layout("backbone.", ("projector.", "bn."), "Barlow Twins", ("projector.",)),
)
LIMITS: Final = {
    "BYOL": "In the public code of the paper the last layer, which gives these codes, gets no gradient from BYOL.",
    "Barlow Twins": "In the public code of the paper, Barlow Twins begins with a new optimiser at every step.",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a `CellModel` is made of."""

    task: PretextTask
    panel: GenePanel
    config: Config
    card: dict[str, Any]


def import_published(
    path: Path | str, *, genes: GenePanel | Sequence[str] | Path | str | None, licence: str | None
) -> Published:
    """Read one of the paper's checkpoints; see `scssl.CellModel.from_published`.

    Raises
    ------
    ScsslError
        If anything does not fit; the message says what.
    """
    file = Path(path)
    content = read_checkpoint(file)
    weights = content["state_dict"]
    layout = _layout(file, weights)
    config = replace(get_preset("richter2024"), pretext="none", task={})
    widths = (*config.architecture.hidden, config.architecture.n_latent)
    trunk = _part(weights, layout.trunk)
    n_genes = _n_inputs(file, trunk.get("0.weight"), name=f"{layout.trunk}0.weight", width=widths[0])
    panel, origin = _find_panel(file, content, genes, n_genes=n_genes)
    # A panel that was made beforehand, in Python, may be of any species.
    n_unknown = 0 if isinstance(genes, GenePanel) else check_known(panel, where=_name(file, genes))
    _check_part(file, trunk, (n_genes, *widths), prefix=layout.trunk)
    decoder = _part(weights, "decoder.") if layout.trunk == "encoder." else {}
    if decoder:
        _check_part(file, decoder, (*reversed(widths), n_genes), prefix="decoder.", start="0.")
    _check_values(file, trunk, prefix=layout.trunk)

    task = build_task(config, n_genes=n_genes, n_sources=0)
    encoder = task.encoder
    layers = [layer for layer in encoder.layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for number, layer in enumerate([*layers, encoder.code]):
            layer.weight.copy_(trunk[f"{3 * number}.weight"])
            layer.bias.copy_(trunk[f"{3 * number}.bias"])
        # The paper's networks read plain log1p values: nothing is centred, a gene that is not there is a zero, and
        # nothing makes up for it. Shares of one each add up to 1, the most there can be, whatever is measured.
        encoder.states.mean.zero_()
        encoder.states.unmeasured.zero_()
        encoder.states.variance_share.zero_()
        encoder.gene_share.fill_(1.0)
    card = _card(file, layout, panel, origin=origin, licence=licence, has_decoder=bool(decoder))
    if n_unknown:
        card["origin"]["unknown_genes"] = n_unknown
    return Published(task=task.eval(), panel=panel, config=config, card=card)


def _layout(file: Path, weights: Mapping[str, Tensor]) -> Layout:
    """Tell which of the paper's networks it is."""
    firsts = {f"{name.partition('.')[0]}." for name in weights}
    for layout in LAYOUTS:
        known = {layout.trunk, *layout.marks}
        if layout.trunk in firsts and firsts <= known and all(mark in firsts for mark in layout.needs):
            return layout
    listed = ", ".join(sorted(firsts)[:6])
    if "classifier." in firsts:
        message = (
            f"{file} is one of the paper's classifiers, trained on labels (weights 'classifier.*'), not a pre-trained "
            "encoder; import the network that it was fine-tuned from"
        )
    elif "encoder." in firsts:
        message = (
            f"{file} has weights beside encoder.* and decoder.* ({listed}): it is another network than the paper's "
            "masked autoencoder, and is not imported"
        )
    else:
        message = (
            f"{file} is none of the paper's pre-trained networks: their weights are called encoder.* and decoder.* "
            f"(masked), inner_model.* and byol.*, or backbone.* and projector.* (Barlow Twins); here there are {listed}"
        )
    raise FormatError(message)


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _n_inputs(file: Path, first: Tensor | None, *, name: str, width: int) -> int:
    """Return how many genes the first layer reads."""
    if first is None or first.ndim != 2 or first.shape[0] != width or first.shape[1] < 1:
        found = "is missing" if first is None else f"has the shape {tuple(first.shape)}"
        message = f"{file}: the first layer, {name}, {found}; the paper's networks have ({width}, number of genes)"
        raise FormatError(message)
    return int(first.shape[1])


def _find_panel(
    file: Path, content: Mapping[str, Any], given: GenePanel | Sequence[str] | Path | str | None, *, n_genes: int
) -> tuple[GenePanel, str]:
    """Return the genes in the order of the first layer, and where they are from."""
    inside = _listed_inside(content)
    if given is None and inside is None:
        message = (
            f"{file} does not list its {n_genes:,} genes, and they are never guessed: give the list that it was "
            "trained with, in that order (--genes FILE, genes=)"
        )
        raise SettingsError(message)
    if isinstance(given, GenePanel):
        panel, origin = given, given.name
    elif isinstance(given, str | Path):
        panel, origin = read_ordered(Path(given)), Path(given).name
    elif given is not None:
        panel, origin = ordered_panel([str(gene) for gene in given], where="genes=", name="custom"), "a list"
    else:
        panel = ordered_panel(inside or [], where=f"the genes in {file}", name=file.stem)
        origin = "the checkpoint"
    if len(panel) != n_genes:
        where = str(given) if isinstance(given, str | Path) else origin
        message = (
            f"the first layer of {file} reads {n_genes:,} genes, but {where} lists {len(panel):,}; give the list that "
            "the network was trained with, in that order: it is never cut, filled up or guessed"
        )
        raise DataError(message)
    if given is not None and inside is not None:
        own = ordered_panel(inside, where=f"the genes in {file}", name=file.stem)
        if own != panel:
            differing = next(
                (i for i, pair in enumerate(zip(own.ids, panel.ids, strict=False)) if pair[0] != pair[1]), 0
            )
            message = (
                f"{file} lists genes of its own, and they are not those given: the first that differs is number "
                f"{differing + 1}, {own.ids[differing]} there and {panel.ids[differing]} here. Leave out --genes"
            )
            raise DataError(message)
    return panel, origin


def _name(file: Path, given: Sequence[str] | Path | str | None) -> str:
    """Return where a list of genes is from, for messages."""
    if isinstance(given, str | Path):
        return str(given)
    return f"the genes in {file}" if given is None else "genes="


def _listed_inside(content: Mapping[str, Any]) -> list[str] | None:
    settings = content.get("hyper_parameters")
    for place in (content, settings if isinstance(settings, dict) else {}):
        for key in GENE_KEYS:
            listed = place.get(key)
            if isinstance(listed, list | tuple) and listed and all(isinstance(gene, str) for gene in listed):
                return list(listed)
    return None


def _check_part(file: Path, part: Mapping[str, Tensor], sizes: Sequence[int], *, prefix: str, start: str = "") -> None:
    """Make sure that a part is a plain network of these widths: each layer's place is three after the last one's."""
    expected: dict[str, tuple[int, ...]] = {}
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        expected[f"{start}{3 * number}.weight"] = (n_out, n_in)
        expected[f"{start}{3 * number}.bias"] = (n_out,)
    _refuse(file, "lacks", (f"{prefix}{name}" for name in expected if name not in part))
    _refuse(file, "has more than the paper's networks:", (f"{prefix}{name}" for name in part if name not in expected))
    wrong = [name for name, shape in expected.items() if tuple(part[name].shape) != shape]
    if wrong:
        name = wrong[0]
        message = (
            f"{file}: {prefix}{name} has the shape {tuple(part[name].shape)}, the paper's network of {sizes[0]:,} to "
            f"{sizes[-1]:,} has {expected[name]}"
        )
        raise FormatError(message)


def _refuse(file: Path, what: str, names: Iterable[str]) -> None:
    listed = list(names)
    if listed:
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        message = f"{file} {what} {', '.join(listed[:3])}{more}; it is another network than the paper's, or incomplete"
        raise FormatError(message)


def _check_values(file: Path, part: Mapping[str, Tensor], *, prefix: str) -> None:
    for name, tensor in part.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
            message = f"{file}: {prefix}{name} holds no plain numbers ({tensor.dtype}, {tensor.layout})"
            raise FormatError(message)
        if not bool(torch.isfinite(tensor).all()):
            message = (
                f"{file}: {prefix}{name} holds values that are not finite: its training diverged, or it is damaged"
            )
            raise FormatError(message)


def _card(
    file: Path, layout: Layout, panel: GenePanel, *, origin: str, licence: str | None, has_decoder: bool
) -> dict[str, Any]:
    limits = (
        "Research use. It reads values normalised over the genes of its list; genes that a file did not measure are "
        "zeros to it, so files with small panels look strange to it."
    )
    return {
        "origin": {
            "kind": layout.kind,
            "doi": DOI,
            "checkpoint": file.name,
            "sha256": checksum(file),
            "genes": origin,
            "genes_sha256": hashlib.sha256("\n".join(panel.ids).encode()).hexdigest(),
            "decoder": DECODER_NOTE if has_decoder else "none",
        },
        "preprocessing": (
            "raw counts, divided by their sum over the listed genes, times 10,000, log1p; not centred, not scaled; "
            "genes in the order of genes.tsv; a gene that was not measured is 0"
        ),
        "data": {},
        "training": {},
        "metrics": {},
        "licence": licence or "that of the checkpoint; not stated in it",
        "limits": " ".join([limits, LIMITS[layout.kind]] if layout.kind in LIMITS else [limits]),
        "versions": versions(),
    }
