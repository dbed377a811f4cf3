#!/usr/bin/env bash
# Everything that the README and packaging/README.md tell the owner of a device to type, in a booted Debian: first
# what the README says, by somebody new, with the clock running; then the whole handbook, in its order.
#
#   packaging/test/handbook.sh       with the packages in dist, which "make deb" built
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/boot.sh"
. "$(dirname "$0")/hub.sh"
needs dpkg-deb gpg apt-ftparchive go openssl python3
readonly readme=$top/README.md handbook=$top/packaging/README.md

# commands FILE MARK writes each command of a text to $scratch/commands/NNN: a line with its section, one with who
# types it ("#", "$" or "build#"), and the command. MARK is how the lines of a block begin.
commands() {
  rm -rf "$scratch/commands"
  mkdir "$scratch/commands"
  awk -v dir="$scratch/commands" -v mark="$2" '
    function begin(who, text) { close(file); file = sprintf("%s/%03d", dir, ++n); print section "\n" who "\n" text >file }
    /^#+ / && !inside { section = $0; sub(/^#+ /, "", section); next }
    mark == "" && /^```/ { inside = /^```console$/; next }
    mark != "" { inside = index($0, mark) == 1; if (inside) $0 = substr($0, length(mark) + 1) }
    !inside { next }
    /^build# / { begin("build#", substr($0, 8)); next }
    /^[#$] / { begin(substr($0, 1, 1), substr($0, 3)); next }
    mark == "" { print >file }
  ' "$1"
}

# run WHO COMMAND does what a reader does; what it prints is in $scratch/said.
run() {
  case $1 in
  '#') inside sh -c "cd /root && $2" ;;
  '$') as worker env HOME=/home/worker sh -c "cd /home/worker && $2" ;;
  'build#') (cd "$top" && sh -c "$2") ;;
  esac >"$scratch/said" 2>&1
}

