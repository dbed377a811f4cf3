# Sourced: sets program_version (what querator version says), deb_version and SOURCE_DATE_EPOCH, from the
# environment or from git.
# shellcheck shell=bash
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
program_version=${VERSION:-}
if [[ -z $program_version ]]; then
  if tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null); then
    program_version=${tag#v}
  else
    # Sorts below every release, and by date.
    program_version=0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M%S).$(git rev-parse --short=9 HEAD)
  fi
fi
if [[ ! $program_version =~ ^[0-9][A-Za-z0-9.+~]*$ ]]; then
  echo "VERSION '$program_version' is not one of Debian's: it begins with a digit and has letters, digits and . + ~" >&2
  exit 2
fi
deb_version=$program_version-1
