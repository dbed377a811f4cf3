#!/usr/bin/env bash
# Writes the manual pages into a directory: one for each command from the command tree, querator(8), which is
# written by hand, and querator.toml(5) from the configuration file, which has all there is to say.
#
#   packaging/man.sh DIR
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
readonly dir
cd "$(dirname "$0")/.."
# shellcheck source=packaging/version.sh
. packaging/version.sh
export SOURCE_DATE_EPOCH
day=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)
readonly day

# The tests of this package are built for this machine, whatever the package is for.
env -u GOOS -u GOARCH -u GOARM go test -count=1 \
  -ldflags "-X github.com/kapetan-io/querator-edge/cmd/querator.version=$program_version" \
  -run '^TestManPages$' ./cmd/querator -man "$dir" >/dev/null

sed -e "s/@DAY@/$day/" -e "s/@VERSION@/$program_version/" packaging/man/querator.8 >"$dir/querator.8"

# querator.toml(5): comments are text, what begins a table is a heading, a setting stands for itself. Settings
# that are commented out ("#name = ...") are settings too.
{
  printf '.TH QUERATOR.TOML 5 "%s" "querator %s" "Querator Edge"\n' "$day" "$program_version"
  printf '.SH NAME\nquerator.toml \\- configuration of the Querator agent\n.SH DESCRIPTION\n'
  awk '
    function roff(text) {
      gsub(/\\/, "\\e", text); gsub(/"/, "\\(dq", text); gsub(/-/, "\\-", text); gsub(/`/, "", text)
      if (text ~ /^[.'\'']/) text = "\\&" text
      return text
    }
    function flush() { if (note != "") print ".PP\n" note; note = "" }
    /^#?\[+[a-z-]+\]+$/ { sub(/^#/, ""); print ".SH \"" roff($0) "\""; flush(); next }
    /^#?[a-z-]+ = / {
      sub(/^#/, ""); print ".TP\n.B " roff($0); print (note == "" ? "\\&" : note); note = ""; next
    }
    /^#$/ || /^$/ { flush(); next }
    /^#/ { sub(/^# ?/, ""); note = note (note == "" ? "" : "\n") roff($0); next }
    END { flush() }
  ' querator.toml
  printf '.SH FILES\n.TP\n.I /etc/querator/querator.toml\nthe file that comes with the package\n'
  printf '.TP\n.I /etc/querator/conf.d/*.toml\nwhat a site or a fleet sets\n'
  printf '.SH SEE ALSO\n.BR querator (8),\n.BR querator\\-config\\-check (1)\n'
} >"$dir/querator.toml.5"
