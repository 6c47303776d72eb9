"""Plain torch modules: the encoder, the decoder, and the pass from sparse counts to their input."""

from scssl.nn.architecture import Architecture
from scssl.nn.inputs import GeneStates, dense_counts, log_normalise, unmeasured_genes
from scssl.nn.networks import Decoder, Encoder

__all__ = ["Architecture", "Decoder", "Encoder", "GeneStates", "dense_counts", "log_normalise", "unmeasured_genes"]
