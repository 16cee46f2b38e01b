#!/bin/sh
# run.sh LUA      from the project's folder, by `make test-nfs`, which sets the paths of modules
#
# `lmm batch` with its output on a real NFS (machine.sh): two runs on one output refuse each other, also from two mounts,
# as two hosts have them; a run that is killed leaves no lock behind; the next one goes on, and repeats nothing. Says what
# it does, and ends with status 1 at the first surprise.
set -eu

lua=$1 rows=300
[ -n "${NFS_A:-}" ] || exec spec/nfs/machine.sh "$0" "$lua"

fail() {
  echo "FAILED: $*"
  exit 1
}
. spec/support/wait_for.sh

has_lines() { [ "$(cat "$1" | wc -l)" -ge "$2" ]; }
batch() { "$lua" bin/lmm batch "$TMPDIR/in.jsonl" --url "$url" --concurrency 1 -o "$1/out.jsonl"; }

"$lua" bin/lmm mock --capacity slots:1 >"$TMPDIR/mock" 2>&1 &
wait_for "the server" grep -o "http://[^ ]*" "$TMPDIR/mock"
url=$(grep -o "http://[^ ]*" "$TMPDIR/mock" | head -n 1)
for i in $(seq $rows); do
  printf '{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"%d"}]}}\n' \
    "$i" "$i"
done >"$TMPDIR/in.jsonl"

for pair in "$NFS_A $NFS_A" "$NFS_A $NFS_B" "$NFS_B $NFS_A"; do
  first=${pair% *} second=${pair#* }
  echo "a run on $(stat -fc %T "$first") at $first, another at $second"
  rm -f "$NFS_A"/out.*
  "$lua" bin/lmm batch "$TMPDIR/in.jsonl" --url "$url" --concurrency 1 -o "$first/out.jsonl" 2>"$TMPDIR/first" &
  pid=$!
  wait_for "the first rows" has_lines "$first/out.jsonl" 5
  if batch "$second" 2>"$TMPDIR/second"; then fail "the second run ends well: $(cat "$TMPDIR/first" "$TMPDIR/second")"; fi
  grep -q "another run writes .*: process $pid on nfs, begun" "$TMPDIR/second" || fail "$(cat "$TMPDIR/second")"
  kill -9 $pid || fail "the first run has ended: $(cat "$TMPDIR/first")"
  { wait $pid; } 2>/dev/null || true
  before=$(wc -l <"$first/out.jsonl")
  batch "$second" 2>"$TMPDIR/second" || fail "$(cat "$TMPDIR/second")"
  after=$(wc -l <"$second/out.jsonl")
  ids=$(grep -o '"custom_id":"[0-9]*"' "$second/out.jsonl" | sort -u | wc -l)
  [ "$before" -lt $rows ] && [ "$after" = $rows ] && [ "$ids" = $rows ] || fail "$before rows, then $after of $ids names"
  echo "  refused; after kill -9 at $before rows the other took over: $rows rows, each once"
done
