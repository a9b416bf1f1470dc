"""Token datasets: written, read back by TFDS, by number, and as windows."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
import tensorflow_datasets as tfds

from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import records, token_dataset
from soundstorm_jax.data.rates import repeat_to_frames
from soundstorm_jax.data.token_example import (
  TokenExample,
  TokenMetadata,
  check_example,
)
from soundstorm_jax.data.tokens import TokenSource
from soundstorm_jax.soundstorm.config import SoundStormConfig

METADATA = TokenMetadata(
  sample_rate=16000,
  frame_rate=Fraction(50),
  semantic_rate=Fraction(25),
  levels=3,
  codes=16,
  semantic_vocab=8,
  codec_fingerprint="c0dec",
  semantic_fingerprint="5e3a",
  config={"batch_size": 2},
)


def example(number, frames, metadata=METADATA):
  draw = np.random.default_rng(number).integers
  count = -int(-frames * metadata.semantic_rate / metadata.frame_rate // 1)
  return TokenExample(
    id=f"utt-{number}",
    speaker=f"s{number % 3}",
    text=f"NUMBER {number}",
    semantic=draw(0, metadata.semantic_vocab, count).astype(np.int32),
    acoustic=draw(0, metadata.codes, (frames, metadata.levels)).astype(
      np.int32
    ),
  )


EXAMPLES = {
  "train": [example(i, frames=5 + 7 * i) for i in range(10)],
  "test": [example(i, frames=30 + i) for i in range(20, 25)],
}


def write(folder, examples, metadata=METADATA):
  token_dataset.write_dataset(
    folder,
    metadata=metadata,
    examples={
      split: lambda rows=rows: iter(rows) for split, rows in examples.items()
    },
  )
  return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return write(tmp_path_factory.mktemp("tokens"), EXAMPLES)


def source(folder, *, batch_size=4, index=0, count=1, **fields):
  settings = {"window_seconds": 0.6, "min_window_seconds": 0.04, **fields}
  return TokenSource(
    DataConfig(path=str(folder), **settings),
    batch_size=batch_size,
    seed=5,
    process_index=index,
    process_count=count,
  )


def take(batches, count):
  rows = list(itertools.islice(batches, count))
  return {name: np.stack([r[name] for r in rows]) for name in rows[0]}


def equal(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name])


def test_tfds_loads_it(folder):
  for split, rows in EXAMPLES.items():
    data = tfds.load("soundstorm_tokens", data_dir=str(folder), split=split)
    found = {r["id"].decode(): r for r in tfds.as_numpy(data)}
    assert found.keys() == {row.id for row in rows}
    for row in rows:
      assert found[row.id]["text"].decode() == row.text
      assert found[row.id]["speaker"].decode() == row.speaker
      np.testing.assert_array_equal(found[row.id]["semantic"], row.semantic)
      np.testing.assert_array_equal(found[row.id]["acoustic"], row.acoustic)


def test_it_is_readable_without_our_builder(folder):
  builder = tfds.builder_from_directory(
    str(token_dataset.dataset_folder(folder))
  )
  assert builder.info.splits["train"].num_examples == 10
  assert builder.info.features["acoustic"].shape == (None, 3)
  assert builder.info.metadata["codes"] == 16


def test_records_by_number(folder):
  found = records.TokenRecords(folder, split="train")
  assert found.metadata == METADATA
  by_id = {found[i].id: found[i] for i in range(len(found))}
  assert by_id.keys() == {row.id for row in EXAMPLES["train"]}
  for row in EXAMPLES["train"]:
    equal(vars(by_id[row.id]), vars(row))


def test_a_file_cut_short_is_refused(tmp_path):
  write(tmp_path, {"train": EXAMPLES["train"][:2]})
  (file,) = token_dataset.dataset_folder(tmp_path).glob("*.tfrecord*")
  file.write_bytes(file.read_bytes()[:-3])
  with pytest.raises(ValueError, match="cut short"):
    records.TokenRecords(tmp_path, split="train")


@pytest.mark.parametrize(
  ("semantic_rate", "frame_rate"),
  [(25, 50), (50, 50), (25, 75), (50, 75), (75, 50), (Fraction(25, 3), 86)],
)
def test_repeats_by_any_ratio(semantic_rate, frame_rate):
  frames = 61
  count = -int(-frames * Fraction(semantic_rate) / frame_rate // 1)
  semantic = np.arange(count, dtype=np.int32) % 5
  slow = []
  for frame in range(frames):
    # The token that sounds when the frame begins.
    token = 0
    while Fraction(token + 1) / Fraction(semantic_rate) <= Fraction(
      frame, frame_rate
    ):
      token += 1
    slow.append(semantic[token])
  rates = {
    "semantic_rate": Fraction(semantic_rate),
    "frame_rate": Fraction(frame_rate),
  }
  np.testing.assert_array_equal(
    repeat_to_frames(semantic, frames, **rates), slow
  )
  with pytest.raises(ValueError, match="semantic tokens, got"):
    repeat_to_frames(semantic[:token], frames, **rates)


def test_windows_are_parts_of_utterances(folder):
  batches = take(source(folder).train_batches(), 50)
  assert batches["semantic"].shape == (50, 4, 30)
  assert batches["acoustic"].shape == (50, 4, 30, 3)
  assert batches["valid"].dtype == bool
  rows = {
    name: values.reshape(200, *values.shape[2:])
    for name, values in batches.items()
  }
  lengths = rows["valid"].sum(axis=1)
  whole = [
    (row.acoustic, np.repeat(row.semantic, 2)) for row in EXAMPLES["train"]
  ]
  for i, length in enumerate(lengths):
    acoustic = rows["acoustic"][i, :length]
    semantic = rows["semantic"][i, :length]
    assert not rows["acoustic"][i, length:].any()
    assert not rows["semantic"][i, length:].any()
    assert not rows["valid"][i, length:].any()
    assert any(
      np.array_equal(a[s : s + length], acoustic)
      and np.array_equal(b[s : s + length], semantic)
      for a, b in whole
      for s in range(len(a) - length + 1)
    )
  assert lengths.min() >= 2
  assert lengths.max() == 30
  # U{2..30} cut by the utterances' lengths, averaged over the ten of them.
  expected = np.mean([min(d, len(a)) for d in range(2, 31) for a, _ in whole])
  assert lengths.mean() == pytest.approx(expected, abs=2)


def test_an_epoch_has_every_utterance_once(folder):
  long = source(
    folder, batch_size=5, window_seconds=2.0, min_window_seconds=0.1
  )
  batches = take(long.train_batches(), 6)["acoustic"].reshape(3, 10, -1, 3)
  orders = []
  for epoch in batches:
    order = []
    for row in epoch:
      probe = row[:3]
      order += [
        e.id
        for e in EXAMPLES["train"]
        if any(
          np.array_equal(e.acoustic[s : s + 3], probe)
          for s in range(len(e.acoustic) - 2)
        )
      ]
    assert sorted(order) == sorted(e.id for e in EXAMPLES["train"])
    orders.append(order)
  assert orders[0] != orders[1] != orders[2]


def test_resume_is_starting_later(folder):
  whole = take(source(folder).train_batches(), 6)
  later = take(source(folder, cache=True).train_batches(4), 2)
  equal(later, {name: values[4:] for name, values in whole.items()})


def test_hosts_share_the_global_batch(folder):
  whole = take(source(folder).train_batches(), 3)
  parts = [
    take(source(folder, index=i, count=2).train_batches(), 3) for i in (0, 1)
  ]
  equal(
    {n: np.concatenate([p[n] for p in parts], axis=1) for n in whole}, whole
  )


def test_evaluation_covers_each_utterance_once(folder):
  batches = take(source(folder).eval_batches(), 5)
  assert batches["valid"].shape == (2, 4, 30)
  rows = batches["acoustic"].reshape(8, 30, 3)
  starts = sorted(row.tolist() for row in rows[:5])
  assert starts == sorted(e.acoustic[:30].tolist() for e in EXAMPLES["test"])
  np.testing.assert_array_equal(
    batches["valid"].reshape(8, 30).sum(axis=1), [30] * 5 + [0] * 3
  )
  assert len(list(source(folder, eval_batches=1).eval_batches())) == 1
  assert not list(source(folder, eval_split="").eval_batches())


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"codes": 4}, r"'utt-\d' has acoustic id \d+, not in \[0, 4\)"),
    ({"semantic_vocab": 2}, r"'utt-\d' has semantic id \d, not in \[0, 2\)"),
  ],
)
def test_bad_ids_are_named(tmp_path, change, message):
  wrong = dataclasses.replace(METADATA, **change)
  write(tmp_path, {"train": EXAMPLES["train"]}, wrong)
  with pytest.raises(ValueError, match=message):
    next(source(tmp_path).train_batches())


def test_short_examples_are_taken_whole(folder):
  batches = take(source(folder, min_window_seconds=0.6).train_batches(), 5)
  lengths = {min(len(e.acoustic), 30) for e in EXAMPLES["train"]}
  assert min(lengths) < 30
  assert set(batches["valid"].sum(axis=-1).ravel().tolist()) == lengths


def test_empty_and_ragged_examples_are_named():
  empty = dataclasses.replace(
    EXAMPLES["train"][0], acoustic=np.zeros((0, 3), np.int32)
  )
  with pytest.raises(ValueError, match="'utt-0' has no frames"):
    check_example(empty, METADATA)
  ragged = dataclasses.replace(
    EXAMPLES["train"][1], acoustic=np.zeros((4, 2), np.int32)
  )
  with pytest.raises(ValueError, match="'utt-1' has 2 levels, not 3"):
    check_example(ragged, METADATA)


def test_missing_semantic_tokens_are_named(tmp_path):
  row = example(9, frames=30)
  short = dataclasses.replace(row, semantic=row.semantic[:5])
  write(tmp_path, {"train": [short]})
  with pytest.raises(ValueError, match=r"'utt-9'.*semantic tokens, got 5"):
    take(source(tmp_path).train_batches(), 20)


def test_refuses_what_is_not_there(folder, tmp_path):
  with pytest.raises(ValueError, match="no token dataset"):
    source(tmp_path)
  with pytest.raises(ValueError, match="no split 'dev'; it has test, train"):
    source(folder, split="dev")
  with pytest.raises(ValueError, match="one frame"):
    source(folder, window_seconds=0.001, min_window_seconds=0.0)
  with pytest.raises(ValueError, match="start_step"):
    next(source(folder).train_batches(-1))


def test_metadata_checks_the_model():
  fits = SoundStormConfig(levels=3, codes=16, semantic_vocab=8)
  METADATA.check_model(fits, path="tokens")
  with pytest.raises(
    ValueError, match="tokens has levels 3, the model's is 12"
  ):
    METADATA.check_model(SoundStormConfig(), path="tokens")


def test_several_datasets_are_one(tmp_path):
  first = write(tmp_path / "first", EXAMPLES)
  more = {"train": [example(i, frames=40 + i) for i in range(30, 33)]}
  second = write(tmp_path / "second", more)
  both = records.JoinedRecords(f"{first},{second}", split="train")
  alone = [records.TokenRecords(f, split="train") for f in (first, second)]
  ids = [part[i].id for part in alone for i in range(len(part))]
  assert [both[i].id for i in range(len(both))] == ids
  assert len(ids) == 13
  # Only the first has held-out utterances.
  held_out = records.JoinedRecords(f"{first},{second}", split="test")
  assert len(held_out) == len(EXAMPLES["test"])
  source = TokenSource(
    DataConfig(path=f"{first},{second}", window_seconds=1.0),
    batch_size=13,
    seed=0,
  )
  assert source.examples_per_epoch == 13
  batch = next(source.train_batches())
  # A window is a second, or as long as the utterance.
  lengths = [len(e.acoustic) for e in EXAMPLES["train"] + more["train"]]
  assert batch["valid"].sum() <= sum(min(50, n) for n in lengths)
  assert np.all(batch["valid"].any(axis=1))


def test_datasets_of_other_tokenizers_are_refused(tmp_path):
  first = write(tmp_path / "first", EXAMPLES)
  other = dataclasses.replace(METADATA, codec_fingerprint="0ther")
  second = write(tmp_path / "second", EXAMPLES, metadata=other)
  with pytest.raises(ValueError, match="second was made by other tokenizers"):
    records.JoinedRecords(f"{first},{second}", split="train")
  with pytest.raises(ValueError, match="no split 'dev'"):
    records.JoinedRecords(f"{first},{first}", split="dev")
  with pytest.raises(ValueError, match="no token dataset is named"):
    records.JoinedRecords("", split="train")