# follow runs all commands that were found; prepare and check are told of each.
follow() {
  local file section who command status last='' count=0
  for file in "$scratch"/commands/*; do
    { read -r section; read -r who; command=$(cat); } <"$file"
    [[ -z $last || $section == "$last" ]] || passed "handbook: $last"
    last=$section
    prepare "$section" "$command"
    status=0
    run "$who" "$command" || status=$?
    if ! check "$section" "$command" "$status"; then
      cat "$scratch/said" >&2
      inside journalctl --unit=querator --lines=40 --no-pager >&2 || true
      fail "'$command' of the section '$section' does not do what it says; exit code $status"
    fi
    count=$((count + 1))
  done
  passed "handbook: $last"
  figure "commands of $(basename "$(dirname "$1")")/$(basename "$1") that were run" "$count"
}

# What the text takes for granted, and what it leaves to the reader.

status_of() { as worker querator status --interval 0 --output json; }
uplink_of() { as worker querator uplink status --output json; }
uplink_has() { uplink_of | tr -d ' \n' | grep -q "\"$1\":$2"; }
completed() { as worker sh -c 'echo 1 | querator produce readings && querator work readings --drain -- true'; }

# prepare SECTION COMMAND sees to what has to be there before a command. Names of a device of another architecture
# and of a version stand for what is here.
prepare() {
  command=${command//_arm64/_$arch}
  command=${command//=VERSION/=$version}
  case "$1: $2" in
  'Install: make deb') command=true ;; # build.sh does, as the packages are here already.
  *gpg\ --quick-generate-key*) signing_home ;;
  'An image: cp '*) image ;;
  *examples/fleet/build.sh*) (umask 077 && echo s3cret >"$top/credential"); at_end "rm -f '$top/credential' '$top'/querator-fleet_1.0_all.deb" ;;
  *'apt-get install ./querator-fleet'*) cp "$top/querator-fleet_1.0_all.deb" "$root/root/" ;;
  'What a fleet has in common: install -m 600 credential '*) cp "$top/credential" "$root/root/" ;;
  'Configuration: tee '*) inside useradd camera ;;
  *Acquire::Check-Date=false*) repository_of_the_future ;;
  'Upgrade and back: apt-get update') next_version ;;
  'Back-up: querator backup monday'*) completed; as worker sh -c 'echo left | querator produce readings' ;;
  'Back-up: querator restore --offline'*) new_card ;;
  'The agent does not start: journalctl'*) mistake ;;
  'The disk is full: querator status') fill ;;
  'A segment was set aside: querator doctor') damage ;;
  'The uplink lags: querator uplink status')
    as worker querator clear readings --destructive
    hub_down
    completed
    completed
    ;;
  'The uplink lags: querator uplink test') hub_up ;;
  esac
}

# check SECTION COMMAND STATUS looks at what came of it.
check() {
  case "$1: $2" in
  *': querator doctor') doctors "$3"; return ;;
  *': querator salvage '*) # What was damaged cannot be read.
    (($3 == 1)) && [[ $(wc -l <"$root/root/salvaged.jsonl") -gt 100 ]]
    return ;;
  esac
  (($3 == 0)) || return 1
  case "$1: $2" in
  'Install: querator work'*) grep -q '^21.4$' "$scratch/said" ;;
  *': make repo'*) mkdir "$root/media/usb"; cp -r "$top/dist/repo/." "$root/media/usb/" ;;
  'A repository for a fleet: apt-get install'*) inside apt-cache policy querator | grep -q /media/usb ;;
  'An image: chroot '*) [[ -L $image/etc/systemd/system/multi-user.target.wants/querator.service ]] ;;
  *'apt-get install ./querator-fleet'*) fleet_is_on ;;
  'What a fleet has in common: querator config check'*) grep -q '48MiB.*50-fleet.toml' "$scratch/said" ;;
  'What a fleet has in common: apt-get purge'*) fleet_is_off ;;
  'Configuration: systemctl restart'*) same MemoryMax "$(show MemoryMax)" $((192 << 20)) ;;
  *': querator access check'*) grep -q 60-site.toml "$scratch/said" ;;
  'Back-up: querator audit') grep -q readings-of-tuesday "$scratch/said" ;;
  'Back-up: systemctl start'*) until_true 60 "the items of the back-up" holds readings 1 ;;
  'Upgrade and back: apt-get install querator') same version "$(installed)" "$version+next" ;;
  'Upgrade and back: apt-get install --allow-downgrades'*) same version "$(installed)" "$version" ;;
  'The agent does not start: journalctl'*) grep -q 'memory-limti' "$scratch/said" && rm "$root/etc/querator/conf.d/90-mistake.toml" ;;
  'The agent does not start: systemctl restart'*) until_true 30 "the start" is_active ;;
  'The disk is full: querator status') grep -q 'FULL: produce is refused' "$scratch/said" ;;
  'The disk is full: querator queues update'*) drain ;;
  'A segment was set aside: querator items import'*) holds salvaged "$(wc -l <"$root/root/salvaged.jsonl")" ;;
  'The uplink lags: querator uplink status') grep -q '^waiting *[1-9]' "$scratch/said" ;;
  'The uplink lags: querator uplink flush'*) uplink_has pending 0 ;;
  'The uplink lags: querator uplink pause') until_true 30 "the pause" uplink_has state '"paused"' ;;
  'Remove: apt-get remove'*) [[ -d $root/var/lib/querator/partitions ]] ;;
  'Remove: apt-get purge'*) [[ ! -e $root/var/lib/querator && ! -e $root/etc/querator/querator.toml ]] ;;
  esac
}

installed() { inside dpkg-query -W -f '${Version}' querator; }
holds() { as worker querator audit "$1" --output json | grep -q "\"ready\": $2,"; }

# doctors says whether doctor finds nothing worse than the file system of the container, and no uplink amiss.
doctors() {
  (($1 == 0)) && return
  ! grep '^FAILING' "$scratch/said" | grep -v -E 'is on an overlay|is on tmpfs'
}

# signing_home is where the key of the handbook goes, without anybody who types a passphrase.
signing_home() {
  export GNUPGHOME=$scratch/gnupg
  mkdir -m 700 "$GNUPGHOME"
  : >"$scratch/no-passphrase"
  printf '%s\n' batch "pinentry-mode loopback" "passphrase-file $scratch/no-passphrase" >"$GNUPGHOME/gpg.conf"
  at_end "gpgconf --homedir '$GNUPGHOME' --kill all"
  at_end "rm -rf '$top/dist/repo'"
  rm -rf "$top/dist/repo"
}

# image makes a Debian that is not booted, beside the work tree.
image() {
  [[ ! -e $top/image ]] || fail "$top/image is in the way"
  local booted=$root
  layer image "$arch"
  image=$root root=$booted
  ln -sfn "$image" "$top/image"
  at_end "rm -f '$top/image'"
}

# repository_of_the_future has a date that apt does not believe.
repository_of_the_future() {
  local dir=$root/media/usb/dists/stable
  sed -i "s/^Date: .*/Date: $(date -u -R -d '+400 days' | sed 's/+0000/UTC/')/" "$dir/Release"
  rm "$dir/InRelease" "$dir/Release.gpg"
  gpg --quiet --clearsign -o "$dir/InRelease" "$dir/Release"
  gpg --quiet -abs -o "$dir/Release.gpg" "$dir/Release"
  if inside apt-get -o APT::Update::Error-Mode=any update >"$scratch/said" 2>&1; then fail "apt believes a repository of the future"; fi
}

