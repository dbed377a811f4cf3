#!/usr/bin/env bash
# Writes the copyright file of the packages, in Debian's machine-readable form: the program, and every module that
# is linked into it on any of the architectures, with its licence.
#
#   packaging/licences.sh FILE
set -euo pipefail
cd "$(dirname "$0")/.."

# packages lists "module version directory-of-module directory-of-package" of what is linked.
packages() {
  local arch
  for arch in amd64 arm64 arm; do
    GOOS=linux GOARCH=$arch GOARM=6 CGO_ENABLED=0 go list -deps \
      -f '{{$dir := .Dir}}{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}} {{$dir}}{{end}}{{end}}' ./cmd/querator
  done | sort -u
}

# quoted indents a text as a field of the format.
quoted() { sed -e 's/[[:space:]]*$//' -e 's/^$/./' -e 's/^/ /' -e 's/^ \.$/ ./' "$@"; }

# holders prints who holds the copyright by the licence of a directory.
holders() {
  local found
  found=$(cat "$@" | grep -h -i -E '^[[:space:]]*(\(c\)|copyright) *(\(c\)|©)?[^a-z]*(19|20)[0-9][0-9]' | sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' | sort -u || true)
  printf '%s\n' "${found:-the authors of the module}" | sed '2,$s/^/ /'
}

# kind says which licence a text is, or which ones.
kind() {
  local kinds=()
  if grep -q 'Apache License' "$1"; then kinds+=(Apache-2.0); fi
  if grep -q 'Redistribution and use' "$1"; then
    if grep -q -i 'neither the name' "$1"; then kinds+=(BSD-3-Clause); else kinds+=(BSD-2-Clause); fi
  fi
  if grep -q 'Permission is hereby granted, free of charge' "$1"; then kinds+=(Expat); fi
  if ((${#kinds[@]} == 0)); then
    echo "licences.sh: the licence $1 is of a kind that this script does not know" >&2
    return 1
  fi
  printf '%s' "${kinds[0]}"
  printf ' and %s' "${kinds[@]:1}" | sed 's/ and $//'
  echo
}

# entry NAME DIRECTORY... writes the paragraph of a module, whose first directory is its top, the others those of its
# packages. Licences but Apache's, which every Debian system has, are quoted with it.
entry() {
  local name=$1 dir=$2 texts=() text licence
  shift
  while read -r text; do texts+=("$text"); done < <(
    for dir in "$@"; do find "$dir" -maxdepth 1 -type f \( -name 'LICEN[SC]E*' -o -name 'COPYING*' \) | sort; done | awk '!seen[$0]++'
  )
  dir=$1
  if ((${#texts[@]} == 0)); then
    echo "licences.sh: $name has no licence" >&2
    return 1
  fi
  licence=$(kind "${texts[0]}")
  printf '\nFiles: %s\nCopyright: %s\n' "$name" "$(holders "${texts[@]}")"
  if [[ $licence == Apache-2.0 ]]; then
    printf 'License: Apache-2.0\n'
    if [[ -f $dir/NOTICE ]]; then printf 'Comment:\n'; quoted "$dir/NOTICE"; fi
    for text in "${texts[@]:1}"; do printf 'Comment: %s\n' "$(basename "$text")"; quoted "$text"; done
  else
    printf 'License: %s\n' "$licence"
    quoted "${texts[@]}"
  fi
}

{
  cat <<'END'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Querator Edge
Source: https://github.com/kapetan-io/querator-edge
Comment: The program links the Go modules that are named below by their import
 paths, and the standard library of Go.

Files: *
Copyright: the authors of Querator Edge
License: Apache-2.0
END
  entry "std/*" "$(go env GOROOT)"
  packages >"$1.packages"
  cut -d ' ' -f 1-3 "$1.packages" | sort -u | while read -r path version dir; do
    mapfile -t dirs < <(awk -v m="$path" '$1 == m { print $4 }' "$1.packages" | sort -u)
    entry "$path/*" "$dir" "${dirs[@]}" | sed "s,^Files: .*,&\nComment: $version,"
  done
  rm "$1.packages"
  cat <<'END'

License: Apache-2.0
 Licensed under the Apache License, Version 2.0 (the "License"); you may not
 use this file except in compliance with the License. You may obtain a copy of
 the License at http://www.apache.org/licenses/LICENSE-2.0
 .
 On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.
END
} >"$1"
