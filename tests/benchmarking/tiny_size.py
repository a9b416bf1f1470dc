"""Systems small enough for tests to benchmark."""

from soundstorm_jax.benchmarking.sizes import Size
from soundstorm_jax.layers.config import ConformerConfig, TransformerConfig
from soundstorm_jax.soundstorm.config import SoundStormConfig
from soundstorm_jax.soundstream.config import SoundStreamConfig
from tests.audiolm import tiny_audiolm
from tests.audiolm.tiny_audiolm import SEMANTIC, Q, V

# Of 5 frames: one window, two chunks.
TINY = Size(
  SoundStormConfig(
    levels=Q,
    codes=V,
    semantic_vocab=SEMANTIC,
    # Scanned: the body must not be taken for all layers.
    conformer=ConformerConfig(dim=32, layers=2, heads=2, ff_dim=64),
  ),
  SoundStreamConfig(
    encoder_channels=2, decoder_channels=2, dim=4, levels=Q, codes=V
  ),
  tiny_audiolm.both(
    coarse=12,
    fine=3,
    transformer=TransformerConfig(dim=32, layers=1, heads=4, ff_dim=48),
  ),
)
