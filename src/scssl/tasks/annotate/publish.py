"""Publishing an annotator on the Hugging Face hub: what colleagues need to name their cells by the same reference."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.environment import versions
from scssl.errors import import_extra
from scssl.model.card import card_text, plain
from scssl.model.files import CARD, CONFIG
from scssl.model.hub import destination, publishable, upload
from scssl.model.hub_kinds import INSIDE, taken_in
from scssl.ontology import LabelTree
from scssl.tasks.annotate import files

if TYPE_CHECKING:
    from scssl.tasks.annotate.fitted import Fitted
    from scssl.tasks.annotate.settings import AnnotatorSettings

SHOWN: Final = 100
"""Labels that the card lists."""
_BODY: Final = """# {name}

Names single cells, from raw counts, by {n_cells:,} labelled cells (`{reference}`), in mode `{mode}`.

```bash
scssl annotate my.h5ad --model {name} --out named.h5ad
```

```python
import scssl

annotator = scssl.tasks.Annotator.load("{name}")
annotator.predict(adata)  # writes adata.obs["scssl_label"], ...
```

## Labels

{labels}

## On held-out cells of the reference

{held_out}

## Model

The encoder can be used without the labels, by `scssl.load("{name}")`. What it was trained on: `{inside}/{card}`.

## Licence

{licence}

## Limits

Confidence, label sets and rejection were learned on this reference, and hold for donors like its own. Published with
the classifier are the embedding and the label of each cell of the reference; no counts, and no names of cells.
"""


def publish(
    fitted: Fitted,
    *,
    settings: AnnotatorSettings,
    to: str,
    licence: str | None,
    private: bool,
    description: str,
) -> str:
    """Publish an annotator; see `Annotator.push`.

    Parameters
    ----------
    fitted, settings
        The annotator.
    to, licence, private, description
        See `scssl.hub.push`.
    """
    target = destination(to)
    import_extra("huggingface_hub", extra="hub")
    model = publishable(fitted.model, licence=licence)
    reference = replace(fitted.reference, name=Path(fitted.reference.name).name)
    chosen = replace(fitted, model=model, reference=reference, tree=_without_place(fitted.tree))
    with tempfile.TemporaryDirectory() as scratch:
        # Written anew from what was read: nothing else that lies in a folder is published, and no place on a disk.
        folder = Path(scratch) / "annotator"
        # The command and folder of a run are for those who can look at that disk.
        files.write(folder, chosen, settings=settings, overwrite=False, environment={"versions": versions()})
        manifest = json.loads((folder / INSIDE / CONFIG).read_text(encoding="utf-8"))
        inside = card_text(manifest, name=target.repo)
        (folder / INSIDE / CARD).write_text(inside, encoding="utf-8")
        # The hub reads the same head: library, licence and tags.
        head = inside.split("---\n")[1]
        text = f"---\n{head}---\n\n{_body(chosen, settings=settings, name=target.repo)}"
        (folder / CARD).write_text(text, encoding="utf-8")
        return upload(
            folder, taken_in(folder), target=target, licence=str(model.card["licence"]), private=private,
            description=description,
        )  # fmt: skip


def _without_place(tree: LabelTree | None) -> LabelTree | None:
    if tree is None:
        return None
    content = tree.to_dict()
    content["ontology"]["source"] = Path(content["ontology"]["source"]).name
    return LabelTree.from_dict(content)


def _body(fitted: Fitted, *, settings: AnnotatorSettings, name: str) -> str:
    reference, trust = fitted.reference, fitted.trust
    labels = [f"- {plain(label)}" for label in reference.classes[:SHOWN]]
    if len(reference.classes) > SHOWN:
        labels.append(f"- and {len(reference.classes) - SHOWN} more")
    return _BODY.format(
        name=name,
        n_cells=len(reference.codes),
        reference=plain(reference.name),
        mode=settings.mode,
        labels="\n".join(labels),
        held_out="Nothing was held out." if trust is None else _held_out(trust.held_out),
        inside=INSIDE,
        card=CARD,
        licence=plain(fitted.model.card["licence"]),
    )


def _held_out(found: dict[str, Any]) -> str:
    names = {
        "unit": "held out",
        "n_cells": "cells",
        "n_donors": "donors",
        "accuracy": "accuracy",
        "ece": "expected calibration error",
        "coverage": "label sets with the true label",
    }
    return "\n".join(f"- {name}: {found[key]}" for key, name in names.items() if key in found)
