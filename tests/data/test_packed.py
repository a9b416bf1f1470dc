"""A packed file holds what the datasets do, or is refused."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from soundstorm_jax import train
from soundstorm_jax.config import DataConfig
from soundstorm_jax.data import records
from soundstorm_jax.data.packed import PackedTokens, write_packed
from soundstorm_jax.data.packed_source import PackedTokenSource
from soundstorm_jax.data.tokens import TokenSource
from soundstorm_jax.pack import main, pack
from soundstorm_jax.training.system import Share
from tests.data.test_positions import shuffled
from tests.data.test_tokens import EXAMPLES, METADATA, equal, example, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokens")
  first = write(folder / "first", EXAMPLES)
  more = {"train": [example(i, frames=40 + i) for i in range(30, 33)]}
  return str(first), str(write(folder / "second", more))


@pytest.fixture(scope="module")
def path(folders, tmp_path_factory):
  path = tmp_path_factory.mktemp("packed") / "new" / "tokens.safetensors"
  assert main([f"--tokens={','.join(folders)}", f"--output={path}"]) == 0
  return path


def source(path, *, batch_size=4, index=0, count=1, **fields):
  settings = {"window_seconds": 0.6, "min_window_seconds": 0.04, **fields}
  return PackedTokenSource(
    DataConfig(path=str(path), **settings),
    batch_size=batch_size,
    process_index=index,
    process_count=count,
  )


def drawn(source, where, *, seed=0):
  key = jax.random.key(seed)
  arrays = jax.tree.map(jnp.asarray, source.arrays())
  draw = jax.jit(jax.vmap(lambda k: source.draw(arrays, k, key=key)))
  return jax.device_get(draw(jnp.asarray(where, jnp.uint32)))


def damage(path, folder, *, header=None, **arrays):
  """A copy of a file with other arrays or metadata."""
  with safetensors.safe_open(path, "numpy") as file:
    metadata = file.metadata() | (header or {})
    found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  found = {n: a for n, a in (found | arrays).items() if a is not None}
  copy = folder / "copy.safetensors"
  safetensors.numpy.save_file(found, copy, metadata=metadata)
  return copy


def test_holds_the_records_exactly(folders, path):
  packed = PackedTokens(path)
  same = dataclasses.replace(packed.metadata, config=METADATA.config)
  assert same == METADATA
  assert packed.metadata.config == {"datasets": [METADATA.config] * 2}
  for split, count in (("train", 13), ("test", 5)):
    expected = records.JoinedRecords(",".join(folders), split=split)
    found = packed.split(split)
    assert len(found) == len(expected) == count
    for number in range(count):
      equal(vars(found[number]), vars(expected[number]))
      assert found[number].acoustic.dtype == np.int32
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_evaluates_the_same_rows(folders, path):
  of_tfds = TokenSource(
    DataConfig(path=",".join(folders), window_seconds=0.6),
    batch_size=4,
    seed=0,
  )
  ours = list(source(path).eval_batches())
  theirs = list(of_tfds.eval_batches())
  assert len(ours) == len(theirs) == 2
  for mine, its in zip(ours, theirs, strict=True):
    equal(mine, its)
  parts = [next(source(path, index=i, count=2).eval_batches()) for i in (0, 1)]
  equal({n: np.concatenate([p[n] for p in parts]) for n in ours[0]}, ours[0])
  assert not list(source(path, eval_split="").eval_batches())


def slow_draw(source, example, position, *, key):
  """The window of a position, frame by frame."""
  _, window_key = jax.random.split(key)
  length_key, start_key = jax.random.split(
    jax.random.fold_in(window_key, position)
  )
  longest, shortest = source.frames, source.min_frames
  length = int(jax.random.randint(length_key, (), shortest, longest + 1))
  length = min(length, len(example.acoustic))
  places = len(example.acoustic) - length + 1
  start = int(jax.random.randint(start_key, (), 0, places))
  row = {
    "semantic": np.zeros(longest, np.int32),
    "acoustic": np.zeros((longest, 3), np.int32),
    "valid": np.zeros(longest, bool),
  }
  for t in range(length):
    row["semantic"][t] = example.semantic[(start + t) // 2]
    row["acoustic"][t] = example.acoustic[start + t]
    row["valid"][t] = True
  return row


def test_draws_what_loops_draw(path):
  train = PackedTokens(path).split("train")
  ours = source(path)
  where = [*range(30), 1000, 99_999]
  found = drawn(ours, where, seed=7)
  assert {n: a.dtype for n, a in found.items()} == {
    "semantic": np.int32,
    "acoustic": np.int32,
    "valid": bool,
  }
  key = jax.random.key(7)
  # The permutation has a slow version of its own in test_positions.py.
  numbers = shuffled(where, len(train), key=jax.random.split(key)[0]).tolist()
  for i, (position, number) in enumerate(zip(where, numbers, strict=True)):
    equal(
      {name: values[i] for name, values in found.items()},
      slow_draw(ours, train[number], position, key=key),
    )


def test_windows_are_as_long_as_those_of_tfds(folders, path):
  fields = {"window_seconds": 0.6, "min_window_seconds": 0.1}
  of_tfds = TokenSource(
    DataConfig(path=",".join(folders), **fields), batch_size=13, seed=0
  )
  theirs = np.concatenate(
    [
      batch["valid"].sum(-1)
      for batch in itertools.islice(of_tfds.train_batches(), 200)
    ]
  )
  valid = drawn(source(path, **fields), np.arange(2600))["valid"]
  ours = valid.sum(-1)
  # One stretch from the beginning, within the limits.
  np.testing.assert_array_equal(valid, np.arange(30) < ours[:, None])
  assert ours.min() == theirs.min() == 5
  assert ours.max() == theirs.max() == 30
  assert ours.mean() == pytest.approx(theirs.mean(), abs=0.7)
  assert ours.std() == pytest.approx(theirs.std(), abs=0.7)


def test_an_epoch_has_every_utterance_once(path):
  train = PackedTokens(path).split("train")
  whole = [train[number].acoustic for number in range(13)]
  found = drawn(source(path), np.arange(26))
  for epoch in range(2):
    seen = set()
    for i in range(epoch * 13, epoch * 13 + 13):
      part = found["acoustic"][i][found["valid"][i]]
      seen |= {
        number
        for number in range(13)
        if any(
          np.array_equal(whole[number][s : s + len(part)], part)
          for s in range(len(whole[number]) - len(part) + 1)
        )
      }
    assert seen == set(range(13))


def test_a_row_does_not_depend_on_the_others(path):
  ours = source(path)
  eight = drawn(ours, np.arange(8))
  equal(drawn(ours, np.arange(4)), {n: a[:4] for n, a in eight.items()})
  equal(drawn(ours, [5]), {n: a[5:6] for n, a in eight.items()})


def test_short_utterances_are_taken_whole(path):
  valid = drawn(source(path, min_window_seconds=0.6), np.arange(13))["valid"]
  train = PackedTokens(path).split("train")
  expected = sorted(min(30, len(train[n].acoustic)) for n in range(13))
  assert sorted(valid.sum(-1).tolist()) == expected


def test_refuses_to_pack(folders, tmp_path):
  output = tmp_path / "out" / "tokens.safetensors"
  other = dataclasses.replace(METADATA, semantic_fingerprint="0ther")
  second = write(tmp_path / "other", {"test": EXAMPLES["test"]}, other)
  with pytest.raises(ValueError, match="other was made by other tokenizers"):
    pack([folders[0], str(second)], output)
  with pytest.raises(ValueError, match="no token dataset is named"):
    pack([], output)
  with pytest.raises(ValueError, match="no token dataset in"):
    pack([str(tmp_path / "missing")], output)
  with pytest.raises(ValueError, match=r"named \*.safetensors, got"):
    pack([folders[0]], tmp_path / "tokens.npz")
  assert not output.parent.exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"codes": 2**16 + 1}, "codes must be at most 65536 .*, got 65537"),
    ({"semantic_vocab": 10**6}, "semantic_vocab .* 65536 .*, got 1000000"),
    ({"codes": 4}, r"acoustic id \d+, not in \[0, 4\)"),
    ({"levels": 4}, "3 levels, not 4"),
  ],
)
def test_refuses_what_does_not_fit(tmp_path, change, message):
  output = tmp_path / "out" / "tokens.safetensors"
  with pytest.raises(ValueError, match=message):
    write_packed(
      output,
      metadata=dataclasses.replace(METADATA, **change),
      examples={"train": EXAMPLES["train"]},
    )
  with pytest.raises(ValueError, match="no utterance"):
    write_packed(output, metadata=METADATA, examples={"train": []})
  assert not output.parent.exists()


def test_train_picks_it_by_its_name(path):
  def make_source(task, **model):
    data = {"path": str(path), "window_seconds": 0.6}
    config = train.read_config(
      {"task": task, "data": data, "system": {"model": model}}
    )
    return train.SYSTEMS[task].make_source(config, Share(2, 0, 1))

  sizes = {"levels": 3, "codes": 16, "semantic_vocab": 8}
  assert isinstance(make_source("soundstorm", **sizes), PackedTokenSource)
  with pytest.raises(ValueError, match=r"has codes 16, the model's is 8"):
    make_source("soundstorm", **sizes | {"codes": 8})
  with pytest.raises(ValueError, match=r"takes no data\.on_device"):
    make_source("semantic_encoder")


def test_refuses_other_files(path, tmp_path):
  with pytest.raises(FileNotFoundError, match="no packed tokens"):
    PackedTokens(tmp_path / "none.safetensors")
  short = tmp_path / "short.safetensors"
  short.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ValueError, match="not a safetensors file"):
    PackedTokens(short)
  weights = tmp_path / "weights.safetensors"
  safetensors.numpy.save_file({"x": np.zeros(3)}, weights)
  with pytest.raises(ValueError, match="must hold tokens, got None"):
    PackedTokens(weights)
  with pytest.raises(ValueError, match="no split 'dev'; it has test, train"):
    source(path, split="dev")
  with pytest.raises(ValueError, match="one frame"):
    source(path, window_seconds=0.001, min_window_seconds=0.0)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda a: {"acoustic": a["acoustic"][:-1]}, "acoustic is .* long, its"),
    (lambda a: {"semantic": a["semantic"][:-1]}, "semantic is .* long, its"),
    (lambda a: {"acoustic": a["acoustic"] + 14}, r"id \d+, not in \[0, 16\)"),
    (lambda a: {"semantic": a["semantic"] + 7}, r"id \d+, not in \[0, 8\)"),
    (lambda a: {"acoustic": a["acoustic"][:, :2].copy()}, "2 levels, .* 3"),
    (lambda a: {"acoustic": a["acoustic"].astype(np.int32)}, "int32"),
    (lambda a: {"acoustic": a["acoustic"].ravel()}, "damaged"),
    (lambda a: {"semantics": None}, "it holds"),
    (lambda a: {"frames": a["frames"][:-1]}, "17 lengths in frames, 18"),
    (lambda a: {"utterances": np.zeros(0, np.uint8)}, "damaged"),
    (
      lambda a: {"utterances": np.frombuffer(b'{"id": []}', np.uint8)},
      "18 utterances need as many of 'id'",
    ),
    (
      lambda a: {"header": {"splits": '{"train": [0, 19]}'}},
      r"\[0, 19\) of 18",
    ),
    (lambda a: {"header": {"splits": '{"train": 3}'}}, "damaged"),
    (lambda a: {"header": {"metadata": "{}"}}, "lacks sample_rate"),
  ],
)
def test_refuses_damaged_files(path, tmp_path, change, message):
  with safetensors.safe_open(path, "numpy") as file:
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  copy = damage(path, tmp_path, **change(arrays))
  with pytest.raises(ValueError, match=message):
    PackedTokens(copy)


def test_an_utterance_without_frames_or_semantic_tokens_is_refused(
  path, tmp_path
):
  with safetensors.safe_open(path, "numpy") as file:
    frames = file.get_tensor("frames")
    semantics = file.get_tensor("semantics")
  frames[1] += frames[0]
  frames[0] = 0
  with pytest.raises(ValueError, match="an utterance has no frames"):
    PackedTokens(damage(path, tmp_path, frames=frames))
  count = len(semantics) - 1
  semantics[[0, count]] = 0, semantics[0] + semantics[count]
  broken = damage(path, tmp_path, semantics=semantics)
  with pytest.raises(ValueError, match=r"record 'utt-\d+'.*semantic tokens"):
    source(broken, split="test").arrays()
