# Sourced by the tests of this directory. They run as root on Debian.
# shellcheck shell=bash
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly top
readonly cache=${QUERATOR_TEST_CACHE:-/var/cache/querator-test} # Debian trees; safe to remove
scratch=$(mktemp -d -p /var/tmp)
readonly scratch
# shellcheck disable=SC2034
readonly suite=bookworm
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

undo=() # commands for the end, last first
at_end() { undo+=("$1"); }
finish() {
  local status=$? i
  set +e
  for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}"; done
  rm -rf --one-file-system "$scratch"
  exit "$status"
}
trap finish EXIT

begun=$EPOCHREALTIME
# passed TEXT notes a step, with the seconds since the one before.
passed() {
  local now=$EPOCHREALTIME
  printf 'ok   %6.1f s  %s\n' "$(awk -v a="$begun" -v b="$now" 'BEGIN { print b - a }')" "$1"
  begun=$now
}
# figure NAME VALUE notes a figure for the handbook.
figure() { printf 'FIGURE  %-44s %s\n' "$1" "$2"; }
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# same WHAT GOT WANT
same() { [[ $2 == "$3" ]] || fail "$1: got '$2', want '$3'"; }
# matches WHAT GOT PATTERN (of the shell)
# shellcheck disable=SC2053
matches() { [[ $2 == $3 ]] || fail "$1: got '$2', want '$3'"; }
# until_true SECONDS WHAT COMMAND... waits until the command succeeds.
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "$what has not happened"
    sleep 0.2
  done
}

needs() {
  local program
  for program in "$@"; do command -v "$program" >/dev/null || fail "$program is missing"; done
}

# emulated registers the emulators of qemu for programs of ARM, as the package binfmt-support would at boot.
emulated() {
  local name
  mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  for name in "$@"; do
    if [[ ! -e /proc/sys/fs/binfmt_misc/$name ]]; then
      grep -v '^#' "/usr/lib/binfmt.d/$name.conf" >/proc/sys/fs/binfmt_misc/register
    fi
  done
}

# tree ARCH PACKAGES makes $cache/ARCH, a small Debian, once.
tree() {
  local arch=$1 packages=$2 try
  if [[ ! -e $cache/$arch.done ]]; then
    rm -rf --one-file-system "${cache:?}/$arch"
    mkdir -p "$cache"
    # A second time if the network fails: what has been fetched is there.
    for try in 1 2 3; do
      debootstrap --arch="$arch" --variant=minbase --include="$packages" "$suite" "$cache/$arch" >"$scratch/debootstrap.log" 2>&1 && break
      ((try < 3)) || { tail -n 20 "$scratch/debootstrap.log" >&2; fail "debootstrap of $arch; does this machine reach a mirror of Debian?"; }
      sleep $((10 * try))
    done
    touch "$cache/$arch.done"
    passed "debootstrap of $arch"
  fi
}

# layer NAME ARCH mounts a copy of a tree that can be written, and says where in $root.
layer() {
  mkdir -p "$scratch/$1/upper" "$scratch/$1/work" "$scratch/$1/root"
  root=$scratch/$1/root
  if mount -t overlay -o "lowerdir=$cache/$2,upperdir=$scratch/$1/upper,workdir=$scratch/$1/work" overlay "$root" 2>/dev/null; then
    at_end "umount -l '$root'"
  else
    cp -a "$cache/$2/." "$root/" # An overlay does not go on top of another one, as in some containers.
  fi
}

# newest ARCH prints the package that was built last.
newest() {
  local found
  found=$(find "$top/dist" -maxdepth 1 -name "querator_*_$1.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
  [[ -n $found ]] || fail "dist has no package for $1; run packaging/build.sh $1"
  echo "$found"
}

# repack DEB VERSION DIR makes a package of another version, with another querator.toml, from one that was built.
repack() {
  local tree=$scratch/repack
  rm -rf "$tree"
  dpkg-deb -R "$1" "$tree"
  sed -i "s/^Version: .*/Version: $2/" "$tree/DEBIAN/control"
  echo "# A comment that came with $2." >>"$tree/etc/querator/querator.toml"
  (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -print | sed 's,^\./,,' | sort | xargs md5sum >DEBIAN/md5sums)
  dpkg-deb --root-owner-group -Zxz -z1 --build "$tree" "$3/querator_$2_$(dpkg-deb -f "$1" Architecture).deb" >/dev/null
}

# signing_key makes a throw-away key and sets KEY.
signing_key() {
  export GNUPGHOME=$scratch/gnupg
  mkdir -m 700 "$GNUPGHOME"
  at_end "gpgconf --homedir '$GNUPGHOME' --kill all"
  gpg --batch --quiet --passphrase '' --quick-gen-key 'Test of the packages <test@example.test>' ed25519 sign 2>/dev/null
  KEY=$(gpg --batch --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }')
  export KEY
}
