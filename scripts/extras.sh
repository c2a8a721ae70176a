# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by test.sh after env.sh: what only `scripts/test.sh --all` tests with. What cannot be had
# here costs a line, not the run; pytest lists the tests that skip.

# Prints the address of what pip would install, or why that will not do.
_torch_source() {
  _pip install --dry-run --no-deps --ignore-installed --quiet --report - -r "$ROOT/requirements/torch.txt" |
    "$VENV/bin/python" -c '
import json, sys
torch = next(one for one in json.load(sys.stdin)["install"] if one["metadata"]["name"] == "torch")
gpu = [need for need in torch["metadata"].get("requires_dist", []) if need.startswith(("nvidia", "cuda"))]
sys.exit("pip finds only a CUDA build of several gigabytes (PIP_EXTRA_INDEX_URL can name an index of CPU builds)" if gpu else 0)'
}

# Installs PyTorch's CPU build into $VENV.
_torch() {
  local key why
  key=$({ _requirements; cat "$ROOT/requirements/torch.txt"; } | hash_of)
  _done torch "$key" && return
  if ! why=$(_torch_source 2>&1); then
    say "no PyTorch: $(printf '%s\n' "$why" | tail -n1)"
  elif _logged 'PyTorch' _install -r "$ROOT/requirements/torch.txt"; then
    _stamp torch "$key"
  else
    say "no PyTorch: $(tail -n1 "$LOG")"
  fi
}

# Makes $MEDIAPIPE: an environment of what MediaPipe needs in other versions, and $VENV behind it.
_mediapipe() {
  local key
  MEDIAPIPE=$ROOT/.venv-mediapipe
  key=$({ printf '%s\n' "$PYTHON_VERSION $VENV"; _requirements; cat "$ROOT/requirements/mediapipe.txt"; } | hash_of)
  [ "$(cat "$MEDIAPIPE/done" 2>/dev/null)" != "$key" ] || return 0
  rm -rf "$MEDIAPIPE"
  if _logged 'MediaPipe' _make_mediapipe; then
    printf '%s\n' "$key" >"$MEDIAPIPE/done"
  else
    say "no MediaPipe: $(grep -m1 '^ERROR' "$LOG" || tail -n1 "$LOG")"
    rm -rf "$MEDIAPIPE"
  fi
}

_make_mediapipe() {
  local packages
  "$VENV/bin/python" -m venv --without-pip "$MEDIAPIPE" || return
  packages=$("$MEDIAPIPE/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return
  "$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/behind.pth" || return
  _pip --python "$MEDIAPIPE/bin/python" install --no-deps --ignore-installed --retries 2 --progress-bar off \
    -r "$ROOT/requirements/mediapipe.txt"
}

# The reports and the monitor's page are looked at in a browser.
_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    ! command -v "$name" >/dev/null || return 0
  done
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say 'no Chromium: install it (sudo apt-get install chromium)'
  elif ! { _logged 'apt-get update' apt-get update &&
    _logged 'Chromium' env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; }; then
    say "no Chromium: $(tail -n1 "$LOG")"
  fi
}

# Sets MEDIAPIPE; call it after aitable_setup.
aitable_setup_extras() {
  exec 9>"$ROOT/.venv.lock"
  flock 9
  _torch
  _mediapipe
  _chromium
  exec 9>&-
}
