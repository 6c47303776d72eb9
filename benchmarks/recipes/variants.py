"""The recipes that are tried: what each changes in the one that the screen started from."""

from __future__ import annotations

from dataclasses import dataclass

EPOCHS = 20
START = ("architecture.n_latent=64",)
"""What the default preset was when the screen began: every variant starts there, before its own changes."""
SIMPLE, ADAPTED, ALONE, PEER, BOTH = "simple", "adapted", "alone", "peer", "both"
"""Kinds apart from changes of the recipe: the simple baselines; models that go on from their weights on the target's
cells, without labels; models of the target's cells alone, which have never seen a corpus; other people's; and the
code of a model beside that of its adapted self."""


@dataclass(frozen=True)
class Variant:
    """One change, or several, of the recipe `start`."""

    name: str
    changes: tuple[str, ...] = ()
    pretext: str = "masked"
    preset: str = "default"
    genes: str = "hvg:3000"
    """Panel of the real corpora."""
    epochs: int = EPOCHS
    kind: str = ""
    """Which kind of change it is, for the tables."""
    base: str = ""
    """Of adapted ones, and those beside them: the variant whose model goes on from its weights."""


def _levers(name: str, *changes: str, kind: str) -> Variant:
    return Variant(name, tuple(f"task.{c}" for c in changes), pretext="levers", kind=kind)


DEEP = "architecture.hidden=[512,512,256,256]"
VARIANTS = {
    v.name: v
    for v in (
        Variant("start"),
        Variant("target alone", kind=ALONE),
        Variant("scVI", kind=PEER),
        # Controls.
        Variant("no mask", pretext="autoencoder", kind="control"),
        Variant("untrained", pretext="none", epochs=1, kind="control"),
        Variant("linear encoder", ("architecture.hidden=[]",), kind="control"),
        # What is hidden.
        Variant("25 % hidden", ("task.rate=0.25",), kind="mask"),
        Variant("75 % hidden", ("task.rate=0.75",), kind="mask"),
        _levers("10 to 75 % hidden", "rate_low=0.1", "rate=0.75", kind="mask"),
        _levers("10 % hidden, rising to 75 %", "rate_first=0.1", "rate=0.75", kind="mask"),
        Variant("one mask per 64 cells", ("task.group_size=64",), kind="mask"),
        Variant(
            "programmes hidden (learned)",
            ("task.masking=programme", "task.programmes=modules:50", "task.rate=0.25"),
            kind="mask",
        ),
        Variant(
            "programmes hidden (Reactome)",
            ("task.masking=programme", "task.programmes=REACTOME", "task.rate=0.25", "task.min_coverage=0.1"),
            kind="mask",
        ),
        _levers("visible genes asked too", "ask_visible=0.5", kind="mask"),
        # What is predicted.
        Variant("negative binomial", ("task.loss=nb",), kind="loss"),
        Variant("Poisson", ("task.loss=poisson",), kind="loss"),
        Variant("expressed or not", ("task.loss=bce",), kind="loss"),
        Variant("zeros balanced", ("task.balance_zeros=true",), kind="loss"),
        # Scale.
        _levers("z-scored input", "scale_input=1.0", kind="scale"),
        _levers("z-scored target", "scale_target=1.0", kind="scale"),
        _levers("z-scored input and target", "scale_input=1.0", "scale_target=1.0", kind="scale"),
        # Noise.
        _levers("counts thinned by half, none hidden", "thin=0.5", "rate=0.001", "ask_visible=1.0", kind="noise"),
        _levers("counts thinned by half, and hidden", "thin=0.5", kind="noise"),
        # Network.
        Variant("four layers (the paper's)", (DEEP,), kind="network"),
        Variant("two layers of 512", ("architecture.hidden=[512,512]",), kind="network"),
        Variant("layer of 1,024", ("architecture.hidden=[1024]",), kind="network"),
        Variant("layer of 2,048", ("architecture.hidden=[2048]",), kind="network"),
        Variant("code of 32", ("architecture.n_latent=32",), kind="network"),
        Variant("code of 128", ("architecture.n_latent=128",), kind="network"),
        Variant("code of 256", ("architecture.n_latent=256",), kind="network"),
        Variant("code of 512", ("architecture.n_latent=512",), kind="network"),
        Variant("linear encoder, code of 256", ("architecture.hidden=[]", "architecture.n_latent=256"), kind="network"),
        Variant("GELU, layer norm", ("architecture.activation=gelu", "architecture.norm=layer"), kind="network"),
        Variant("ReLU, batch norm", ("architecture.activation=relu", "architecture.norm=batch"), kind="network"),
        Variant("no dropout", ("architecture.dropout=0",), kind="network"),
        Variant("dropout 0.3", ("architecture.dropout=0.3",), kind="network"),
        Variant("preset small", preset="small", kind="preset", epochs=10),
        Variant("preset richter2024", preset="richter2024", kind="preset", epochs=100),
        Variant("preset large", preset="large", kind="preset", epochs=10),
        # What helped, together.
        Variant("code of 128, negative binomial", ("architecture.n_latent=128", "task.loss=nb"), kind="together"),
        Variant(
            "code of 128, masked + SimCLR",
            ("architecture.n_latent=128", "task.two_view=simclr"),
            pretext="combined",
            kind="together",
        ),
        # Panel.
        Variant("6,000 genes", genes="hvg:6000", kind="panel"),
        Variant(
            "all genes, code of 128",
            ("task.group_size=64", "architecture.n_latent=128"),
            genes="union",
            kind="together",
        ),
        Variant("own genes, code of 128", ("architecture.n_latent=128",), genes="own:", kind="together"),
        # Schedule.
        Variant("7 epochs", epochs=7, kind="schedule"),
        Variant("60 epochs", epochs=60, kind="schedule"),
        Variant("batches of 64", ("training.batch_size=64",), kind="schedule"),
        Variant("batches of 512", ("training.batch_size=512", "training.min_steps=1"), kind="schedule"),
        Variant("learning rate 1e-3", ("optimiser.learning_rate=1e-3",), kind="schedule"),
        Variant("weight decay 0.3", ("optimiser.weight_decay=0.3",), kind="schedule"),
        _levers("averaged weights", "average=0.999", kind="schedule"),
        # Sources.
        Variant("decoder not told the source", ("architecture.source_decoder=false",), kind="source"),
        _levers("adversary", "adversary=0.1", kind="source"),
        _levers("MMD", "mmd=1.0", kind="source"),
        # Two views.
        Variant("SimCLR", pretext="simclr", kind="views"),
        Variant("VICReg", pretext="vicreg", kind="views"),
        Variant("masked + VICReg", pretext="combined", kind="views"),
        Variant("masked + SimCLR", ("task.two_view=simclr",), pretext="combined", kind="views"),
        Variant("SimCLR across sources", pretext="across", kind="views"),
        Variant("masked + SimCLR across sources", ("task.masked=10.0",), pretext="across", kind="views"),
        _levers("masked + variance of the code", "variance=0.1", kind="views"),
        _levers("masked + teacher's code", "latent=0.1", kind="views"),
    )
}
for made in list(VARIANTS):
    VARIANTS[f"{made}, adapted"] = Variant(f"{made}, adapted", kind=ADAPTED, base=made)
    VARIANTS[f"{made}, both"] = Variant(f"{made}, both", kind=BOTH, base=made)