# next_version puts a newer package into the repository, with another querator.toml, which this device has changed.
next_version() {
  mkdir -p "$scratch/debs"
  repack "$(newest "$arch")" "$version+next" "$scratch/debs"
  KEY=packages@example.com "$top/packaging/repo.sh" "$root/media/usb" "$scratch"/debs/*.deb >/dev/null
  rm -rf "$root"/var/lib/apt/lists/* # With the future in it, apt does not believe the present.
  echo '# Mine.' >>"$root/etc/querator/querator.toml"
}

fleet_is_on() {
  same "the credential on the device" "$(inside stat -c '%U:%G %a' /etc/credstore/querator.uplink)" "root:root 600"
  until_true 60 "the restart" is_active
  matches "the credential of the agent" "$(inside stat -c '%a' /run/credentials/querator.service/querator.uplink)" '4[04]0'
  if as worker cat /run/credentials/querator.service/querator.uplink >/dev/null 2>&1; then fail "a user can read the credential"; fi
  status_of | tr -d ' \n' | grep -q '"limit_bytes":50331648' || fail "memory-limit of 50-fleet.toml is not in effect"
  until_true 60 "the connection of the uplink" uplink_has state '"connected"'
  completed
  until_true 60 "the delivery of an event" uplink_has delivered '[1-9]'
}
fleet_is_off() {
  [[ ! -e $root/etc/querator/conf.d/50-fleet.toml && ! -e $root/etc/credstore/querator.uplink ]] || fail "purge has left something"
  until_true 60 "the restart" is_active
  status_of | tr -d ' \n' | grep -q '"limit_bytes":67108864' || fail "memory-limit of 50-fleet.toml is still in effect"
  uplink_has state '"off"' || fail "the uplink is still there"
}

# new_card is a device that has no items yet; the back-ups are brought to it.
new_card() {
  cp "$root"/home/worker/*.backup "$root/root/"
  rm -rf "$root/var/lib/querator"
  inside install -d -o querator -g querator -m 700 /var/lib/querator
}

mistake() {
  echo 'memory-limti = 3' >"$root/etc/querator/conf.d/90-mistake.toml"
  inside systemctl restart querator 2>/dev/null && fail "it starts with a mistake in its configuration"
  same "exit code with a mistake" "$(show ExecMainStatus)" 78
}

# fill makes the disk look full: more has to be free than there is.
fill() {
  printf '[storage]\nmin-free = "1000GiB"\n' >"$root/etc/querator/conf.d/90-full.toml"
  inside systemctl restart querator
  local status=0
  as worker sh -c 'echo 1 | querator produce readings' 2>/dev/null || status=$?
  same "exit code of produce on a full disk" "$status" 5
}
drain() {
  rm "$root/etc/querator/conf.d/90-full.toml"
  inside systemctl restart querator
  completed
}

# damage writes over a piece of the file that holds the items.
damage() {
  local file
  # What cannot be compressed, so that it fills the file.
  as worker sh -c 'head -c 300000 /dev/urandom | base64 | querator produce readings --lines' >/dev/null 2>&1
  inside systemctl stop querator.socket querator.service
  file=$(du "$root"/var/lib/querator/partitions/readings-[0-9]*/0*/*.vlog | sort -rn | head -n 1 | cut -f 2)
  head -c 500 /dev/urandom | dd of="$file" bs=1 seek=20000 conv=notrunc status=none
  inside systemctl start querator.socket querator.service
  until_true 60 "the start" is_active
  # It shows when the items are read.
  as worker sh -c 'querator lease readings --timeout 1m' >/dev/null
  until_true 60 "that the segment is set aside" inside sh -c 'ls -d /var/lib/querator/partitions/*/quarantine/*'
}

native_layer machine
echo dev >"$root/etc/hostname"
echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90test" # Nobody answers.
rm -f "$root/etc/apt/sources.list" # There is no network to ask for Debian's own packages.
deb=$(newest "$arch")
version=$(dpkg-deb -f "$deb" Version)
boot
inside useradd -m worker
inside useradd -m pi

# Somebody new, who has got the package. What is timed is all that the README says to type.
cp "$deb" "$root/root/"
commands "$readme" '    '
begin=$EPOCHREALTIME
newcomer() { # The README's user is pi.
  case $1 in
  '#') inside sh -c "cd /root && $2" ;;
  '$') as pi env HOME=/home/pi sh -c "cd /home/pi && $2" ;;
  esac
}
for file in "$scratch"/commands/*; do
  { read -r section; read -r who; command=$(cat); } <"$file"
  newcomer "$who" "$command" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; fail "'$command' of the README"; }
done
took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
as pi querator audit readings --output json 2>/dev/null | grep -q '"completed": 1,' || fail "nobody has completed an item"
figure "seconds from the package to a completed item" "$took"
awk -v t="$took" 'BEGIN { exit t >= 120 }' || fail "a newcomer needs more than two minutes"
passed "somebody new has completed an item with what the README says"
inside apt-get purge -y -qq querator >/dev/null 2>&1

hub_start
commands "$handbook" ''
follow "$handbook"
shut_down
echo "the handbook does what it says"
