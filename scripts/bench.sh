#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# What everything costs on this machine, beside other people's software; sets up first. Arguments go
# to `python -m benchmarks`: --quick, --clip FILE, --with-fer, or one part. See docs/performance.md.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
aitable_setup
cd "$ROOT"
exec "$VENV/bin/python" -m benchmarks "$@"
