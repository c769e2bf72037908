#!/usr/bin/env bash
# Shows that the fuzzer finds bugs: breaks the cell parser in a copy of this tree and lets the `cell` target look for it.
#   fuzz/planted.sh [seconds]   succeeds only if the fuzzer reports a crash within so many seconds (60)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
limit=${1:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

mkdir "$tree"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create) | tar -x -C "$tree"
cd "$tree"
patch --quiet -p1 <fuzz/planted.patch

# The dependencies are the same as those of the other targets; only the broken core is built anew.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/fuzz/target}
seeds=$tree/fuzz/corpus/cell
cargo fuzz run cell "$seeds" -- -runs=0 >"$work/seeds" 2>&1 || {
    tail -n 30 "$work/seeds" >&2
    echo "the copy does not build, or a seed alone shows the bug" >&2
    exit 1
}

mkdir "$work/new"
start=$(date +%s%N)
status=0
cargo fuzz run cell "$work/new" "$seeds" -- "-max_total_time=$limit" >"$work/log" 2>&1 || status=$?
ms=$((($(date +%s%N) - start) / 1000000))

crash=$(find fuzz/artifacts/cell -name 'crash-*' -print -quit 2>/dev/null || true)
if [[ $status == 0 || -z $crash ]] || ! grep -q 'panicked at .*src/fuzzing\.rs' "$work/log"; then
    tail -n 30 "$work/log" >&2
    echo "the planted bug was not found within $limit s" >&2
    exit 1
fi
printf 'the planted bug was found after %d.%01d s and %s inputs; ' $((ms / 1000)) $((ms % 1000 / 100)) \
    "$(grep -oE '^#[0-9]+' "$work/log" | tail -n 1 | tr -d '#')"
printf 'the first bytes of the one that shows it: %s\n' "$(head -c 16 "$crash" | od -An -tx1 | tr -d '\n')"
