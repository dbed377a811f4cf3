#!/usr/bin/env bash
# Installs what the tests need that is not there.
set -euo pipefail
cd "$(dirname "$0")"
missing=()
while read -r program package; do
  [[ -e $program ]] || command -v "$program" >/dev/null || missing+=("$package")
done < <(cat tools tools.all)
if ((${#missing[@]} > 0)); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
