"""The discriminators' views, and gradients in silence."""

import jax
import jax.numpy as jnp

from soundstorm_jax.soundstream import losses
from soundstorm_jax.soundstream.discriminators import Discriminators


def test_there_is_a_discriminator_per_scale_and_one_on_the_stft():
  judges = Discriminators(2)
  audio = jax.ShapeDtypeStruct((2, 4096), jnp.float32)
  views, _ = jax.eval_shape(judges.init_with_output, jax.random.key(0), audio)
  lengths = [view.logits.shape for view in views]
  # Strides of 4^4 after scales of 1, 1/2 and 1/4; the STFT has 13 frames.
  assert lengths[:3] == [(2, 16), (2, 8), (2, 4)]
  assert lengths[3][0] == 2
  assert all(len(view.features) >= 6 for view in views)


def test_light_discriminators_give_views_of_three_windows_and_gradients():
  judges = Discriminators(4, light=True)
  # Silence is where square roots and powers have no gradient.
  audio = jnp.zeros((2, 4096))
  params = jax.jit(judges.init)(jax.random.key(0), audio)
  views = jax.jit(judges.apply)(params, audio)
  assert [view.logits.shape for view in views] == [(2, 61), (2, 29), (2, 13)]
  assert all(len(view.features) == 4 for view in views)
  gradient = jax.jit(
    jax.grad(lambda x: losses.adversarial_loss(judges.apply(params, x)))
  )(audio)
  assert bool(jnp.all(jnp.isfinite(gradient)))
