#!/usr/bin/env bash
# The packages are the same bytes when they are built twice, in different directories; lintian and man have nothing to
# say; the programs run, that of armhf on an ARM1176, and know when they were built; the unit keeps to its exposure.
#
#   packaging/test/build.sh [ARCH...]     which packages are built; amd64 without arguments
#
#   TWICE="ARCH..."     those that are built twice and compared; without it all
#   COLD=1              nothing that was compiled before is used the second time
. "$(dirname "$0")/lib.sh"
needs go make dpkg-deb lintian man systemd-analyze qemu-arm-static
arches=("${@:-amd64}")
read -ra twice <<<"${TWICE:-${arches[*]}}"
commit=$(date -u -d "@$(git -C "$top" log -1 --format=%ct)" +%FT%TZ)
caches=$(go env GOCACHE)
if [[ ${COLD:-} == 1 ]]; then caches=$scratch/gocache; fi

# program ARCH FILE ARGS... runs a program, one of armhf on the processor of the first Raspberry Pis.
program() {
  case $1 in
  armhf) qemu-arm-static -cpu arm1176 "${@:2}" ;;
  "$(dpkg --print-architecture)") "${@:2}" ;;
  arm64) qemu-aarch64-static "${@:2}" ;;
  amd64) qemu-x86_64-static "${@:2}" ;;
  esac
}

cd "$top"
make -s deb ARCHES="${arches[*]}"
passed "packages built: ${arches[*]}"
debs=()
for arch in "${arches[@]}"; do
  debs+=("$(newest "$arch")")
  figure "size of the $arch package" "$(stat -c %s "${debs[-1]}")"
done
# The second time from a clone elsewhere.
if [[ -z $(git status --porcelain) ]]; then
  git clone -q --no-hardlinks "$top" "$scratch/elsewhere"
  git -C "$scratch/elsewhere" checkout -q "$(git rev-parse HEAD)"
  (cd "$scratch/elsewhere" && GOCACHE=$caches DIST=$scratch/second packaging/build.sh "${twice[@]}" >/dev/null)
  for arch in "${twice[@]}"; do
    deb=$(newest "$arch")
    cmp "$deb" "$scratch/second/$(basename "$deb")" || fail "$deb is not reproducible"
  done
  passed "the same bytes from another directory: ${twice[*]}"
else
  echo "NOT COMPARED: the work tree has changes that a clone has not"
fi
lintian --allow-root --fail-on error,warning,info "${debs[@]}" >"$scratch/lintian" 2>&1 || { cat "$scratch/lintian"; fail "lintian"; }
passed "lintian has nothing to say"
for i in "${!arches[@]}"; do
  rm -rf "$scratch/x"
  dpkg-deb -x "${debs[i]}" "$scratch/x"
  matches "the program of ${arches[i]}" "$(program "${arches[i]}" "$scratch/x/usr/bin/querator" version --output json)" \
    "*\"built\": \"$commit\"*"
done
passed "the programs run, and know when they were built"

pages=0
for page in "$scratch"/x/usr/share/man/man*/*.gz; do
  said=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  same "man of $page" "$said" ""
  pages=$((pages + 1))
done
passed "man has nothing to say of $pages pages"
bash -n "$scratch/x/usr/share/bash-completion/completions/querator"

# exposure FILE LIMIT: the limit is ten times what is shown.
exposure() {
  systemd-analyze security --offline=true --threshold="$2" "$1" >"$scratch/security" || fail "$1 is exposed by more than $2 tenths"
  grep -o 'exposure level.*: [0-9.]*' "$scratch/security" | grep -o '[0-9.]*$'
}
unit=$scratch/x/usr/lib/systemd/system/querator.service
figure "exposure with network" "$(exposure "$unit" 15)"
mkdir "$scratch/closed"
cat "$unit" "$scratch/x/usr/share/doc/querator/examples/no-uplink.conf" >"$scratch/closed/querator.service"
figure "exposure with no-uplink.conf" "$(exposure "$scratch/closed/querator.service" 9)"
passed "the unit keeps to its exposure"
