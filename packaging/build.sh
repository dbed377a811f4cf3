#!/usr/bin/env bash
# Builds the Debian packages dist/querator_VERSION_ARCH.deb. The same source gives the same bytes, in any
# directory, on any day, as long as Go and xz are of the same version.
#
#   packaging/build.sh [amd64] [arm64] [armhf]      all three without arguments
#
#   VERSION=1.2.3            the version; without it that of the git tag, or 0~git with the date of the commit
#   SOURCE_DATE_EPOCH=...    the time in all files; without it that of the commit
#   DIST=dir                 where the packages go; dist
#   LEVEL=9                  how hard xz tries; 1 is quick, for trying things out
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
readonly here
cd "$here/.."

# shellcheck source=packaging/version.sh
. packaging/version.sh
readonly dist=${DIST:-dist}
export SOURCE_DATE_EPOCH GOFLAGS=-mod=readonly CGO_ENABLED=0 GOOS=linux
export LC_ALL=C TZ=UTC

work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT

# put MODE SOURCE TARGET... installs a file into the tree.
put() { install -D -m "$1" "$2" "$3"; }

# packed SOURCE TARGET installs a text compressed, as Debian's policy asks for.
packed() {
  mkdir -p "$(dirname "$2")"
  gzip -9nc "$1" >"$2"
}

# binary ARCH FILE builds the program. armhf is ARMv6, for the first Raspberry Pis and the Zero; Debian's own armhf
# is ARMv7 and runs it as well.
binary() {
  local goarch=$1
  if [[ $goarch == armhf ]]; then goarch=arm; fi
  GOARCH=$goarch GOARM=6 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X main.version=$program_version -X main.built=$SOURCE_DATE_EPOCH" -o "$2" ./cmd/querator
}

# What is the same in all packages, in $work/common.
common() {
  local root=$work/common doc=$work/common/usr/share/doc/querator page
  mkdir -p "$root"
  put 644 packaging/systemd/querator.service "$root/usr/lib/systemd/system/querator.service"
  put 644 packaging/systemd/querator.socket "$root/usr/lib/systemd/system/querator.socket"
  put 644 packaging/systemd/sysusers.conf "$root/usr/lib/sysusers.d/querator.conf"
  put 644 querator.toml "$root/etc/querator/querator.toml"
  put 644 packaging/conf.d.README "$root/etc/querator/conf.d/README"
  put 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/querator"

  (unset GOOS && go build -trimpath -buildvcs=false -o "$work/native" ./cmd/querator)
  mkdir -p "$work/completion"
  for shell in bash zsh fish; do "$work/native" completion "$shell" >"$work/completion/$shell"; done
  put 644 "$work/completion/bash" "$root/usr/share/bash-completion/completions/querator"
  put 644 "$work/completion/zsh" "$root/usr/share/zsh/vendor-completions/_querator"
  put 644 "$work/completion/fish" "$root/usr/share/fish/vendor_completions.d/querator.fish"

  packaging/man.sh "$work/man"
  for page in "$work"/man/*.[158]; do
    packed "$page" "$root/usr/share/man/man${page##*.}/$(basename "$page").gz"
  done

  changelog >"$work/changelog"
  packed "$work/changelog" "$doc/changelog.Debian.gz"
  packed CHANGELOG.md "$doc/changelog.gz"
  packed packaging/README.md "$doc/README.md.gz"
  packaging/licences.sh "$work/copyright"
  put 644 "$work/copyright" "$doc/copyright"
  for example in packaging/examples/* packaging/examples/fleet/*; do
    if [[ -d $example ]]; then continue; fi
    put "$(if [[ -x $example ]]; then echo 755; else echo 644; fi)" "$example" "$doc/${example#packaging/}"
  done
}

# changelog writes the entry of this version.
changelog() {
  cat <<END
querator ($deb_version) stable; urgency=medium

  * $program_version
  * changelog.gz says what is new.

 -- Querator Edge <querator-edge@users.noreply.github.com>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
}

# package ARCH makes the package of one architecture.
package() {
  local arch=$1 root=$work/$1 deb=$dist/querator_${deb_version}_$1.deb script
  cp -a "$work/common" "$root"
  binary "$arch" "$root/usr/bin/querator"
  chmod 755 "$root/usr/bin/querator"
  mkdir "$root/DEBIAN"
  sed -e "s/@VERSION@/$deb_version/" -e "s/@ARCH@/$arch/" \
    -e "s/@SIZE@/$(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f 1)/" \
    packaging/debian/control >"$root/DEBIAN/control"
  put 644 packaging/debian/conffiles "$root/DEBIAN/conffiles"
  for script in postinst prerm postrm; do put 755 "packaging/debian/$script" "$root/DEBIAN/$script"; done
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -print | sed 's,^\./,,' | sort | xargs md5sum) >"$work/md5sums.$arch"
  put 644 "$work/md5sums.$arch" "$root/DEBIAN/md5sums"
  find "$root" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
  # One thread: the number of cores would show in the bytes.
  dpkg-deb --root-owner-group -Zxz -z"${LEVEL:-9}" --threads-max=1 --build "$root" "$deb" >/dev/null
  printf '%-46s %s bytes\n' "$deb" "$(stat -c %s "$deb")"
}

mkdir -p "$dist"
mkdir -p "$work/bin"
arches=("$@")
if ((${#arches[@]} == 0)); then arches=(amd64 arm64 armhf); fi
common
# At the same time: most of it is one thread of xz.
running=()
for arch in "${arches[@]}"; do
  package "$arch" &
  running+=($!)
done
for one in "${running[@]}"; do wait "$one"; done
