"""Measures of semantic tokens, against definitions and clear cases."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics

from soundstorm_jax.evaluation import phonetic
from soundstorm_jax.evaluation.phonetic import Spoken


def measures(spoken, **changes):
  sizes = {"phones": 4, "clusters": 6, "steps_per_token": 4} | changes
  return {
    name.removeprefix("semantic/"): value
    for name, value in phonetic.phonetic_measures(spoken, **sizes)
  }


def test_information_of_counts():
  rng = np.random.default_rng(0)
  rows, columns = rng.integers(0, 4, 500), rng.integers(0, 6, 500)
  columns[:200] = rows[:200]
  counts = np.zeros((4, 6))
  np.add.at(counts, (rows, columns), 1)
  information = metrics.mutual_info_score(rows, columns)
  assert phonetic.mutual_information(counts) == pytest.approx(information)
  share = counts.sum(1) / 500
  entropy = -(share * np.log(share)).sum()
  assert phonetic.entropy(counts.sum(1)) == pytest.approx(entropy)
  assert phonetic.explained(counts) == pytest.approx(information / entropy)


def test_purity_is_the_share_of_the_commonest():
  counts = np.array([[8.0, 1.0, 0.0], [2.0, 4.0, 5.0]])
  assert phonetic.purity(counts) == pytest.approx((8 + 4 + 5) / 20)
  assert phonetic.purity(counts.T) == pytest.approx((8 + 5) / 20)


def test_a_token_has_the_phone_in_its_middle():
  phones = np.arange(10)
  four = phonetic.phones_of_tokens(phones, 3, steps_per_token=4)
  np.testing.assert_array_equal(four, [2, 6, -1])
  odd = phonetic.phones_of_tokens(phones, 4, steps_per_token=Fraction(100, 40))
  np.testing.assert_array_equal(odd, [1, 3, 6, 8])


def test_tokens_that_are_the_phones_tell_all_of_them():
  rng = np.random.default_rng(0)
  spoken = []
  for number in range(40):
    phones = rng.integers(0, 4, 30)
    spoken.append(Spoken(f"s{number % 2}", phones, np.repeat(phones, 4)))
  found = measures(spoken)
  assert found["pnmi"] == pytest.approx(1)
  assert found["phone_purity"] == found["cluster_purity"] == 1
  assert found["speaker_nmi"] < 0.01
  assert found["speaker_accuracy"] < 0.8
  assert found["speaker_chance"] == 0.5
  assert found["used"] == 4
  assert found["tokens"] == 40 * 30


def test_tokens_that_are_the_speaker_tell_nothing_else():
  rng = np.random.default_rng(0)
  spoken = [
    Spoken(f"s{h}", np.full(30, h), np.repeat(rng.integers(0, 4, 30), 4))
    for h in (0, 1, 2) * 5
  ]
  found = measures(spoken)
  assert found["pnmi"] < 0.05
  assert found["speaker_nmi"] == pytest.approx(1)
  assert found["speaker_accuracy"] == 1


def test_unknown_phones_do_not_count():
  spoken = [
    Spoken("a", np.array([1, 2]), np.array([3] * 4 + [-1] * 4)),
    Spoken("b", np.array([1, 2]), np.array([3] * 4)),
  ]
  assert measures(spoken)["tokens"] == 2


def test_refuses_what_says_nothing():
  one = Spoken("a", np.array([1]), np.array([1] * 4))
  with pytest.raises(ValueError, match="two or more, got 1"):
    measures([one, one])
  silent = Spoken("b", np.array([1]), np.array([-1] * 4))
  with pytest.raises(ValueError, match="none of 2 utterances"):
    measures([silent, silent._replace(speaker="c")])
