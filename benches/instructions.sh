#!/usr/bin/env bash
# Counts the instructions of a relay's per-cell path (record open, layer, queue, record seal) with callgrind, and fails
# when they are more than 10 % above the committed figure, or more than 1.2 times as many where the cells of 256 circuits come in
# turns. A count stays the same on a noisy machine.
#   benches/instructions.sh            compares
#   benches/instructions.sh --write    makes what was counted the committed figure
# Valgrind has no AVX-512, so the cipher takes its older path here: its instructions are more than on a new machine.
set -euo pipefail
cd "$(dirname "$0")/.."

committed=benches/instructions.txt
export CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_CODEGEN_UNITS=1
program=$(cargo bench --locked --bench instructions --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

count() {
    local cells
    cells=$(valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" --collect-atstart=no \
        --toggle-collect="*Setting*relay_$1" "$program" "$2" 2>"$work/log") || { cat "$work/log" >&2; exit 1; }
    callgrind_annotate --auto=no --threshold=100 "$work/out" 2>/dev/null | awk -v cells="$cells" -v way="$1$3" '
        / \(.*%\) / {
            line = $0; sub(/^ */, "", line); n = line; sub(/ .*/, "", n); gsub(",", "", n)
            if (line ~ /PROGRAM TOTALS/) total = n
            else if (line ~ /libc\.so|memcpy|memmove|memset/) copies += n
            else if (line ~ /\?\?\?:|aws_lc|aws-lc/) cipher += n
        }
        END { printf "%s %d instructions a cell: cipher %d, copies %d, the rest %d\n", way,
              total / cells, cipher / cells, copies / cells, (total - cipher - copies) / cells }'
}

{ count forward 1 ""; count backward 1 ""; count forward 256 -256; count backward 256 -256; } | tee "$work/now"
if [[ ${1:-} == --write ]]; then
    grep -v -e -256 "$work/now" >"$committed"
    exit
fi
awk '
    { way = $1; sub(/-256$/, "", way) }
    NR == FNR { was[way] = $2; next }
    way == $1 { one[way] = $2
      if (!was[way] || $2 > was[way] * 1.1) { print way ": " $2 " instructions a cell, " was[way] " are committed"; bad = 1 } }
    way != $1 && $2 > one[way] * 1.2 { print way ": " $2 " instructions a cell with 256 circuits, " one[way] " with one"; bad = 1 }
    END { exit bad }' "$committed" "$work/now"
