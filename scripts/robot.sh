#!/usr/bin/env bash
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# Sets up a robot with a sourced ROS 2; run it again after a `git pull`, it does no harm.
usage='usage: scripts/robot.sh [WORKSPACE] [options]

Build this package into the colcon workspace WORKSPACE (default: the one that holds this folder, else
~/aitable_ws) for the ROS 2 that is sourced. The steps: link both packages into src/, install apt
packages through rosdep, install the Python packages that apt lacks into WORKSPACE/venv with the
installed numpy kept, colcon build, fetch the models, check everything.

  --dry-run                print the commands and change nothing
  --no-rosdep              leave the apt packages alone (no sudo needed)
  --break-system-packages  install the Python packages with pip --user instead of into a venv
  -h, --help               print this'
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# What apt and rosdep lack; the ranges are those that the tests have seen with numpy 1 and 2.
PACKAGES=('onnx>=1.14' 'onnxslim>=0.1.50' 'openvino>=2023.2' 'tflite>=2.10' 'flatbuffers>=23.5'
  'rosbags>=0.9.20' 'pyarrow>=12' 'plotly>=5')
MODULES=(onnx onnxslim onnxruntime openvino tflite flatbuffers rosbags pyarrow plotly)
# Compiled against the installed numpy, or part of what cv_bridge and the like expect.
KEPT='numpy scipy h5py scikit-image opencv-python opencv-python-headless matplotlib pandas'

DRY='' ROSDEP=1 USER_PIP='' WORKSPACE=''
for word in "$@"; do
  case $word in
    --dry-run) DRY=1 ;;
    --no-rosdep) ROSDEP='' ;;
    --break-system-packages) USER_PIP=1 ;;
    -h | --help) printf '%s\n' "$usage"; exit ;;
    -*) fail "unknown option $word; scripts/robot.sh --help lists them" 2 ;;
    *) [ -z "$WORKSPACE" ] || fail "one workspace, not two: $WORKSPACE and $word" 2; WORKSPACE=$word ;;
  esac
done

# Ends the script; with --dry-run it only says that a real run would end here.
missing() {
  [ -n "$DRY" ] || fail "$1" 2
  say "a real run would stop here: $1"
}

# Runs a command, or prints it where --dry-run was given.
step() {
  printf '+' && printf ' %q' "$@" && printf '\n'
  [ -n "$DRY" ] || "$@"
}

check_machine() {
  [ -n "${ROS_DISTRO:-}" ] ||
    missing 'no ROS 2 is sourced: source /opt/ros/<distribution>/setup.bash first (without ROS 2: scripts/demo.sh)'
  ROS_DISTRO=${ROS_DISTRO:-jazzy}
  case $ROS_DISTRO in
    humble | jazzy | kilted | lyrical) ;;
    *) say "ROS 2 $ROS_DISTRO was never tried; known are humble, jazzy, kilted and lyrical" ;;
  esac
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "$(uname -m): the runtimes have wheels for x86_64 and aarch64 only" 2 ;;
  esac
  SYSTEM=$(command -v python3) || fail 'no python3 here' 2
  "$SYSTEM" -c 'import rclpy' 2>/dev/null ||
    missing "$SYSTEM cannot import rclpy: leave a virtual environment, and source ROS 2 again"
  "$SYSTEM" -c 'import colcon_core' 2>/dev/null ||
    missing 'no colcon for this Python: sudo apt-get install python3-colcon-common-extensions'
}

