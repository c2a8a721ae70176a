#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# What this machine can do, over real topics; sets up first. Arguments go to `aitable bench ros`.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
aitable_setup
exec "$VENV/bin/aitable" bench ros "$@"
