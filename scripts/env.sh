# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts beside it. aitable_setup makes $VENV: Python, ROS 2, aitable_msgs, this
# package, the models. Each step leaves a stamp with the hash of what went in, written last, so an
# interrupted or outdated step is done again and nothing else is.
#
#   AITABLE_PYTHON      the Python to use (3.10 to 3.14); default: python3, then newer to older
#   ROS_DISTRO_WHEELS   kilted or jazzy: ROS 2 from PyPI even where a ROS 2 is sourced
#   AITABLE_MODELS      where the models go; default ~/.cache/aitable

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf 'aitable: %s\n' "$*" >&2; }
fail() { say "$1"; exit "${2:-1}"; }
hash_of() { sha256sum | cut -c1-32; }

# --- what to build on --------------------------------------------------------------------------

# The ROS wheels re-exec Python with their folders in LD_LIBRARY_PATH. Called from inside such a
# process, we would hand another environment's libraries to ours.
_leave_ros_wheels() {
  [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] || return 0
  local entry kept='' IFS=:
  for entry in ${LD_LIBRARY_PATH:-}; do
    case $entry in */site-packages/ros_*.libs) continue ;; esac
    [ -f "$entry/../pyvenv.cfg" ] && continue
    kept=$kept${kept:+:}$entry
  done
  unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
  [ -z "$kept" ] || export LD_LIBRARY_PATH=$kept
}

# Prints 'version base-executable' of a Python that will do. A pyenv shim of a version that is not
# installed fails here like any other that does not run. The base, because we may be called from
# inside the very environment that is to be made anew.
_probe_python() {
  "$1" -c '
import os, platform, sys
if not (3, 10) <= sys.version_info[:2] <= (3, 14): sys.exit(1)
print(platform.python_version(), os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))' 2>/dev/null
}

_find_python() {
  local name found
  if [ -n "${AITABLE_PYTHON:-}" ]; then
    found=$(_probe_python "$AITABLE_PYTHON") ||
      fail "AITABLE_PYTHON=$AITABLE_PYTHON is not a Python 3.10 to 3.14" 2
  else
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
      found=$(_probe_python "$name") && break
    done
    [ -n "$found" ] || return 1
  fi
  PYTHON_VERSION=${found%% *} PYTHON=${found#* }
}

_choose_ros() {
  SOURCED=''
  if [ -z "${ROS_DISTRO_WHEELS:-}" ] && [ -n "${ROS_DISTRO:-}" ]; then
    if "$PYTHON" -c 'import rclpy' 2>/dev/null; then
      SOURCED=$ROS_DISTRO VENV=$ROOT/.venv ROS="ROS 2 $ROS_DISTRO as sourced"
      ROS_KEY="sourced $ROS_DISTRO ${AMENT_PREFIX_PATH:-}"
      return
    fi
    say "ROS 2 $ROS_DISTRO is sourced, but $PYTHON cannot import rclpy: using ROS 2 from PyPI"
  fi
  local distro=${ROS_DISTRO_WHEELS:-kilted}
  case $distro in
    kilted) VENV=$ROOT/.venv ;;
    jazzy) VENV=$ROOT/.venv-jazzy ;;
    *) fail "ROS_DISTRO_WHEELS=$distro: there are pins for kilted and jazzy" 2 ;;
  esac
  [ "$(uname -m)" = x86_64 ] ||
    fail "ROS 2 on PyPI is for x86_64, not $(uname -m): install ROS 2 and source its setup.bash" 2
  ROS="ROS 2 $distro from PyPI" ROS_KEY="wheels $distro" WHEELS=$distro
  # Nothing of a sourced ROS 2 may leak in.
  unset PYTHONPATH PYTHONHOME ROS_DISTRO AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
}

