"""The benchmark says what it did; times are nobody's to assert."""

import functools
import json
import types

import pytest

from soundstorm_jax import benchmark as program
from soundstorm_jax.audiolm import network as audiolm
from soundstorm_jax.audiolm.config import AudioLMSamplerConfig
from soundstorm_jax.benchmarking import clock, systems
from soundstorm_jax.benchmarking.sizes import SIZES
from soundstorm_jax.soundstorm import network as soundstorm
from tests.audiolm import tiny_audiolm
from tests.audiolm.tiny_audiolm import Q, V
from tests.benchmarking.tiny_size import TINY


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A run of the program: what it wrote and printed."""
  folder = tmp_path_factory.mktemp("benchmark") / "made" / "by it"
  printed = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(SIZES, "tiny", TINY)
    patch.setattr(clock, "_LARGEST_PRODUCT", 512)
    # Fewer loops to compile.
    patch.setattr(
      systems,
      "AudioLMSamplerConfig",
      functools.partial(AudioLMSamplerConfig, cache_segments=2),
    )
    patch.setattr("builtins.print", lambda *x, **_: printed.append(x[0]))
    program.main(
      [
        *("--size=tiny", "--seconds=0.1", "--systems=soundstorm,audiolm"),
        *("--batch_sizes=2", "--repeats=2", "--steps=4", f"--output={folder}"),
      ]
    )
  return types.SimpleNamespace(
    folder=folder,
    text="\n".join(printed),
    json=json.loads((folder / "report.json").read_text("utf-8")),
  )


def test_rows_are_of_what_was_asked_for(made):
  rows = made.json["rows"]
  assert [row["system"] for row in rows] == ["soundstorm", "audiolm"]
  for row in rows:
    assert (row["seconds"], row["batch_size"]) == (0.1, 2)
    assert row["frames"] == 5
    assert row["tokens"] == 2 * 5 * Q
    assert not row["extrapolated"]
    assert len(row["runs_s"]) == 2
    assert row["compile_s"] > 0
    # The parameters alone are more.
    assert row["program_bytes"] > 4 * made.json["parameters"][row["system"]]
  stages = (TINY.audiolm.coarse, TINY.audiolm.fine)
  assert made.json["parameters"] == {
    "soundstorm": soundstorm.parameter_count(TINY.model),
    "audiolm": sum(map(audiolm.parameter_count, stages)),
  }


def test_passes_follow_the_formulas(made):
  ours, published = (row["passes"] for row in made.json["rows"])
  # 16 at the first level and one at each other.
  assert ours == 16 + Q - 1
  coarse, fine = 1 + 5 * tiny_audiolm.COARSE, Q - tiny_audiolm.COARSE
  # Chunks of 3 and 2 frames, each after a prefill.
  assert published == coarse + 2 + 5 * fine


def test_flops_are_of_all_passes_and_layers(made):
  ours, theirs = (row["flops"] for row in made.json["rows"])
  frames, dim, inner = 2 * 5, 32, 64
  # Two feed-forwards, attention's four matrices, the convolution's three; the
  # products of 5 frames with each other; one head.
  layer = 2 * 2 * dim * inner + (4 + 4 + 2) * dim**2 + 2 * 5 * dim
  products = 20 * 2 * frames * (2 * layer + dim * V)
  assert products < ours < 1.5 * products
  # 10 coarse steps and 15 fine ones of two rows, without their attention;
  # sampling is a good part of a step as small as this.
  products = 25 * 2 * 2 * (4 * dim**2 + 2 * dim * 48 + dim * V)
  assert products < theirs < 4 * products


def test_ratios_text_and_plot(made):
  (ratio,) = made.json["ratios"]
  ours, theirs = (row["sample_s"] for row in made.json["rows"])
  assert ratio["system"] == "audiolm"
  assert ratio["ratio"] == pytest.approx(theirs / ours)
  assert "RANDOM weights" in made.text
  assert "SoundStorm, 0.1 s x 2: " in made.text
  assert "EXTRAPOLATED" not in made.text
  assert (made.folder / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--size=huge", "size must be of ['tiny', 'small', 'paper'], got 'huge'"),
    ("--seconds=1,x", "'1,x' must be values parted by commas"),
    ("--seconds=", "seconds must name at least one, got none"),
    ("--seconds=1,0.01", "from 0.02, a frame, to 3600, got 0.01"),
    ("--long_seconds=inf", "from 0.02, a frame, to 3600, got inf"),
    ("--seconds=nan", "from 0.02, a frame, to 3600, got nan"),
    ("--batch_sizes=1,0", "batch_sizes must be at least 1, got 0"),
    ("--batch_sizes=1.5", "'1.5' must be values parted by commas"),
    ("--dtype=float16", "dtype must be float32 or bfloat16, got 'float16'"),
    ("--repeats=0", "repeats must be at least 1, got 0"),
    ("--steps=1", "steps must be at least 2, got 1"),
    ("--limit_seconds=-1", "limit_seconds must be at least 0, got -1"),
    (
      "--systems=ours",
      "'audiolm', 'audiolm_batched'], got 'ours'",
    ),
  ],
)
def test_bad_flags_are_refused_before_any_work(flag, message, tmp_path, capsys):
  with pytest.raises(SystemExit):
    program.main([flag, f"--output={tmp_path / 'none'}"])
  assert message in capsys.readouterr().err
  assert not (tmp_path / "none").exists()


def test_durations_that_are_given_are_all():
  settings, _ = program.parse([])
  assert settings.seconds == (1, 3, 5, 10, 20, 30)
  assert settings.long_seconds == (60, 120)
  settings, _ = program.parse(["--seconds=2,4"])
  assert (settings.seconds, settings.long_seconds) == ((2, 4), ())
  settings, _ = program.parse(["--long_seconds=40"])
  assert settings.seconds == (1, 3, 5, 10, 20, 30)
  assert settings.long_seconds == (40,)
