"""The comparison's turns, ratios and protocol; no peer is needed."""

import json
import subprocess
import sys

import pytest

from benchmarks.peers import compare, theirs, worker
from benchmarks.peers.compare import Run, Worker, alternate, summarize

# A side that says what it is, and answers two jobs.
_SIDE = """
import os, sys, time
from benchmarks.peers.worker import serve
print("a library's chatter")
def work():
  print("more of it")
  os.write(1, b"and some from C\\n")
  time.sleep(0.02)
def busy():
  while time.process_time() < 0.5:
    pass
serve({"work": work, "busy": busy}, {"passes": 27})
"""


def _run(seconds, *, cpu=1.0, idle=0.0):
  return Run(seconds=seconds, cpu_s=cpu, idle_cpu_s=idle)


def test_sides_take_turns_and_neither_is_always_first():
  order = list(compare.turns(4))
  assert order == [
    (0, "ours"),
    (0, "theirs"),
    (1, "theirs"),
    (1, "ours"),
    (2, "ours"),
    (2, "theirs"),
    (3, "theirs"),
    (3, "ours"),
  ]


def test_alternation_warms_up_and_pairs_what_ran_together():
  called = []

  def side(name):
    def run():
      called.append(name)
      return _run(float(len(called)))

    return run

  runs = alternate({"theirs": side("theirs"), "ours": side("ours")}, repeats=2)
  assert called == ["ours", "theirs", "ours", "theirs", "theirs", "ours"]
  # The first two calls are not measured; a pair has one run of each.
  assert [run.seconds for run in runs["ours"]] == [3.0, 6.0]
  assert [run.seconds for run in runs["theirs"]] == [4.0, 5.0]


def test_ratio_is_of_the_pairs_and_not_of_the_medians():
  # The machine slows down fivefold in between: every pair says 0.5.
  summary = summarize(
    {
      "ours": [_run(1.0, cpu=3.0), _run(2.0, cpu=3.0), _run(5.0, cpu=3.0)],
      "theirs": [_run(2.0, cpu=4.0), _run(4.0, cpu=4.0), _run(10.0, cpu=4.0)],
    }
  )
  assert summary.ratio == summary.ratio_low == summary.ratio_high == 0.5
  assert summary.cpu_ratio == 0.75
  assert (summary.ours_s, summary.theirs_s, summary.pairs) == (2.0, 4.0, 3)
  # One disturbed pair moves the ends and not the middle.
  summary = summarize(
    {
      "ours": [_run(1.0), _run(9.0), _run(1.0)],
      "theirs": [_run(2.0), _run(2.0), _run(2.0)],
    }
  )
  assert (summary.ratio, summary.ratio_high) == (0.5, 4.5)
  assert summary.ratio_low == 0.5


def test_work_out_of_turn_shows():
  summary = summarize(
    {"ours": [_run(1.0, idle=0.5)], "theirs": [_run(4.0, idle=0.0)]}
  )
  assert summary.idle_cpu_share == pytest.approx(0.1)


def test_table_shows_each_job():
  summary = summarize({"ours": [_run(0.9)], "theirs": [_run(1.8)]})
  head, line = compare.table({"pass": summary}).splitlines()
  assert "ours" in head
  assert line.split()[:6] == ["pass", "900.0", "ms", "1.80", "s", "0.500"]


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: list(compare.turns(0)), "repeats must be at least 1, got 0"),
    (
      lambda: alternate({"ours": lambda: _run(1.0)}, repeats=1),
      "sides must be",
    ),
    (
      lambda: summarize({"ours": [_run(1.0)], "theirs": []}),
      "got 1 and 0 runs",
    ),
    (lambda: summarize({"ours": [], "theirs": []}), "got 0 and 0 runs"),
    (lambda: worker.pin(0), "threads must be from 1 to .*, got 0"),
    (lambda: worker.pin(9999), "threads must be from 1 to .*, got 9999"),
  ],
)
def test_refuses(call, message):
  with pytest.raises(ValueError, match=message):
    call()


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--frames=0", "--frames must be at least 1, got 0"),
    ("--threads=0", "--threads must be at least 1, got 0"),
    ("--repeats=0", "--repeats must be at least 1, got 0"),
    ("--generations=-1", "--generations must be at least 0, got -1"),
    ("--layers=0", "--layers must be at least 1, got 0"),
    ("--streams=0", "--streams must be at least 1, got 0"),
    ("--jobs=nap", "invalid choice: 'nap'"),
    ("--size=vast", "--size must be one of .*, got 'vast'"),
  ],
)
def test_program_refuses(argument, message, capsys):
  with pytest.raises(SystemExit):
    compare.main(["--peer_python=python", argument])
  assert message.partition(".*")[0] in capsys.readouterr().err


def test_worker_answers_whatever_its_libraries_print(capfd):
  side = Worker("ours", [sys.executable, "-c", _SIDE], environment={})
  try:
    assert side.about == {"passes": 27}
    first, second = side.run("work"), side.run("busy")
  finally:
    side.close()
  assert 0.02 <= first.seconds < 1
  assert first.cpu_s < 0.02
  assert second.cpu_s > 0.2
  assert second.idle_cpu_s < 0.1
  assert "some from C" in capfd.readouterr().err


def test_worker_that_ends_is_an_error():
  with pytest.raises(RuntimeError, match="ended with status 3"):
    Worker(
      "theirs", [sys.executable, "-c", "raise SystemExit(3)"], environment={}
    )
  side = Worker("ours", [sys.executable, "-c", _SIDE], environment={})
  with pytest.raises(RuntimeError, match="ended with status 1"):
    side.run("something else")
  side.close()


def test_our_side_runs_every_job():
  command = [sys.executable, "-m", "benchmarks.peers.ours"]
  done = subprocess.run(
    [*command, "--size=tiny", "--frames=8", "--threads=1", "--layers=2"],
    cwd=compare.ROOT,
    input="".join(json.dumps({"job": job}) + "\n" for job in compare.JOBS),
    capture_output=True,
    text=True,
    check=True,
  )
  about, *answers = map(json.loads, done.stdout.splitlines())
  assert about["passes"] == 27
  assert about["threads"] == 1
  assert 0 < about["conformer_parameters"] < about["parameters"]
  assert len(answers) == len(compare.JOBS)
  assert all(answer["seconds"] > 0 for answer in answers)


def test_stand_ins_are_what_is_imported(monkeypatch):
  for name in theirs._STAND_INS:
    monkeypatch.setitem(sys.modules, name, None)
  theirs.stand_in()
  from audiolm_pytorch import SoundStream
  from audiolm_pytorch.data import get_dataloader

  assert isinstance(SoundStream, type)
  assert isinstance(get_dataloader, type)
