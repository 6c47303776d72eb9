"""What Apple's mps cannot do is kept off the path of devices other than the processor. Checked on a processor."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scssl
from scssl.nn import Architecture, Encoder
from scssl.pretext import Draw, get_task
from scssl.training.devices import resolve_precision
from tests.shipped import shipped_tasks

TASKS = [record.name for record in shipped_tasks() if record.name != "masked"]
CASES = [(name, {}) for name in TASKS] + [
    ("masked", {"loss": loss}) for loss in ("mse", "nb", "zinb", "poisson", "bce")
]


class Doubles(TorchDispatchMode):
    """Collects the operations that make double-precision tensors, which mps does not have."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, torch.Tensor)]
        if any(tensor.dtype in (torch.float64, torch.complex128) for tensor in tensors):
            self.found.add(str(func))
        return out


@pytest.fixture(scope="module")
def batch():
    adata = scssl.datasets.simulate_atlas(100, 60, seed=1)
    corpus = scssl.Corpus.from_anndata(adata, genes="union", source="study", val=0.1, test=0.0)
    return next(iter(corpus.loader(batch_size=32)))


@pytest.fixture
def general(monkeypatch):
    """Take the general path in place of the one for processors."""
    from scssl.nn import fused

    monkeypatch.setattr(fused, "usable", lambda layer: False)


def test_the_probe_sees_doubles():
    with Doubles() as doubles:
        torch.ones(2).double()
    assert doubles.found


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_no_task_computes_in_doubles(batch, general, name, settings):
    kind = get_task(name)
    architecture = Architecture(hidden=(16,), n_latent=8)
    task = kind(
        Encoder(60, architecture), architecture=architecture, n_sources=3, settings=kind.record.settings(**settings)
    )
    assert not any(tensor.dtype == torch.float64 for tensor in task.state_dict().values())
    with Doubles() as doubles:
        task.losses(batch, draw=Draw(0, 0))["loss"].backward()
    assert not doubles.found


def test_mps_gets_what_it_has():
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

    # AdamW(fused=True) is asked for on every device.
    assert "mps" in _get_fused_kernels_supported_devices()
