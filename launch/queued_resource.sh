#!/usr/bin/env bash
# TPU pod slices by queued resources, without Kubernetes; see launch/README.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/queued_resource.sh ACTION --name=NAME --project=PROJECT --zone=ZONE
         [options]

actions
  create   ask for the slice; it comes when there is one
             --type=TYPE      v5litepod-256, v5p-128, v6e-64, v4-64, ...
             --spot           cheaper, and may be taken away
  status   print the state of the request; ACTIVE means that it is there
  install  put this repository and its locked packages on every host
  train    start training on every host; the first to fail ends it
             --config=FILE    a file of configs/, FILE:ARG passes an argument
             --workdir=DIR    gs://BUCKET/... for checkpoints and logs
             --data=DIR       gs://BUCKET/... of a token dataset
  delete   give the slice back

options
  --dry-run  print the commands instead of running them
TEXT
}

fail() {
  echo "queued_resource.sh: $1" >&2
  echo "Try launch/queued_resource.sh --help." >&2
  exit 2
}

# Prints a command and runs it, unless this is a dry run.
run() {
  printf '%q ' "$@"
  echo
  if [[ -z "$dry_run" ]]; then
    "$@"
  fi
}

check() {  # check FLAG VALUE PATTERN EXPECTATION
  [[ -n "$2" ]] || fail "$action needs $1"
  [[ "$2" =~ $3 ]] || fail "$1 must be $4, got '$2'"
}

if [[ $# -eq 0 || "$1" == --help ]]; then
  usage
  exit 0
fi
action="$1"
shift
name='' project='' zone='' type='' spot='' config='' workdir='' data='' dry_run=''
for argument in "$@"; do
  case "$argument" in
    --name=*) name="${argument#*=}" ;;
    --project=*) project="${argument#*=}" ;;
    --zone=*) zone="${argument#*=}" ;;
    --type=*) type="${argument#*=}" ;;
    --config=*) config="${argument#*=}" ;;
    --workdir=*) workdir="${argument#*=}" ;;
    --data=*) data="${argument#*=}" ;;
    --spot) spot=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown argument '$argument'" ;;
  esac
done

case "$action" in
  create | status | install | train | delete) ;;
  *) fail "unknown action '$action'" ;;
esac
check --name "$name" '^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$' \
  'lower-case letters, digits and hyphens'
check --project "$project" '^[a-z][-a-z0-9]{4,28}[a-z0-9]$' 'a project id'
check --zone "$zone" '^[a-z]+-[a-z]+[0-9]+-[a-z]$' 'a zone like us-east5-a'
where=(--project="$project" --zone="$zone")

create() {
  check --type "$type" '^(v4|v5litepod|v5p|v6e)-[1-9][0-9]*$' \
    'v4-N, v5litepod-N, v5p-N or v6e-N'
  local image
  case "$type" in
    v4-*) image=tpu-ubuntu2204-base ;;
    v5litepod-*) image=v2-alpha-tpuv5-lite ;;
    v5p-*) image=v2-alpha-tpuv5 ;;
    v6e-*) image=v2-alpha-tpuv6e ;;
  esac
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" \
    "${where[@]}" --accelerator-type="$type" --runtime-version="$image" \
    ${spot:+--spot}
}

status() {
  run gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    --format='value(state.state)'
}

on_every_host() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all \
    --command="$1"
}

install() {
  local archive
  archive="$(mktemp -d)/soundstorm.tar.gz"
  run git archive --format=tar.gz --output="$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name":soundstorm.tar.gz \
    "${where[@]}" --worker=all
  # The hosts' own Python is too old: uv brings one.
  on_every_host 'set -e; mkdir -p soundstorm; tar xzf soundstorm.tar.gz -C soundstorm
cd soundstorm; python3 -m pip install --user --require-hashes -r requirements/uv.lock
uv="python3 -m uv"; $uv venv --clear --python=3.12 .venv
$uv pip install --compile-bytecode --require-hashes -r requirements/tpu.lock
$uv pip install --no-deps --no-build-isolation --editable .'
}

train() {
  check --config "$config" '^configs/[a-z0-9_]+\.py(:[A-Za-z0-9_,=.-]+)?$' \
    'a file of configs/'
  check --workdir "$workdir" '^gs://[A-Za-z0-9._/-]+$' 'gs://BUCKET/...'
  check --data "$data" '^gs://[A-Za-z0-9._/-]+$' 'gs://BUCKET/...'
  # A run that is started again goes on from its last checkpoint.
  on_every_host "cd soundstorm && .venv/bin/python -m soundstorm_jax.train \
--config=$config --workdir=$workdir --config.data.path=$data --distributed"
}

delete() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" \
    --force --quiet
}

"$action"
