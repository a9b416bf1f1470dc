"""The program that generates, with tiny random weights."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
import soundfile

import soundstorm_jax
from soundstorm_jax.data.token_dataset import write_dataset
from soundstorm_jax.data.token_example import TokenExample, TokenMetadata
from soundstorm_jax.generate import generate, main
from soundstorm_jax.soundstorm.config import default_sampler
from soundstorm_jax.speech.jobs import (
  AudioLibrary,
  Job,
  TokenLibrary,
  audio_jobs,
)
from soundstorm_jax.speech.results import RESULTS, Results
from tests import make_audio
from tests.tiny_weights import SEMANTIC, Q, V, write_weights

RATE, HOP = 16000, 320


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(weights):
  return soundstorm_jax.load(
    weights, batch_size=2, buckets=(128,), sampler=quick()
  )


def quick():
  sampler = default_sampler(Q)
  return type(sampler)(iterations=(2, 1, 1))


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
  folder = tmp_path_factory.mktemp("audio")
  for number, seconds in enumerate([0.7, 1.0, 0.5]):
    make_audio.write(folder / f"a{number}.wav", seconds, seed=number)
  make_audio.write(folder / "voice.ogg", 0.9, rate=8000, seed=9)
  return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, model):
  rng = np.random.default_rng(0)

  def example(name, frames):
    return TokenExample(
      id=name,
      speaker="s",
      text="",
      semantic=rng.integers(0, SEMANTIC, -(-frames // 2), np.int32),
      acoustic=rng.integers(0, V, (frames, Q + 1), np.int32),
    )

  examples = [example("u1", 61), example("u2", 30), example("u3", 90)]
  folder = tmp_path_factory.mktemp("tokens")
  write_dataset(
    folder,
    metadata=TokenMetadata(
      sample_rate=RATE,
      frame_rate=Fraction(50),
      semantic_rate=Fraction(25),
      levels=Q + 1,
      codes=V,
      semantic_vocab=SEMANTIC,
      codec_fingerprint=model.fingerprints["soundstream"],
      semantic_fingerprint=model.fingerprints["semantic"],
    ),
    examples={"test": lambda: iter(examples)},
  )
  return folder, {e.id: e for e in examples}


def lines(folder):
  return [json.loads(t) for t in (folder / RESULTS).read_text().splitlines()]


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.suffix == ".wav"
  }


def test_recordings_in_another_voice(model, audio, tmp_path):
  jobs = audio_jobs([audio / "a0.wav"], prompt=str(audio / "voice.ogg"))
  jobs += audio_jobs([audio], seed=3)[1:3]
  assert [job.id for job in jobs] == ["a0", "a1", "a2"]
  summary = generate(
    jobs,
    tmp_path,
    model=model,
    content=AudioLibrary(model),
    prompt_seconds=0.4,
  )
  assert (summary.written, summary.skipped, summary.failed) == (3, 0, {})
  assert summary.audio_s == pytest.approx(2.2)
  found = {line["id"]: line for line in lines(tmp_path)}
  assert [found[n]["prompt_frames"] for n in ("a0", "a1", "a2")] == [20, 0, 0]
  assert found["a1"]["seed"] == 3
  assert found["a0"]["weights"] == model.fingerprints
  assert found["a0"]["sampler"]["iterations"] == [2, 1, 1]
  assert found["a0"]["batch"]["passes"] == 4
  wav, rate = soundfile.read(tmp_path / found["a0"]["wav"])
  assert (len(wav), rate) == (35 * HOP, RATE)
  arrays = np.load(tmp_path / found["a0"]["tokens"])
  assert arrays["acoustic"].shape == (35, Q)
  # The line and the library's function agree.
  prompt, _ = soundfile.read(audio / "voice.ogg", dtype="float32")
  voice = model.encode(prompt, 8000)
  audio_again = model.generate(
    arrays["semantic"],
    prompt=type(voice)(voice.semantic[:10], voice.acoustic[:20]),
    frames=35,
    seed=found["a0"]["seed"],
  )
  np.testing.assert_allclose(wav, audio_again.clip(-1, 1), atol=1e-4)


def test_a_token_dataset_continued_from_its_own_start(model, tokens, tmp_path):
  folder, examples = tokens
  content = TokenLibrary(folder, split="test", model=model)
  assert sorted(content.ids) == ["u1", "u2", "u3"]
  summary = generate(
    [Job(name, name) for name in content.ids],
    tmp_path,
    model=model,
    content=content,
    continuation=True,
    prompt_seconds=0.6,
  )
  # 30 frames are no longer than the prompt.
  assert list(summary.failed) == ["u2"]
  assert "at least one token" in summary.failed["u2"]
  found = {line["id"]: line for line in lines(tmp_path)}
  assert set(found) == {"u1", "u3"}
  assert found["u1"]["frames"] == 31
  assert found["u3"]["prompt_frames"] == 30
  semantic = np.load(tmp_path / "u3.npz")["semantic"]
  np.testing.assert_array_equal(semantic, examples["u3"].semantic[15:])


def test_tokens_of_other_weights_are_refused(tokens, model, monkeypatch):
  other = model.fingerprints | {"soundstream": "0" * 16}
  monkeypatch.setattr(model, "fingerprints", other)
  with pytest.raises(ValueError, match="the model has 0000000000000000"):
    TokenLibrary(tokens[0], split="test", model=model)


def test_going_on_after_an_interruption(model, audio, tmp_path, monkeypatch):
  jobs = audio_jobs([audio])[:3]
  arguments = {"model": model, "content": AudioLibrary(model)}
  whole, part = tmp_path / "whole", tmp_path / "part"
  generate(jobs, whole, **arguments)

  write = Results.write
  calls = []

  def stop_at_second(*args):
    calls.append(args)
    if len(calls) == 2:
      raise KeyboardInterrupt
    write(*args)

  monkeypatch.setattr(Results, "write", stop_at_second)
  with pytest.raises(KeyboardInterrupt):
    generate(jobs, part, **arguments)
  monkeypatch.undo()
  # As if it had been killed in the middle of the next line.
  with (part / RESULTS).open("a") as file:
    file.write('{"id": "a1", "con')
  again = generate(jobs, part, **arguments)
  assert (again.written, again.skipped) == (2, 1)
  assert contents(part) == contents(whole)
  assert sorted(line["id"] for line in lines(part)) == ["a0", "a1", "a2"]
  # Nothing is left to do, unless a file is gone.
  assert generate(jobs, part, **arguments).written == 0
  (part / "a1.npz").unlink()
  assert generate(jobs, part, **arguments).written == 1
  assert not list(part.glob("*.partial"))

  with pytest.raises(ValueError, match="seed=0, not 1; choose another"):
    generate([job._replace(seed=1) for job in jobs], part, **arguments)
  with pytest.raises(ValueError, match=r"prompt_seconds=3\.0, not 2\.0"):
    generate(jobs, part, prompt_seconds=2.0, **arguments)


def test_bad_inputs_do_not_lose_the_others(weights, audio, tmp_path, capsys):
  for name in ("a0.wav", "a2.wav", "voice.ogg"):
    shutil.copy(audio / name, tmp_path)
  (tmp_path / "broken.wav").write_bytes(b"RIFF")
  manifest = tmp_path / "pairs.csv"
  manifest.write_text(
    "content,prompt,seed\n"
    "a0.wav,voice.ogg,5\n"
    "broken.wav,,\n"
    "a2.wav,missing.wav,\n"
    "a2.wav,,\n"
  )
  arguments = [
    f"--output={tmp_path / 'out'}",
    f"--weights={weights}",
    f"--manifest={manifest}",
    "--iterations=2",
    "--temperature=0.9",
    "--prompt_seconds=0.4",
    "--batch_size=2",
    "--seed=7",
  ]
  assert main([*arguments, "--max_failed=1"]) == 1
  assert main([*arguments, "--max_failed=2"]) == 0
  printed = capsys.readouterr()
  assert "2 written, 0 already there" in printed.out
  assert "0 written, 2 already there" in printed.out
  assert "broken left out: cannot read" in printed.err
  found = {line["id"]: line for line in lines(tmp_path / "out")}
  assert set(found) == {"a0_as_voice", "a2"}
  assert [found[n]["seed"] for n in ("a0_as_voice", "a2")] == [5, 7]
  assert found["a2"]["sampler"]["temperature"] == 0.9
  assert found["a2"]["sampler"]["iterations"] == [2, 1, 1]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "give one of --tokens"),
    (["--audio=a", "--tokens=b"], "give one of --tokens"),
    (["--audio=a", "--manifest=b"], "give one of --tokens"),
    (["--audio=a", "--prompt_audio=b", "--continuation"], "for all requests"),
    (["--manifest=none.csv"], "no such manifest"),
    (["--audio=a", "--iterations=2,1,1,1"], "at most 3 levels"),
    (["--audio=a", "--prompt_seconds=0"], "prompt_seconds must be above 0"),
  ],
)
def test_bad_flags(weights, tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message):
    main([f"--output={tmp_path}", f"--weights={weights}", *arguments])


def test_iterations_that_are_no_numbers(weights, tmp_path, capsys):
  with pytest.raises(SystemExit):
    main(
      [
        f"--output={tmp_path}",
        f"--weights={weights}",
        "--audio=a",
        "--iterations=2,x",
      ]
    )
  assert "--iterations: '2,x' must be values" in capsys.readouterr().err


def test_a_killed_program_goes_on(weights, audio, tmp_path):
  command = [
    *(sys.executable, "-m", "soundstorm_jax.generate"),
    *(f"--output={tmp_path / 'out'}", f"--weights={weights}"),
    *(f"--audio={audio}", "--batch_size=1", "--iterations=1"),
    f"--compilation_cache={tmp_path / 'compiled'}",
  ]
  results = tmp_path / "out" / RESULTS
  process = subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[1])
  try:
    while not (results.exists() and results.read_text()):
      assert process.poll() is None
      time.sleep(0.001)
  finally:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
  subprocess.run(command, cwd=pathlib.Path(__file__).parents[1], check=True)
  assert sorted(line["id"] for line in lines(tmp_path / "out")) == [
    "a0",
    "a1",
    "a2",
    "voice",
  ]
  assert len(contents(tmp_path / "out")) == 4
