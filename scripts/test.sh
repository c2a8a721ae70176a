#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# All checks; sets up first. Arguments go to pytest. With --all as the first of them the script also installs
# and tests what is optional (PyTorch's CPU build, MediaPipe, Chromium), and asks the package index whether
# every pin has a wheel for every Python.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
MEDIAPIPE='' OWN=(test/test_inference_mediapipe.py test/test_posture_mediapipe.py)
if [ "${1:-}" = --all ]; then
  shift
  # shellcheck source=scripts/extras.sh
  . "$ROOT/scripts/extras.sh"
  aitable_setup tests
  aitable_setup_extras
  export AITABLE_TEST_ALL=1
else
  aitable_setup tests
fi
cd "$ROOT"
fell='' status=0
"$VENV/bin/ruff" check . || fell='ruff'
"$VENV/bin/isort" --check --diff -q . || fell="$fell isort"
# What keeps one core busy runs beside the tests, and says so after them.
beside=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$beside"' EXIT
"$VENV/bin/mypy" >"$beside/mypy" 2>&1 &
mypy=$! mediapipe='' elsewhere=()
if [ -x "$MEDIAPIPE/bin/python" ]; then
  elsewhere=("${OWN[@]/#/--ignore=}")
  "$MEDIAPIPE/bin/python" -m pytest "${OWN[@]}" >"$beside/mediapipe" 2>&1 &
  mediapipe=$!
fi
# Tests wait as long as they compute, so there are two workers a core.
"$VENV/bin/python" -m pytest -n "$((2 * $(nproc)))" --dist worksteal ${elsewhere[@]+"${elsewhere[@]}"} "$@" || status=$?
[ -z "$mediapipe" ] || wait "$mediapipe" || status=$?
wait "$mypy" || fell="$fell mypy"
cat "$beside"/*
[ -z "$fell" ] || { say "not clean: $fell (see above)"; [ $status != 0 ] || status=1; }
exit $status
