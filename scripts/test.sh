#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# All checks; sets up first. Arguments go to pytest.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
aitable_setup tests
cd "$ROOT"
fell=''
"$VENV/bin/ruff" check . || fell='ruff'
"$VENV/bin/mypy" || fell="$fell mypy"
status=0
# Tests wait more than they compute, so there is one worker more than there are cores.
"$VENV/bin/python" -m pytest -n "$(($(nproc) + 1))" --dist worksteal "$@" || status=$?
[ -z "$fell" ] || { say "not clean: $fell (see above)"; [ $status != 0 ] || status=1; }
exit $status
