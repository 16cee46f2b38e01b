# wait_for.sh: for scripts, which have a function `fail` that takes a sentence and ends them.

# Waits until a command succeeds; $1 says for what.
wait_for() {
  what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "waited in vain for $what"
    sleep 0.1
  done
}
