"""Jobs: what manifests and ids may be."""

import pytest

from soundstorm_jax.speech.jobs import Job, check_ids, manifest_jobs


def test_bad_ids_and_manifests(tmp_path):
  for bad in ("", "/a", "a/../../b"):
    with pytest.raises(ValueError, match="below OUTPUT"):
      check_ids([Job(bad, "x")])
  with pytest.raises(ValueError, match="two requests have the id 'a'"):
    check_ids([Job("a", "x"), Job("a", "y")])
  manifest = tmp_path / "m.csv"
  manifest.write_text("contents\nx\n")
  with pytest.raises(ValueError, match="lacks the column content"):
    manifest_jobs(manifest)
  manifest.write_text("content,seed\nx,one\n")
  with pytest.raises(ValueError, match="whole number, got 'one'"):
    manifest_jobs(manifest)
  manifest.write_text("id,content,prompt\nmine,u1,u2\n,u3,\n")
  assert manifest_jobs(manifest, seed=4) == [
    Job("mine", "u1", "u2", 4),
    Job("u3", "u3", "", 4),
  ]
