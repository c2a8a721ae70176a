#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# A camera, the nodes and a report, on this machine; sets up first. Arguments go to `aitable demo`.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
aitable_setup
case " $* " in *' --posture '*)
  "$VENV/bin/aitable" models fetch blazepose_detector blazepose >/dev/null ;;
esac
exec "$VENV/bin/aitable" demo "$@"
