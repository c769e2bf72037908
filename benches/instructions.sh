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
    callgrind_annotate --auto=no --threshold=100 "$work/out" 2>/dev/null | awk -v cells="$cells" -v way="$1-$2" '
        / \(.*%\) / {
            line = $0; sub(/^ */, "", line); n = line; sub(/ .*/, "", n); gsub(",", "", n)
            if (line ~ /PROGRAM TOTALS/) total = n
            else if (line ~ /libc\.so|memcpy|memmove|memset/) copies += n
            else if (line ~ /\?\?\?:|aws_lc|aws-lc/) cipher += n
        }
        END { printf "%s %d instructions a cell: cipher %d, copies %d, the rest %d\n", way,
              total / cells, cipher / cells, copies / cells, (total - cipher - copies) / cells }'
}

{ for circuits in 1 256; do count forward $circuits; count backward $circuits; done; } | tee "$work/now"
if [[ ${1:-} == --write ]]; then
    cp "$work/now" "$committed"
    exit
fi
paste -d ' ' "$work/now" "$committed" | awk '
    { was = 0; for (i = 3; i <= NF; i++) if ($i == $1) was = $(i + 1)
      if (was == 0 || $2 > was * 1.1) { print $1 ": " $2 " instructions a cell, " was " are committed"; bad = 1 }
      split($1, of, "-"); found[of[1], of[2]] = $2
      if (of[2] == 256 && $2 > found[of[1], 1] * 1.2) { print of[1] ": " $2 " instructions a cell with 256 circuits, " found[of[1], 1] " with one"; bad = 1 } }
    END { exit bad }'
