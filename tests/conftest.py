"""Settings of every test: the platform, and shapes checked at run time."""

import os

# Before jax is imported: tests are sized for CPU, whatever the machine has.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Every annotation of the package is checked at each call, beartype doing the
# comparison. The hook works on modules that are not imported yet, and pytest
# imports this file before any test.
install_import_hook(
  "soundstorm_jax",
  # With the numeric tower an int is a float, as type checkers have it.
  "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
