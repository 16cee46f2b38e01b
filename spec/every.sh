#!/bin/sh
# usage: every.sh LUA...      from the project's folder, by `make test`; $SPEC and the like are make's
#
# Builds for each of these Luas and runs the specs on each, two at a time, since they wait more than they compute. What a
# run says comes when it has ended. Ends with the sum: `N passed, N failed`.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for lua; do make -s --no-print-directory LUA="$lua" all || exit 1; done
[ $# -gt 1 ] || exec make -s --no-print-directory LUA="$1" spec

count='^[0-9]* passed, [0-9]* failed'
run='make -s --no-print-directory LUA="$3" spec >"$1/$3" 2>&1
{ echo "---- $3"; sed "s/$2.*/& on $3/" "$1/$3"; } >"$1/$3.said"
cat "$1/$3.said"'
printf '%s\n' "$@" | xargs -P 2 -I '{}' sh -c "$run" sh "$folder" "$count" '{}'

for lua; do grep "$count" "$folder/$lua" || echo "0 passed, 1 failed"; done | awk '
  { passed += $1; failed += $3; skipped += $5 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }'
