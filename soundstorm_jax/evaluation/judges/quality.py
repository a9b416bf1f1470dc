"""How good does it sound? Mean opinion scores, from 1 to 5, as estimated.

Both networks hear what follows the prompt, and not the prompt, which is the
codec's. Neither knows what was to be said, or how the recording sounded.

Both hear windows of one length, and a score is the mean over them. The packages
move them by a second each time; here they overlap by half, which takes a fourth
of the time.

Axes: N samples, W windows, S samples of a window.
"""

import contextlib
import math
import pathlib
import sys

import numpy as np
from jaxtyping import Float

from soundstorm_jax.evaluation.judges import (
  RATE,
  Column,
  Judgement,
  Sample,
  Score,
  require,
  version,
)


class Dnsmos:
  """DNSMOS P.835 (overall) and P.808, by Microsoft; see `Judge`.

  What is shorter than its windows of 9.01 s is repeated.

  Raises:
    ImportError: speechmos or onnxruntime is not installed.
  """

  columns = (
    Column("dnsmos", "DNSMOS", 2, "P.835 overall, after the prompt"),
    Column("dnsmos_p808", "DNSMOS P.808", 2, "after the prompt"),
  )

  def __init__(self):
    dnsmos = require("speechmos.dnsmos")
    onnx = require("onnxruntime")
    self.name = f"{version('speechmos')} on {version('onnxruntime')}"
    folder = pathlib.Path(dnsmos.__file__).parent / "dnsmos_models"
    paths = [
      str(folder / f"{name}.onnx") for name in ("sig_bak_ovr", "model_v8")
    ]
    self._estimate = dnsmos.DNSMOS(*paths)
    # Its own sessions take every core there is, which on a busy machine wait
    # for each other for several times as long as they compute.
    options = onnx.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    self._estimate.onnx_sess, self._estimate.p808_onnx_sess = (
      onnx.InferenceSession(path, options) for path in paths
    )

  def __call__(self, sample: Sample) -> Judgement:
    values = [
      self._estimate(window.clip(-1, 1), RATE, False)
      for window in windows(sample.rest, int(9.01 * RATE))
    ]
    return Judgement(
      {
        column: Score(float(np.mean([value[name] for value in values])), 1)
        for column, name in (
          ("dnsmos", "ovrl_mos"),
          ("dnsmos_p808", "p808_mos"),
        )
      }
    )


class DistillMos:
  """DistillMOS, by Microsoft, distilled from XLS-R; see `Judge`.

  Raises:
    ImportError: distillmos or torch is not installed.
  """

  columns = (Column("distillmos", "DistillMOS", 2, "after the prompt"),)

  def __init__(self):
    self._torch = require("torch")
    # It reads files with torchaudio, which must match the build of torch; we
    # give it arrays.
    distillmos = require("distillmos", torchaudio={})
    self.name = f"{version('distillmos')} on {version('torch')}"
    self._size = distillmos.sqa.SEQ_LEN
    # It says on the standard output where its weights are.
    with contextlib.redirect_stdout(sys.stderr):
      self._model = distillmos.ConvTransformerSQAModel().eval()

  def __call__(self, sample: Sample) -> Judgement:
    # It pads what is shorter than a window.
    batch = np.stack(windows(sample.rest, self._size))
    with self._torch.inference_mode():
      values = self._model(self._torch.from_numpy(batch))
    return Judgement({"distillmos": Score(float(values.mean()), 1)})


def windows(
  audio: Float[np.ndarray, "N"], size: int
) -> list[Float[np.ndarray, "S"]]:
  """Windows of a size, evenly spaced over all of it, half overlapping or more.

  What is no longer than one is returned as it is.
  """
  spare = max(0, len(audio) - size)
  steps = math.ceil(spare / (size / 2))
  starts = [round(spare * n / max(1, steps)) for n in range(steps + 1)]
  return [audio[start : start + size] for start in starts]
