#!/usr/bin/env bash
# Quantizes a model and fails when it lost too much: a step of a CI job.
#
#   quantize-gate.sh MODEL OUT MAX_KL [options of quantctl quantize]
#
# MAX_KL: mean KL to the original, nats per token. The server and its token come from QUANTD_SERVER and QUANTD_TOKEN or
# QUANTD_TOKEN_FILE. Where they are set, GITHUB_OUTPUT gets job, kl and gate, and GITHUB_STEP_SUMMARY a table.
#
# Ends with 0: the result is good and lies in OUT; 4: it missed the gate; 1: the job failed; 2: refused, or wrong usage;
# 3: no server.
set -uo pipefail

if [[ $# -lt 3 ]]; then
  printf 'usage: %s MODEL OUT MAX_KL [options of quantctl quantize]\n' "$0" >&2
  exit 2
fi
model=$1 out=$2 max_kl=$3
shift 3

report=$(mktemp)
trap 'rm -f "$report"' EXIT
quantctl quantize "$model" --out "$out" --gate-kl "$max_kl" --json "$@" >"$report"
code=$?

field() { sed -nE "s/^ *\"$1\": \"?([^\",]+)\"?,?\$/\1/p" "$report" | head -n 1; }

case $code in
  0) gate=passed ;;
  4) gate=missed ;;
  *) exit $code ;;  # quantctl has said why
esac
if [[ -n ${GITHUB_OUTPUT:-} ]]; then
  printf 'job=%s\nkl=%s\ngate=%s\n' "$(field job)" "$(field kl_mean)" "$gate" >>"$GITHUB_OUTPUT"
fi
if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
  {
    printf '| model | gate | mean KL | at most | bits per weight | top-1 agreement |\n|---|---|---|---|---|---|\n'
    printf '| %s | %s | %s | %s | %s | %s |\n' "$model" "$gate" "$(field kl_mean)" "$max_kl" \
      "$(field bits_per_weight)" "$(field top1_agreement)"
  } >>"$GITHUB_STEP_SUMMARY"
fi
printf 'gate %s: mean KL %s, at most %s\n' "$gate" "$(field kl_mean)" "$max_kl" >&2
exit $code
