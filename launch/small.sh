#!/usr/bin/env bash
# The small weights, all three systems, on one accelerator in so many seconds:
# the codec with its teacher, SoundStorm, then AudioLM's two stages. Needs no
# TensorFlow.
#
#   launch/small.sh --speech=dev-clean,train-clean-100 --tokens=tokens.safetensors \
#     --teacher=teacher.safetensors --output=runs/small --seconds=540
#
# --speech     folders of recordings, for the codec
# --tokens     a packed file of tokens that the teacher made
# --teacher    weights of the codec to learn from, of 12 levels of 1024 codes
# --held_out   speakers for the codec to be evaluated on, not trained on
# --seconds    of training in all; reading and compilation count, exports do not
# --tiny       small sizes and few steps, to try this script
#
# Each part has its share of the time, saves its state when that is over, and
# exports its averaged weights, as they are: where steps are left, the learning
# rate has not come down. The same command gives each part that has steps left
# its share again, and it goes on from its state; a part without is not run
# again. SIGINT and SIGTERM save the state too, and end the script.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
speech="" tokens="" teacher="" output="" seconds=540 size=small
held_out="1272,2035,2412,422"
for argument in "$@"; do
  case "$argument" in
    --speech=*) speech=${argument#*=} ;;
    --tokens=*) tokens=${argument#*=} ;;
    --teacher=*) teacher=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --held_out=*) held_out=${argument#*=} ;;
    --seconds=*) seconds=${argument#*=} ;;
    --tiny) size=tiny ;;
    *) echo "$0: unknown argument $argument" >&2; exit 2 ;;
  esac
done
for name in speech tokens teacher output; do
  if [[ -z "${!name}" ]]; then
    echo "$0: --$name is needed" >&2
    exit 2
  fi
done
# No leading 0, which would make it octal.
if ! [[ "$seconds" =~ ^[1-9][0-9]*$ ]] || ((seconds < 10)); then
  echo "$0: --seconds must be a number of at least 10, got $seconds" >&2
  exit 2
fi

held_out=${held_out//,/"','"}
python=${PYTHON:-python}
# The script's own package, from whatever folder it is called.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# In the background, for a signal to reach the run before it ends.
running=""
stopped=0
stop() {
  stopped=$1
  if [[ -z "$running" ]]; then
    exit "$stopped"
  fi
  kill -TERM "$running" || true
}
trap 'stop 130' INT
trap 'stop 143' TERM

# train NAME SHARE ARGUMENTS...: SHARE per cent of the time for one run, which
# saves its state at the signal; then its weights.
train() {
  local name=$1 limit=$((seconds * $2 / 100)) status=0
  local workdir=$output/$name
  shift 2
  if [[ -e "$workdir/finished" ]]; then
    echo "== $name: all its steps are done" >&2
    return
  fi
  echo "== $name: $limit s" >&2
  timeout --signal=TERM "$limit" "$python" -m soundstorm_jax.train \
    --workdir="$workdir" "$@" &
  running=$!
  wait "$running" || status=$?
  if ((stopped)); then
    # The signal ended the wait, not the run, which is saving its state.
    wait "$running" || true
    exit "$stopped"
  fi
  running=""
  # 124: the time was over.
  if ((status != 0 && status != 124)); then
    echo "$0: $name failed, with status $status" >&2
    exit "$status"
  fi
  if [[ -z $(find "$workdir/checkpoints" -maxdepth 1 -name '[0-9]*' \
    2>/dev/null) ]]; then
    echo "$0: $name: $limit s were over before the first step; it needs" \
      "longer to read and compile, so give more --seconds" >&2
    exit 1
  fi
  "$python" -m soundstorm_jax.export --workdir="$workdir" \
    --output="$output/$name.safetensors"
  if ((status == 0)); then
    touch "$workdir/finished"
  fi
}

if [[ $size == tiny ]]; then
  # The discriminators join, since their part is to be tried too.
  codec=(--config.batch_size=2 --config.steps=4 --config.log_every=2
    --config.eval_every=4 --config.data.window_seconds=0.5
    --config.data.eval_batches=1 --config.system.mel_start=2
    --config.system.adversarial_start=2)
  storm=(--config="$root/configs/tiny.py:20")
  stages=()
else
  # As many windows as the config's 40,000 steps of six have, mel loss and
  # discriminators as early among them.
  codec=(--config.batch_size=32 --config.steps=7500
    --config.system.mel_start=4700
    --config.system.adversarial_start=4700)
  # 6000 steps: 160 s on an H200, and its compilation.
  storm=(--config="$root/configs/small.py"
    --config.system.model.conformer.dtype=bfloat16)
  # The coarse stage's take a minute on an H200.
  stages=(--config.batch_size=32 --config.steps=4300
    --config.optimizer.lr=2e-3)
fi
train soundstream 36 --config="$root/configs/soundstream.py:light" \
  "${codec[@]}" --config.data.path="$speech" --config.data.on_device=True \
  --config.data.workers="$(nproc)" \
  --config.data.held_out_speakers="('$held_out',)" \
  --config.system.teacher="$teacher"
train soundstorm 36 "${storm[@]}" --config.data.path="$tokens" \
  --config.system.codec_weights="$output/soundstream.safetensors"
for stage in coarse fine; do
  train "audiolm_$stage" 14 \
    --config="$root/configs/audiolm_$stage.py:$size" "${stages[@]}" \
    --config.data.path="$tokens"
done
