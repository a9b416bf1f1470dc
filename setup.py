"""Package metadata; versions to install are pinned in requirements/*.lock."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent

_VERSION = re.search(
  r'^__version__ = "(.+)"$',
  (_ROOT / "soundstorm_jax" / "__init__.py").read_text("utf-8"),
  re.MULTILINE,
)[1]

# Wheels of tensorflow-cpu exist for x86-64 alone.
_TENSORFLOW = [
  "tensorflow-cpu>=2.18; platform_machine == 'x86_64'",
  "tensorflow>=2.18; platform_machine != 'x86_64'",
]

setuptools.setup(
  name="soundstorm-jax",
  version=_VERSION,
  description=(
    "SoundStorm: parallel audio generation, its codec and its training, in "
    "JAX and Flax"
  ),
  long_description=(_ROOT / "README.md").read_text("utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11,<3.14",
  packages=setuptools.find_packages(include=["soundstorm_jax*"]),
  package_data={
    "soundstorm_jax": [
      "shipped/*/*",
      "demo/speech/*",
      "demo/speech/*/*.ogg",
      "demo/*.html",
      "demo/*.j2",
      "evaluation/*.css",
      "evaluation/*.j2",
    ]
  },
  install_requires=[
    "absl-py",
    "etils[epath]",
    "flax>=0.12.8",
    # tensorflow-datasets imports it without asking for it.
    "importlib-resources",
    "jax>=0.10.2",
    "jaxtyping",
    "jinja2",
    "matplotlib",
    "ml-collections",
    "numpy",
    "optax",
    "orbax-checkpoint>=0.12",
    "safetensors",
    "scikit-learn",
    "scipy",
    "soundfile>=0.13",
    "soxr",
    "tensorboard",
    *_TENSORFLOW,
    "tensorflow-datasets>=4.9.9",
    "tqdm",
  ],
  extras_require={
    "cuda": ["jax[cuda12]"],
    "dev": [
      "beartype",
      "pytest",
      "pytest-xdist",
      "pyyaml",
      "qwix>=0.1.8",
      "ruff",
      "setuptools",
      "tflite",
      "wheel",
    ],
    # The judges are of one version each, so that figures can be compared.
    "eval": [
      "distillmos==0.9.1",
      "jiwer==4.0.0",
      # speechmos imports librosa, onnxruntime and requests without asking.
      "librosa==0.11.0",
      "moonshine-voice==0.1.0",
      "onnxruntime",
      "pesq==0.0.4",
      "pocketsphinx",
      "pystoi==0.4.1",
      "requests",
      "resemblyzer==0.1.4",
      "speechmos==0.0.1.1",
    ],
    "int8": ["qwix>=0.1.8"],
    "lyra": ["tflite"],
    "notebooks": ["ipykernel", "nbclient", "nbstripout"],
    "tpu": ["jax[tpu]"],
  },
)
