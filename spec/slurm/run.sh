#!/bin/bash
# run.sh LUA      from the project's folder, by `make test-slurm`, which sets the paths of modules
#
# The examples of examples/slurm as jobs of a real Slurm (cluster.sh), submitted as they stand from a folder that is not
# theirs, the built-in server in the place of vLLM. Says what it does, and ends with status 1 at the first surprise.
set -eu

lua=$1 root=$PWD
if [ "${2:-}" != inside ]; then
  work=$(mktemp -d /tmp/lmm-slurm.XXXXXX)
  chmod 755 "$work"
  status=0
  TMPDIR=$work spec/slurm/cluster.sh "$0" "$lua" inside "$work" || status=$?
  # What belonged to it has the folder in its words or its environment. The brackets keep grep from finding itself.
  for _ in $(seq 100); do
    left=$(grep -sla "${work%?}[${work: -1}]" /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true)
    [ -n "$left" ] || break
    sleep 0.1
  done
  [ $status = 0 ] || cat "$work"/*.out >&2
  rm -rf "$work"
  if [ -n "$left" ]; then
    echo "processes are left: $left" >&2
    exit 1
  fi
  [ $status = 0 ] && echo "no process is left"
  exit $status
fi
cd "$3"

say() { echo "  $*"; }
fail() {
  echo "FAILED: $*" >&2
  squeue >&2
  exit 1
}
. "$root/spec/support/wait_for.sh"

job_has_ended() { [ -z "$(squeue --noheader --jobs="$1" 2>/dev/null)" ]; }
ended() { wait_for "the end of job $1" job_has_ended "$1"; }
has_lines() { [ "$(cat "$1" | wc -l)" -ge "$2" ]; }
state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
runs() { [ "$(state_of "$1")" = RUNNING ]; }
process_of() { lmm batch status "$1" | sed -n 's/.*; process \([0-9]*\) .*/\1/p'; }

mkdir bin pictures
printf '#!/bin/sh\nexec %s %s/bin/lmm "$@"\n' "$lua" "$root" >bin/lmm
chmod +x bin/lmm
export PATH=$PWD/bin:$PATH LUA=$lua MODEL=some/model SERVE="lmm mock --capacity slots:1"
jobs=$root/examples/slurm

# Pictures that differ: whatever follows a JPEG's end is no part of it.
for i in $(seq 100 219); do
  { cat "$root/examples/picture.jpg"; echo "$i"; } >pictures/$i.jpg
done

# The answer to each picture tells its digest; the lines are to be in the order of the pictures, each once.
check_captions() { # FILE PATTERN
  local line picture count=0
  for picture in $2; do
    count=$((count + 1))
    line=$(sed -n "${count}p" "$1")
    case $line in
      *"\"line\":$count,"*"$(sha256sum "$picture" | cut -d' ' -f1)"* | \
        *"$(sha256sum "$picture" | cut -d' ' -f1)"*"\"line\":$count,"*) ;;
      *) fail "line $count of $1 is not the caption of $picture: $line" ;;
    esac
  done
  [ "$(wc -l <"$1")" = $count ] || fail "$1 has more lines than there are pictures"
  say "$count captions in $1, each once, in order, and of its picture"
}

echo "serve_and_ask"
job=$(sbatch --parsable "$jobs/serve_and_ask.sbatch")
ended "$job"
grep -q "model: some/model" "serve_and_ask-$job.out" || fail "it lists no model"
grep -q "question: And what is shown in this one?" "serve_and_ask-$job.out" || fail "it has no second answer"
say "job $job: $(grep -c ^question: "serve_and_ask-$job.out") answers, $(state_of "$job")"

echo "caption, as an array of 4, and merge"
export PICTURES='pictures/*.jpg'
array=$(sbatch --parsable --array=0-3 "$jobs/caption.sbatch")
merge=$(sbatch --parsable --dependency=afterany:"$array" "$jobs/merge.sbatch")
# Its last task, which Slurm calls by the number of the whole array, too.
wait_for "task 3" has_lines captions/part.3.jsonl 1
pid=$(process_of captions/part.3.jsonl)
wait_for "captions of task 3" has_lines captions/part.3.jsonl 5
kill -9 "$pid"
before=$(wc -l <captions/part.3.jsonl)
say "task 3: kill -9 of its process after $before rows"
ended "$array"
ended "$merge"
[ "$(wc -l <captions/part.3.jsonl)" -gt "$before" ] || fail "task 3 was not killed in the middle"
starts=$(grep -c '"start"' captions/part.3.run)
[ "$starts" = 2 ] || fail "task 3 was begun $starts times"
say "task 3 was queued again by itself, and went on: $(lmm batch status captions/part.3.jsonl)"
for i in 0 1 2; do say "$(lmm batch status captions/part.$i.jsonl)"; done
[ ! -s "merge-$merge.out" ] || fail "merge complains"
check_captions captions/all.jsonl "$PICTURES"

echo "one task again, by --array=3"
sed -i 1,2d captions/part.3.jsonl
job=$(sbatch --parsable --array=3 "$jobs/caption.sbatch")
ended "$job"
lmm batch merge captions/part.*.jsonl -o captions/all.jsonl
check_captions captions/all.jsonl "$PICTURES"
job=$(OUT=fresh sbatch --parsable --array=3 "$jobs/caption.sbatch")
ended "$job"
say "with a fresh output: $(cat "caption-$job-3.out")"
grep -q "name the shard" "caption-$job-3.out" || fail "an array of one task is not refused"

echo "one server for two jobs"
export URL_HOST=127.0.0.1 SERVE="lmm mock"
one=$(PICTURES='pictures/10*.jpg' OUT=one.jsonl sbatch --parsable "$jobs/client.sbatch")
wait_for "the first client" runs "$one"
server=$(sbatch --parsable "$jobs/server.sbatch")
two=$(PICTURES='pictures/21*.jpg' OUT=two.jsonl sbatch --parsable --dependency=after:"$server" "$jobs/client.sbatch")
stop=$(sbatch --parsable --dependency=afterany:"$one:$two" --wrap "ls -l server.url; scancel $server")
ended "$one"
ended "$two"
ended "$stop"
ended "$server"
for name in one two; do
  lmm batch merge $name.jsonl -o $name.all.jsonl
done
check_captions one.all.jsonl 'pictures/10*.jpg'
check_captions two.all.jsonl 'pictures/21*.jpg'
say "the file of the URL: $(cut -d' ' -f1 "slurm-$stop.out"), and $(ls server.url 2>/dev/null || echo gone) after the server"
[ ! -e server.url ] || fail "the server has left its file behind"
