import pytest
import torch

from scssl.nn import Architecture, Decoder, Encoder
from scssl.nn.dropout import Dropout
from scssl.training import get_preset


def test_richter2024_has_the_layers_of_the_paper():
    paper = get_preset("richter2024").architecture
    encoder = Encoder(300, paper)
    shapes = [tuple(p.shape) for name, p in encoder.named_parameters() if name.endswith("weight")]
    assert shapes == [(512, 300), (512, 512), (256, 512), (256, 256), (64, 256)]
    decoder = Decoder(300, paper, n_sources=5)
    shapes = [tuple(p.shape) for p in decoder.parameters() if p.ndim == 2]
    assert shapes == [(256, 64), (256, 256), (512, 256), (512, 512), (300, 512)]


def test_output_can_exceed_one():
    # The paper's decoder ends in a sigmoid, which cannot reach log1p values up to 9.
    decoder = Decoder(5, Architecture(hidden=(8,)), n_sources=1)
    with torch.no_grad():
        decoder.output.bias.fill_(9.0)
    assert decoder.eval()(torch.zeros(1, 128), torch.tensor([-1])).min() > 1


def test_softplus_output_is_positive_and_unbounded():
    decoder = Decoder(5, Architecture(hidden=(8,), output="softplus"), n_sources=1).eval()
    out = decoder(torch.randn(50, 128) * 100, torch.full((50,), -1))
    assert out.min() >= 0
    assert out.max() > 1


def test_a_source_changes_the_decoder_only_when_known():
    decoder = Decoder(5, Architecture(hidden=(8,), source_dropout=0.0), n_sources=3).eval()
    torch.nn.init.normal_(decoder.source.weight)
    code = torch.randn(1, 128).repeat(4, 1)
    out = decoder(code, torch.tensor([0, 1, -1, -1]))
    assert not torch.allclose(out[0], out[1])
    torch.testing.assert_close(out[2], out[3])
    torch.testing.assert_close(out[2:3], decoder.output(decoder.layers(code[2:3])))


def test_source_is_withheld_from_about_the_asked_share():
    torch.manual_seed(0)
    decoder = Decoder(2, Architecture(hidden=(), dropout=0.0, source_dropout=0.25), n_sources=2).train()
    torch.nn.init.constant_(decoder.source.weight, 1.0)
    torch.nn.init.constant_(decoder.output.weight, 1.0)
    out = decoder(torch.zeros(4000, 128), torch.zeros(4000, dtype=torch.long))
    assert (out[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("activation", ["selu", "gelu", "relu"])
def test_every_layer_gets_gradient(norm, activation):
    architecture = Architecture(hidden=(16, 8), n_latent=4, norm=norm, activation=activation)
    encoder = Encoder(20, architecture)
    unmeasured = torch.zeros(6, 20, dtype=torch.bool)
    unmeasured[:, :5] = True
    hidden = torch.zeros(6, 20, dtype=torch.bool)
    hidden[:, 5:10] = True
    encoder(torch.rand(6, 20), hidden=hidden, unmeasured=unmeasured).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        # A bias before a batch norm is subtracted again: its gradient is rounding only.
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or (norm == "batch" and name.endswith("bias")), name


@pytest.mark.parametrize("output", ["linear", "softplus"])
def test_an_untrained_decoder_predicts_about_the_means(output):
    decoder = Decoder(50, Architecture(hidden=(16,), output=output), n_sources=1).eval()
    mean = torch.linspace(0, 5, 50)
    decoder.start_from(mean)
    torch.testing.assert_close(decoder(torch.zeros(1, 128), torch.tensor([-1]))[0], mean, rtol=0, atol=1e-3)


def test_dropout_drops_the_share_asked_for_and_keeps_the_mean():
    dropout = Dropout(0.3)
    torch.manual_seed(1)
    x = torch.ones(2000, 50, requires_grad=True)
    out = dropout(x)
    assert sorted(out.unique().tolist()) == pytest.approx([0.0, 1 / 0.7])
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    # Independent over cells and over units.
    assert (out == 0).float().mean(0).std().item() == pytest.approx((0.21 / 2000) ** 0.5, rel=0.3)
    assert (out == 0).float().mean(1).std().item() == pytest.approx((0.21 / 50) ** 0.5, rel=0.1)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    torch.manual_seed(1)
    assert torch.equal(dropout(x), out)
    assert not torch.equal(dropout(x), out)
    assert torch.equal(dropout.eval()(x), x)
    assert dropout.train()(x.bfloat16()).dtype == torch.bfloat16