_system_packages() {
  local need=() version
  _find_python || need+=(python3 python3-venv python3-dev)
  if [ ${#need[@]} = 0 ]; then
    version=${PYTHON_VERSION%.*}
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || need+=("python$version-venv")
    "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
      need+=("python$version-dev")
  fi
  command -v cmake >/dev/null || need+=(cmake)
  command -v ninja >/dev/null || need+=(ninja-build)
  command -v c++ >/dev/null || need+=(g++)
  [ ${#need[@]} = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing: ${need[*]}; install them (sudo apt-get install ${need[*]}) and start again" 2
  fi
  say "installing ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  _logged 'apt-get update' apt-get update || say 'apt-get update fell short; trying with what is there'
  _logged 'apt-get install' apt-get install -y --no-install-recommends "${need[@]}" ||
    fail "apt-get could not install ${need[*]} (no network?); its output: $LOG" 2
  _find_python || fail 'no Python 3.10 to 3.14 here: install one and set AITABLE_PYTHON to it' 2
}

# --- steps -------------------------------------------------------------------------------------

# _logged WHAT COMMAND...: the command's output goes to $LOG; a terminal sees that it is alive.
_logged() {
  local what=$1 begin=$SECONDS status=0 heart=''
  shift
  LOG=$(mktemp "${TMPDIR:-/tmp}/aitable-setup.XXXXXX")
  if [ -t 2 ]; then  # the clock runs in the background, the command in front: Ctrl-C reaches it
    while kill -0 $$ 2>/dev/null; do
      printf '\r\033[Kaitable: %s ... %d s' "$what" "$((SECONDS - begin))" >&2
      sleep 0.5
    done 9>&- &
    heart=$!
  fi
  "$@" >"$LOG" 2>&1 </dev/null 9>&- || status=$?
  if [ -n "$heart" ]; then
    kill "$heart" 2>/dev/null
    wait "$heart" 2>/dev/null || true
    printf '\r\033[K' >&2
  fi
  [ $status != 0 ] || { rm -f "$LOG"; say "$what: $((SECONDS - begin)) s"; }
  return $status
}

_done() { [ "$(cat "$VENV/.aitable/$1" 2>/dev/null)" = "$2" ]; }
_stamp() { printf '%s\n' "$2" >"$VENV/.aitable/$1.new" && mv "$VENV/.aitable/$1.new" "$VENV/.aitable/$1"; }

_pip() {
  env -u PIP_USER -u PIP_TARGET -u PIP_PREFIX PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 \
    "$VENV/bin/python" -m pip "$@"
}

_install() { _pip install --no-deps --no-build-isolation --retries 2 --progress-bar off "$@"; }

_explain_pip() {
  if grep -q 'Operation cancelled' "$LOG"; then fail 'interrupted: run it again for the rest' 130; fi
  if grep -qE 'connection broken by|Max retries exceeded|ConnectionError|TimeoutError|ProxyError' "$LOG"; then
    fail "no network: pip cannot reach its package index; its output: $LOG"
  fi
  if grep -q 'No space left' "$LOG"; then fail "no space left on the disk of $VENV"; fi
  fail "$(grep '^ERROR' "$LOG" | tail -n1 | grep . || echo 'pip failed'); its output: $LOG"
}

_make_venv() {
  rm -rf "$VENV"
  local site=()
  [ -z "$SOURCED" ] || site=(--system-site-packages)
  _logged "Python $PYTHON_VERSION environment" "$PYTHON" -m venv "${site[@]}" "$VENV" ||
    fail "$(tail -n1 "$LOG") (making $VENV)"
  mkdir -p "$VENV/.aitable"
}

_requirements() {
  cat "$ROOT/requirements/build.txt" "$ROOT/requirements/run.txt"
  [ -z "$WHEELS" ] || cat "$ROOT/requirements/ros-$WHEELS.txt"
}

_install_requirements() {
  local folder=$ROOT/requirements files
  files=(-r "$folder/run.txt")
  [ -z "$WHEELS" ] || files+=(-r "$folder/ros-$WHEELS.txt")
  _logged 'pip' _install -r "$folder/build.txt" || _explain_pip
  _logged "$ROS and libraries" _install "${files[@]}" || _explain_pip
  # A sourced ROS 2 whose messages were built against numpy 1 cannot take numpy 2.
  if [ -n "$SOURCED" ] && "$PYTHON" -c 'import numpy, sys; sys.exit(numpy.__version__ >= "2")'; then
    _logged 'numpy 1 for the sourced ROS 2' _install numpy==1.26.4 || _explain_pip
  fi
}

_build_msgs() {
  local build=$1 python_include numpy_include
  python_include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  numpy_include=$("$VENV/bin/python" -c 'import numpy; print(numpy.get_include())')
  # The wheels' CMake targets name the folders of the machine that built them.
  grep -rlE '/opt/python/cp3' "$VENV/share" --include='*.cmake' 2>/dev/null | while IFS= read -r file; do
    sed -i -E \
      -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/(_core|core)/include#$numpy_include#g" \
      -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$python_include#g" "$file"
  done
  PATH=$VENV/bin:$PATH cmake -S "$ROOT/aitable_msgs" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_PREFIX_PATH="$VENV" -DCMAKE_INSTALL_PREFIX="$VENV" -DBUILD_TESTING=OFF \
    -DPython3_EXECUTABLE="$VENV/bin/python" &&
    PATH=$VENV/bin:$PATH cmake --build "$build" && cmake --install "$build" &&
    "$VENV/bin/python" -c 'from aitable_msgs.msg import FatigueState; FatigueState()'
}

# Runs what is not done yet. Returns 1 at the first step that is not, where $1 is 'look'.
_steps() {
  local look=${1:-} key build
  key=$(printf '%s\n' "$PYTHON $PYTHON_VERSION" "$ROS_KEY" "$VENV" | hash_of)
  if ! _done venv "$key"; then
    [ -z "$look" ] || return 1
    say "making $VENV: Python $PYTHON_VERSION, $ROS"
    _make_venv
    _stamp venv "$key"
  fi
  key=$(_requirements | hash_of)
  if ! _done requirements "$key"; then
    [ -z "$look" ] || return 1
    _install_requirements
    _stamp requirements "$key"
  fi
  key=$({ echo "$key"; find "$ROOT/aitable_msgs" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat; } | hash_of)
  if ! _done msgs "$key"; then
    [ -z "$look" ] || return 1
    build=$(mktemp -d)
    _logged 'aitable_msgs' _build_msgs "$build" ||
      fail "aitable_msgs does not build: $(grep -m1 -iE 'error' "$LOG" || echo '?'); its output: $LOG"
    rm -rf "$build"
    _stamp msgs "$key"
  fi
  key=$({ echo "$key"; cat "$ROOT"/setup.* "$ROOT/package.xml" "$ROOT/pyproject.toml"; } | hash_of)
  if ! _done package "$key"; then
    [ -z "$look" ] || return 1
    _logged 'aitable_ros' _install -e "$ROOT" || _explain_pip
    _stamp package "$key"
  fi
  if [ -n "$TESTS" ]; then
    key=$(hash_of <"$ROOT/requirements/test.txt")
    if ! _done test "$key"; then
      [ -z "$look" ] || return 1
      _logged 'test tools' _install -r "$ROOT/requirements/test.txt" || _explain_pip
      _stamp test "$key"
    fi
  fi
}

# Sets VENV and makes it ready; `aitable_setup tests` adds what the tests need.
aitable_setup() {
  local lock
  TESTS=${1:-} WHEELS='' ROS='' ROS_KEY='' LOG=''
  _leave_ros_wheels
  _system_packages
  _choose_ros
  [ -z "$SOURCED" ] || say "using $ROS"
  if ! _steps look; then
    lock=$ROOT/.venv.lock
    { exec 9>"$lock"; } 2>/dev/null || fail "cannot write in $ROOT: make it yours, or copy it" 2
    flock -n 9 || { say 'another set-up is at work here: waiting for it'; flock 9; }
    _steps
    exec 9>&-
  fi
  "$VENV/bin/aitable" models fetch >/dev/null || exit
  if [ -n "$SOURCED" ]; then  # a wheel environment finds these by itself
    export AMENT_PREFIX_PATH=$VENV:${AMENT_PREFIX_PATH:-}
    export LD_LIBRARY_PATH=$VENV/lib:${LD_LIBRARY_PATH:-}
  fi
}
