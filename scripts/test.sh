#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# All checks; sets up first. Arguments go to pytest, but for --all as the first of them: then what is
# optional is installed and tested, too (PyTorch's CPU build, MediaPipe, Chromium).
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
MEDIAPIPE='' OWN=test/test_inference_mediapipe.py
if [ "${1:-}" = --all ]; then
  shift
  # shellcheck source=scripts/extras.sh
  . "$ROOT/scripts/extras.sh"
  aitable_setup tests
  aitable_setup_extras
else
  aitable_setup tests
fi
cd "$ROOT"
fell='' status=0
"$VENV/bin/ruff" check . || fell='ruff'
"$VENV/bin/mypy" || fell="$fell mypy"
elsewhere=()
if [ -x "$MEDIAPIPE/bin/python" ]; then
  elsewhere=("--ignore=$OWN")
  "$MEDIAPIPE/bin/python" -m pytest "$OWN" || status=$?
fi
# Tests wait more than they compute, so there is one worker more than there are cores.
"$VENV/bin/python" -m pytest -n "$(($(nproc) + 1))" --dist worksteal ${elsewhere[@]+"${elsewhere[@]}"} "$@" || status=$?
[ -z "$fell" ] || { say "not clean: $fell (see above)"; [ $status != 0 ] || status=1; }
exit $status
