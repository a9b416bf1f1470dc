#!/usr/bin/env bash
# Makes the peer's environment: make_environment.sh [FOLDER], .venv-peers if
# none is named. Needs Python 3.11 on x86-64 Linux, as python3.11 or its name in
# PYTHON, and an index of packages with PyTorch's CPU builds: see README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3.11}
folder=${1:-.venv-peers}

"$python" -c 'import platform, sys; sys.exit(
  None if sys.version_info[:2] == (3, 11) and platform.system() == "Linux"
  and platform.machine() == "x86_64"
  else "Python 3.11 on x86-64 Linux is needed: the lock has no other builds")'
"$python" -m venv --clear "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --no-deps --require-hashes --only-binary :all: \
  --requirement "$here/requirements.lock"
# It imports, and so is whole.
cd "$here/../.."
case $folder in /*) ;; *) folder=$OLDPWD/$folder ;; esac
"$folder/bin/python" -c '
from benchmarks.peers import theirs
theirs.stand_in()
import soundstorm_pytorch, torch
print("soundstorm-pytorch is ready, with PyTorch", torch.__version__)'
