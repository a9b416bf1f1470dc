#!/usr/bin/env bash
# The small weights, all three systems, on one accelerator in so many seconds:
# the codec with its teacher, SoundStorm, then AudioLM's two stages in
# SoundStorm's time. Needs no TensorFlow. Each part saves its state when its
# time is over; the same command goes on from there, another day too.
#
#   launch/small.sh --speech=dev-clean,train-clean-100 --tokens=tokens.safetensors \
#     --teacher=teacher.safetensors --output=runs/small --seconds=540
#
# --speech     folders of recordings, for the codec
# --tokens     a packed file of tokens that the teacher made
# --teacher    weights of the codec to learn from
# --held_out   speakers to evaluate on, not to train on
# --seconds    of training in all; compilation counts, exports do not
# --tiny       the configs' smallest sizes, to try this script
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

speech="" tokens="" teacher="" output="" seconds=540 size=small
held_out="'1272','2035','2412','422'"
for argument in "$@"; do
  case "$argument" in
    --speech=*) speech=${argument#*=} ;;
    --tokens=*) tokens=${argument#*=} ;;
    --teacher=*) teacher=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --held_out=*) held_out="'${argument#*=}'"; held_out=${held_out//,/"','"} ;;
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
if ! [[ "$seconds" =~ ^[0-9]+$ ]] || ((seconds < 10)); then
  echo "$0: --seconds must be a number of at least 10, got $seconds" >&2
  exit 2
fi

python=${PYTHON:-python}

# train NAME SHARE ARGUMENTS...: SHARE per cent of the time for one run, which
# saves its state at the signal; then its weights.
train() {
  local name=$1 limit=$((seconds * $2 / 100)) status=0
  shift 2
  echo "== $name: $limit s" >&2
  timeout --signal=TERM "$limit" "$python" -m soundstorm_jax.train \
    --workdir="$output/$name" "$@" || status=$?
  # 124: the time was over.
  if ((status != 0 && status != 124)); then
    exit "$status"
  fi
  "$python" -m soundstorm_jax.export --workdir="$output/$name" \
    --output="$output/$name.safetensors"
}

if [[ $size == tiny ]]; then
  codec=configs/soundstream.py:light
  extra=(--config.batch_size=2 --config.steps=4 --config.eval_every=4
    --config.data.window_seconds=0.5)
  storm=configs/tiny.py
else
  codec=configs/soundstream.py:light
  extra=(--config.batch_size=32)
  storm=configs/small.py
fi
train soundstream 40 --config="$codec" "${extra[@]}" \
  --config.data.path="$speech" --config.data.on_device=True \
  --config.data.held_out_speakers="($held_out,)" \
  --config.codec_training.teacher="$teacher"
train soundstorm 30 --config="$storm" --config.data.path="$tokens" \
  --config.codec_weights="$output/soundstream.safetensors"
for stage in coarse fine; do
  train "audiolm_$stage" 15 --config="configs/audiolm_$stage.py:$size" \
    --config.data.path="$tokens"
done
