"""The SoundStream codec.

  python -m soundstorm_jax.train --config=configs/soundstream.py:small \\
    --workdir=runs/codec --config.data.path=LibriSpeech/dev-clean

Arguments: `paper` (16 kHz, 32 channels, adversarial from the start, for an
accelerator), `24khz` (the dialogue codec's rate, stride 480), `small` (the
shipped weights: 2.46M parameters, two CPU cores) and `tiny` (for trying out).
Audio is read from a folder, in LibriSpeech's layout or SPEAKER/FILE.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "paper") -> ConfigDict:
  """Settings for `arg`; see the module docstring."""
  config = {
    "task": "soundstream",
    "steps": 500_000,
    "batch_size": 128,
    "eval_every": 5000,
    "save_every": 2000,
    "sample_every": 20_000,
    "data": {"path": "", "window_seconds": 2.0, "workers": 8},
    "optimizer": {
      "lr": 3e-4,
      "warmup_steps": 1000,
      "b1": 0.8,
      "b2": 0.99,
      "weight_decay": 0.0,
      "clip_norm": 10.0,
    },
    "soundstream": {"encoder_channels": 32, "decoder_channels": 32, "dim": 128},
    "codec_training": {},
  }
  if arg == "24khz":
    config["soundstream"] |= {
      "sample_rate": 24_000,
      "strides": (2, 5, 6, 8),
    }
  elif arg in ("small", "tiny"):
    _shrink(config)
    if arg == "tiny":
      config["steps"] = 20
      config["codec_training"]["quantizer_start"] = 5
      config["soundstream"] |= {
        "encoder_channels": 2,
        "decoder_channels": 2,
        "dim": 8,
        "levels": 4,
        "codes": 16,
      }
  elif arg != "paper":
    raise ValueError(f"arg must be paper, 24khz, small or tiny, got {arg!r}")
  return ConfigDict(config)


def _shrink(config: dict) -> None:
  """Two CPU cores: small batches, spectral and waveform losses only."""
  config |= {
    "steps": 2400,
    "batch_size": 4,
    "log_every": 20,
    "eval_every": 200,
    "save_every": 200,
    "sample_every": 0,
  }
  config["data"] |= {
    "window_seconds": 1.0,
    "held_out_speakers": ("1272", "2035", "2412", "422"),
    "eval_batches": 4,
    "workers": 1,
    "cache": True,
  }
  config["optimizer"] |= {
    "lr": 1e-3,
    "warmup_steps": 50,
    "final_lr_ratio": 0.03,
    "ema_decay": 0.99,
    "clip_norm": 200.0,
  }
  config["soundstream"] |= {
    "encoder_channels": 16,
    "decoder_channels": 16,
    "dim": 64,
  }
  config["codec_training"] |= {
    # One step with the discriminators costs several without, and they pay off
    # only in runs far longer than this one.
    "adversarial_start": 1_000_000,
    "discriminator_channels": 8,
    "waveform_weight": 150.0,
    "quantizer_start": 400,
    # A step sees 200 frames for 1024 codes, 0.2 uses a code; the paper's 2 is
    # for far larger batches.
    "dead_code_threshold": 0.03,
  }
