#!/bin/sh
# usage: every.sh LUA...      from the project's folder, by `make test` and `make check`
#
# Builds for each of these Luas, and runs each spec file, or those in $SPEC, on each of them: four at a time, since they
# wait as much as they compute. With several Luas and no $SPEC, also `make check-cost`, once. What a file says comes
# when it has ended. Ends with `N passed, N failed, N skipped`.
#
# On the first Lua alone run: what runs in Neovim, nginx, a browser or a shell, which has the Lua of its host; and what
# reads the documents, which finds the same with each. On the first and the last: what converts media by other programs
# and libraries; make and LuaRocks, as they install (what that compiles, compiled_spec tries on all); and the concurrency
# as arithmetic judges it, with random numbers of its own, which comes to the same with each (that a run heeds it,
# map_spec shows on all).
set -u
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
for lua; do make -s --no-print-directory LUA="$lua" all || exit 1; done

first=$1
for last; do :; done
runs_on() { # SPEC LUA
  case ${1#spec/} in
    nvim_* | nginx_* | grid_page_* | completion_* | reference_*) [ "$2" = "$first" ] ;;
    films_* | drawings_* | eps_* | pages_* | prepare_wire_* | install_* | concurrency_*)
      [ "$2" = "$first" ] || [ "$2" = "$last" ] ;;
  esac
}

run='case $3 in *.lua) goal="spec SPEC=$3" ;; *) goal=$3 ;; esac
said=$(make -s --no-print-directory LUA="$2" $goal 2>&1)
count=$(printf "%s\n" "$said" | grep "^[0-9]* passed, [0-9]* failed" || echo "0 passed, 1 failed")
echo "$count on $2" >>"$1"
echo "$2 $3: $count"
printf "%s\n" "$said" | sed "1d; /^[0-9]* passed, [0-9]* failed/d; /^make[^ ]*: \*\*\*/d"'
{
  [ $# -eq 1 ] || [ -n "${SPEC:-}" ] || echo "lua5.4 check-cost"
  for lua; do
    for spec in ${SPEC:-spec/*_spec.lua}; do
      if runs_on "$spec" "$lua"; then echo "$lua $spec"; fi
    done
  done
} | xargs -P 4 -n 2 sh -c "$run" sh "$counts" || echo "0 passed, 1 failed on all" >>"$counts"

awk '
  !($NF in passed) { luas++ }
  { passed[$NF] += $1; failed[$NF] += $3; skipped[$NF] += $6 == "skipped" ? $5 : 0 }
  END {
    for (lua in passed) {
      if (luas > 1) printf "%d passed, %d failed, %d skipped on %s\n", passed[lua], failed[lua], skipped[lua], lua
      p += passed[lua]; f += failed[lua]; s += skipped[lua]
    }
    printf "%d passed, %d failed, %d skipped\n", p, f, s
    exit f > 0 || p == 0
  }' "$counts"
