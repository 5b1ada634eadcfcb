#!/usr/bin/env bash
# Makes the virtual environment: the locked packages by hash, then the members of this workspace as editable installs.
# usage: setup.sh VENV MEMBER...
set -euo pipefail
venv=$1; shift
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "setup: Python 3.11 is needed (found: $("$python" --version 2>&1)); set PYTHON=/path/to/python3.11" >&2; exit 1; }
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        echo "setup: python3-venv is missing: apt-get install python3.11-venv" >&2; exit 1; }
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
export UV_PYTHON_DOWNLOADS=never
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --require-hashes -r requirements.lock
editable=()
for member in "$@"; do editable+=(-e "$member"); done
# hatchling and editables are locked packages of the environment, so nothing is fetched without a hash
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation "${editable[@]}"
touch "$venv/.ready"
