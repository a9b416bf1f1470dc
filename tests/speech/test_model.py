"""The Python interface, with tiny random weights."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import soundstorm_jax
from soundstorm_jax.soundstorm.config import default_sampler
from soundstorm_jax.speech.requests import Request, SpeechTokens
from tests.tiny_weights import KMEANS, SEMANTIC, Q, V, write_weights

HOP = 320
RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(folder):
  return soundstorm_jax.load(folder, batch_size=3, buckets=(32, 64))


def semantic(count, *, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, SEMANTIC, count, np.int32)


def voice(frames, *, seed=0):
  rng = np.random.default_rng(seed)
  return SpeechTokens(
    semantic(-(-frames // 2), seed=seed),
    rng.integers(0, V, (frames, Q), np.int32),
  )


def noise(samples):
  audio = np.random.default_rng(0).normal(size=samples)
  return (0.2 * audio).astype(np.float32)


REQUESTS = [
  Request(semantic(15), seed=1),
  Request(semantic(9, seed=1), prompt=voice(7), seed=2),
  Request(semantic(12, seed=2), prompt=voice(40), seed=3),
  Request(semantic(16, seed=3), seed=4),
  Request(semantic(16, seed=3), seed=5),
  Request(semantic(11, seed=4), prompt=voice(2), seed=6, frames=21),
  Request(semantic(13, seed=5), seed=7),
]


@pytest.fixture(scope="module")
def results(model):
  return model.generate_batch(REQUESTS)


def test_lengths_are_exact(results):
  frames = [r.frames or 2 * len(r.semantic) for r in REQUESTS]
  assert [len(r.acoustic) for r in results] == frames
  assert [len(r.audio) for r in results] == [n * HOP for n in frames]
  assert [r.prompt_frames for r in results] == [0, 7, 40, 0, 0, 2, 0]
  assert [r.bucket for r in results] == [32, 32, 64, 32, 32, 32, 32]
  for result in results:
    assert result.audio.dtype == np.float32
    assert result.acoustic.shape[1] == Q
    assert 0 <= result.acoustic.min() <= result.acoustic.max() < V


@pytest.mark.parametrize("order", ["alone", "backwards", "shifted"])
def test_results_are_bit_identical_whatever_the_batch_mates(
  model, results, order
):
  numbers = list(range(len(REQUESTS)))
  groups = {
    "alone": [[n] for n in numbers],
    "backwards": [numbers[::-1]],
    "shifted": [numbers[2:] + numbers[:2]],
  }[order]
  for group in groups:
    again = model.generate_batch([REQUESTS[n] for n in group])
    for number, result in zip(group, again, strict=True):
      expected = results[number]
      np.testing.assert_array_equal(result.acoustic, expected.acoustic)
      np.testing.assert_array_equal(result.audio, expected.audio)


def test_the_seed_and_the_prompt_matter(model, results):
  assert (results[3].acoustic != results[4].acoustic).any()
  changed = dataclasses.replace(REQUESTS[2], prompt=voice(40, seed=9))
  (other,) = model.generate_batch([changed])
  assert (other.acoustic != results[2].acoustic).any()


def test_generate_is_a_batch_of_one(model, results):
  request = REQUESTS[1]
  audio = model.generate(
    request.semantic, prompt=request.prompt, seed=request.seed
  )
  np.testing.assert_array_equal(audio, results[1].audio)


def test_the_target_is_cut_out_of_what_the_codec_makes_of_both(model, results):
  request, result = REQUESTS[1], results[1]
  both = np.concatenate([request.prompt.acoustic, result.acoustic])
  audio = model.decode(both)
  assert len(audio) == len(both) * HOP
  np.testing.assert_allclose(audio[7 * HOP :], result.audio, atol=1e-5)


def test_a_prompt_may_be_audio_of_any_rate(model):
  audio = noise(4800)
  tokens = model.encode(audio, RATE)
  given = {"seed": 3, "frames": 20}
  np.testing.assert_array_equal(
    model.generate(semantic(10), prompt=audio, **given),
    model.generate(semantic(10), prompt=tokens, **given),
  )
  coarse = noise(2400)
  made = model.generate(semantic(10), prompt=coarse, prompt_rate=8000)
  assert made.shape == (20 * HOP,)


def test_encode_covers_the_recording(model):
  audio = noise(10 * HOP + 1)
  tokens = model.encode(audio, RATE)
  assert tokens.acoustic.shape == (11, Q)
  assert tokens.semantic.shape == (6,)
  assert tokens.semantic.max() < SEMANTIC
  made = model.generate(tokens.semantic, frames=len(tokens.acoustic))
  assert made.shape == (11 * HOP,)


def test_each_bucket_is_compiled_once_and_timed_apart(model, results):
  times = [result.times for result in results]
  assert [t.requests for t in times] == [3, 3, 1, 3, 3, 3, 3]
  assert times[0] is times[1] is times[3]
  assert times[0].compile_s > 0
  assert times[2].compile_s > 0
  assert times[4].compile_s == 0
  frames = sum(len(results[n].acoustic) for n in (0, 1, 3))
  assert times[0].audio_s == pytest.approx(frames * HOP / RATE)
  assert times[0].passes == 16 + Q - 1
  assert times[0].run_s == times[0].sample_s + times[0].decode_s > 0
  assert times[0].real_time_factor == times[0].run_s / times[0].audio_s


def test_another_sampler_is_compiled_apart(model):
  quick = dataclasses.replace(default_sampler(Q), iterations=(2, 1, 1))
  (first,) = model.generate_batch(REQUESTS[:1], sampler=quick)
  (again,) = model.generate_batch(REQUESTS[:1], sampler=quick)
  assert first.times.passes == 4
  assert first.times.compile_s > 0
  assert again.times.compile_s == 0
  with pytest.raises(ValueError, match="one entry for each of the 3 levels"):
    model.generate_batch(REQUESTS[:1], sampler=default_sampler(Q + 1))


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    (Request(semantic(0)), "at least one token"),
    (Request(semantic(4) + SEMANTIC), r"semantic ids must be in \[0, 8\)"),
    (Request(semantic(4), frames=9), "9 frames need 5 semantic tokens"),
    (Request(semantic(4), frames=0), "frames must be at least 1"),
    (Request(semantic(4), seed=-1), "seed must be"),
    (Request(semantic(33)), "at most 64 frames, got 66"),
    (Request(semantic(4), prompt=voice(60)), "at most 64 frames, got 68"),
    (
      Request(semantic(4), prompt=voice(6)._replace(semantic=semantic(2))),
      "6 frames need 3",
    ),
    (
      Request(
        semantic(4),
        prompt=SpeechTokens(semantic(2), np.zeros((4, Q + 1), np.int32)),
      ),
      "must have 3 levels, got 4",
    ),
  ],
)
def test_a_bad_request_is_refused(model, request_, message):
  with pytest.raises(ValueError, match=message):
    model.generate_batch([REQUESTS[0], request_])


def test_bad_audio_is_refused(model):
  with pytest.raises(ValueError, match="at least one sample"):
    model.encode(np.zeros(0, np.float32), RATE)
  with pytest.raises(ValueError, match="finite"):
    model.encode(np.full(400, np.nan, np.float32), RATE)


def test_models_that_do_not_fit_are_refused(folder, tmp_path):
  for kind in ("soundstorm", "soundstream"):
    name = f"{kind}.safetensors"
    (tmp_path / name).write_bytes((folder / name).read_bytes())
  with pytest.raises(FileNotFoundError, match=r"semantic\.safetensors"):
    soundstorm_jax.load(tmp_path)
  write_weights(tmp_path, kmeans=dataclasses.replace(KMEANS, clusters=9))
  with pytest.raises(ValueError, match="takes 8 semantic tokens"):
    soundstorm_jax.load(tmp_path)
  (tmp_path / "soundstorm.safetensors").write_bytes(
    (folder / "soundstream.safetensors").read_bytes()
  )
  with pytest.raises(ValueError, match="must hold soundstorm"):
    soundstorm_jax.load(tmp_path)
  with pytest.raises(ValueError, match="buckets"):
    soundstorm_jax.load(folder, buckets=(64, 32))
  with pytest.raises(ValueError, match="batch_size"):
    soundstorm_jax.load(folder, batch_size=0)


def test_importing_the_package_is_light():
  code = (
    "import sys, soundstorm_jax; assert 'load' in dir(soundstorm_jax); "
    "assert not {'jax', 'numpy', 'tensorflow'} & set(sys.modules); "
    "soundstorm_jax.load; assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
  with pytest.raises(AttributeError, match="no attribute 'lode'"):
    _ = soundstorm_jax.lode


def test_compiled_code_is_kept_for_other_processes(folder, tmp_path):
  code = (
    "import sys, numpy as np, soundstorm_jax as s; "
    "m = s.load(sys.argv[1], buckets=(16,), compilation_cache=sys.argv[2]); "
    "m.generate(np.zeros(8, np.int32))"
  )
  subprocess.run(
    [sys.executable, "-c", code, str(folder), str(tmp_path)], check=True
  )
  assert any("sample" in path.name for path in tmp_path.iterdir())
