"""The model card, README.md: what the model is, in words for people and a head that the Hugging Face hub reads."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from scssl.errors import SettingsError

LICENCES: Final = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "unlicense"),
)
"""Licences that the hub knows by name, of those that models and single-cell data come under."""
TAGS: Final = ("scssl", "single-cell", "transcriptomics", "self-supervised-learning")

_BODY: Final = """# {title}

{what}: raw counts of {n_genes:,} genes ({panel}) in, {n_latent} numbers out.

```python
import scssl

model = scssl.load("{name}")
adata.obsm["X_scssl"] = model.embed(adata)  # raw counts in adata.X
```

## Data

{data}

## Preprocessing

{preprocessing}

## Training

{training}

{metrics}

## Licence

{licence}

## Limits

{limits}

Made with {versions}. Everything else is in `config.json`.
"""


def card_text(manifest: dict[str, Any], *, name: str = "path/to/this/folder") -> str:
    """Return the text of a model's card.

    Parameters
    ----------
    manifest
        What ``config.json`` holds, but for the format's name and version.
    name
        What to load the model by: a folder, or an ID on the hub.
    """
    card, config = manifest["card"], manifest["config"]
    origin = card.get("origin")
    head = {"library_name": "scssl", **_licence(str(card.get("licence", ""))), "tags": _tags(config, origin)}
    metrics = "\n".join(f"- {plain(metric)}: {value:.4f}" for metric, value in card.get("metrics", {}).items())
    body = _BODY.format(
        title="scssl model" if "/" not in name or name.startswith("path/") else name.partition("@")[0],
        what=_what(origin),
        n_genes=manifest["n_genes"],
        panel=plain(manifest["panel"]["name"]),
        n_latent=config["architecture"]["n_latent"],
        name=name,
        data=_data(manifest, card, origin),
        preprocessing=plain(card.get("preprocessing") or _preprocessing(manifest)),
        training=_training(card, config, origin),
        metrics=metrics or "No metrics are recorded.",
        licence=plain(card.get("licence", "not stated")),
        limits=plain(card.get("limits", "not stated")),
        versions=", ".join(f"{plain(package)} {plain(number)}" for package, number in card.get("versions", {}).items()),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{body}"


def check_licence(licence: str) -> str:
    """Return a licence as the hub spells it.

    Raises
    ------
    SettingsError
        If the hub knows none of this name; the message lists those that it does.
    """
    spelled = licence.strip().lower()
    if spelled not in LICENCES:
        message = f"licence {licence!r} is not known to the hub; choose one of: {', '.join(LICENCES)}"
        raise SettingsError(message)
    return spelled


def _licence(text: str) -> dict[str, str]:
    known = text.strip().lower()
    if known in LICENCES:
        return {"license": known}
    return {"license": "other", "license_name": "see-model-card"}


def _tags(config: dict[str, Any], origin: dict[str, Any] | None) -> list[str]:
    kind = origin.get("kind", "imported") if origin else config["pretext"]
    return [*TAGS, re.sub(r"[^a-z0-9]+", "-", str(kind).lower()).strip("-")]


def _what(origin: dict[str, Any] | None) -> str:
    if origin is None:
        return "A self-supervised encoder of single cells"
    return f"A published encoder of single cells ({plain(origin.get('kind'))} of doi {plain(origin.get('doi'))})"


def _data(manifest: dict[str, Any], card: dict[str, Any], origin: dict[str, Any] | None) -> str:
    if origin is not None:
        return f"What it was trained on is told by the publication, doi {plain(origin.get('doi'))}."
    cells, sources = card.get("data", {}).get("cells", {}), manifest["sources"]
    listed = ", ".join(plain(source) for source in sources[:20])
    more = f" and {len(sources) - 20} more" if len(sources) > 20 else ""
    return (
        f"{cells.get('train', 0):,} cells to learn from and {cells.get('val', 0):,} to validate, from {len(sources)} "
        f"sources: {listed}{more}."
    )


def _preprocessing(manifest: dict[str, Any]) -> str:
    total = manifest.get("preprocessing", {}).get("target_sum", 1e4)
    return (
        f"Raw counts, scaled to {total:,.0f} per cell, log1p, centred by the gene means of the training cells. All of "
        "it happens inside `embed`."
    )


def _training(card: dict[str, Any], config: dict[str, Any], origin: dict[str, Any] | None) -> str:
    if origin is not None:
        return (
            f"Imported from `{plain(origin.get('checkpoint'))}` (sha256 {plain(origin.get('sha256'))}); genes from "
            f"{plain(origin.get('genes'))}. Decoder: {plain(origin.get('decoder'))}."
        )
    training = card.get("training", {})
    epochs, best = training.get("epochs", "unknown"), training.get("best_epoch", "unknown")
    return (
        f"Pretext task `{config['pretext']}`, preset `{plain(config['preset'])}`, epochs: {epochs} (weights of epoch "
        f"{best}), seed {config['training']['seed']}."
    )


def plain(value: Any) -> str:
    """Return a text on one line, without what Markdown would take for structure: names come from users' files.

    Parameters
    ----------
    value
        The text, or what is to be shown as one.
    """
    return re.sub(r"[\s`<>|]+", " ", str(value)).strip()