find_workspace() {
  if [ -z "$WORKSPACE" ]; then
    case $ROOT in
      */src/*) WORKSPACE=${ROOT%%/src/*} ;;
      *) WORKSPACE=$HOME/aitable_ws ;;
    esac
  fi
  [ -n "$DRY" ] || mkdir -p "$WORKSPACE/src" || fail "cannot make $WORKSPACE/src" 2
  case $WORKSPACE in /*) ;; *) WORKSPACE=$PWD/$WORKSPACE ;; esac
  VENV=$WORKSPACE/venv
}

# colcon and rosdep do not look inside a package for another one, so aitable_msgs gets a link.
link_packages() {
  case $ROOT in
    "$WORKSPACE"/src/*) ;;
    *) link "$ROOT" aitable_ros ;;
  esac
  link "$ROOT/aitable_msgs" aitable_msgs
}

link() {
  local place=$WORKSPACE/src/$2
  if [ -e "$place" ] && [ ! -L "$place" ]; then
    fail "$place is there already and is no link: move it away" 2
  fi
  step ln -sfn "$1" "$place"
}

install_apt_packages() {
  [ -n "$ROSDEP" ] || return 0
  command -v rosdep >/dev/null || missing 'no rosdep: sudo apt-get install python3-rosdep (or --no-rosdep)'
  [ -d "${ROS_HOME:-$HOME/.ros}/rosdep/sources.cache" ] || step rosdep update --rosdistro "$ROS_DISTRO"
  step rosdep install --from-paths "$WORKSPACE/src/aitable_msgs" "$ROOT" --ignore-src -y \
    --rosdistro "$ROS_DISTRO" --dependency-types=build --dependency-types=buildtool --dependency-types=exec \
    --skip-keys 'python3-onnxruntime-pip python3-rosbags-pip aitable_msgs'
}

# Prints NAME==VERSION of the installed packages that pip must not replace.
constraints() {
  KEPT=$KEPT "$1" -c '
import os
from importlib import metadata
for name in os.environ["KEPT"].split():
    try: print(f"{name}=={metadata.version(name)}")
    except metadata.PackageNotFoundError: pass'
}

has_modules() { "$1" -c 'import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]' "${MODULES[@]}" 2>/dev/null; }

install_python_packages() {
  local pip=("$SYSTEM" -m pip install --user) file
  PYTHON=$SYSTEM
  if [ -n "$USER_PIP" ]; then
    ! "$SYSTEM" -m pip install --help | grep -q break-system-packages || pip+=(--break-system-packages)
  elif has_modules "$SYSTEM"; then
    return
  else
    PYTHON=$VENV/bin/python
    # The venv of another Python (a new Ubuntu) is of no use.
    [ -x "$PYTHON" ] && "$PYTHON" -c '' || step "$SYSTEM" -m venv --clear --system-site-packages "$VENV"
    step touch "$VENV/COLCON_IGNORE"
    pip=("$PYTHON" -m pip install)
  fi
  if [ -x "$PYTHON" ] && has_modules "$PYTHON"; then
    return
  fi
  file=$(mktemp) && constraints "$SYSTEM" >"$file"
  say "kept as installed: $(tr '\n' ' ' <"$file")"
  step "${pip[@]}" --quiet --constraint "$file" "${PACKAGES[@]}"
  # ONNX Runtime asks for numpy 1.21.6; it runs with Ubuntu 22.04's 1.21.5, which has the same ABI.
  step "${pip[@]}" --quiet --constraint "$file" onnxruntime || step "${pip[@]}" --quiet --no-deps 'onnxruntime<1.19'
  rm -f "$file"
}

# The Python that runs colcon is the one that the nodes will run in.
build() {
  step cd "$WORKSPACE"
  step "$PYTHON" -m colcon build --packages-select aitable_msgs aitable_ros
  [ -z "$DRY" ] || return 0
  set +u  # the generated scripts read variables that are not set
  # shellcheck source=/dev/null
  . "$WORKSPACE/install/setup.bash"
  set -u
}

check_machine
find_workspace
link_packages
install_apt_packages
install_python_packages
build
step ros2 run aitable_ros aitable models fetch
step ros2 run aitable_ros aitable models fetch blazepose_detector blazepose
status=0
step ros2 run aitable_ros aitable preflight || status=$?
printf '\nType next (rebuild with this script, so that the nodes keep their Python):\n'
printf '  source %q\n' "$WORKSPACE/install/setup.bash"
printf '  ros2 launch aitable_ros pipeline.launch.py image:=/camera/image_raw\n'
exit $status
