#!/usr/bin/env bash
# A whole arm64 machine, emulated: Debian with its own kernel on 512 MB, the package installed, and an ordinary user who
# works. In the middle of that the power goes, several times: the machine is killed, and its card loses a random half of
# what the kernel had not told it to flush. Each time it starts again, the audit is clean, and every item
# that was acknowledged is there. A card that stalls for a while is waited for; one that does so for longer than the
# watchdog allows gets the agent restarted. The last start is without the memory controller, as on a Raspberry Pi.
#
#   packaging/test/machine.sh     with the newest package for arm64 in dist
#
#   CUTS=3      how often the power goes
#   SEED=...    when it goes, and what the card loses
. "$(dirname "$0")/lib.sh"
readonly cuts=${CUTS:-3} seed=${SEED:-$(((RANDOM << 15) + RANDOM))}
needs debootstrap qemu-system-aarch64 qemu-aarch64-static cpio depmod modprobe mke2fs e2fsck go
emulated qemu-aarch64
RANDOM=$seed
echo "SEED=$seed"
qemu= card= # processes, while the machine is on

# kernel puts Debian's kernel for virtual machines and a static busybox into $cache/arm64-backports, once. It is the one of
# backports: like that of Raspberry Pi OS, and unlike 6.1, it tells the agent which process exactly has connected.
kernel() {
  at=$cache/arm64-backports
  if [[ ! -e $at.done ]]; then
    rm -rf "$at"
    mkdir "$at"
    layer kernel arm64
    sed "s/ $suite / $suite-backports /" "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/backports.list"
    inside sh -c 'apt-get update -qq && cd /srv && apt-get download -qq busybox-static "$(
      apt-cache show linux-image-cloud-arm64 | sed -n "s/^Depends: \(linux-image-[^ ]*\).*/\1/p" | sort -V | tail -n 1)"' \
      >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log"; fail "no kernel"; }
    for deb in "$root"/srv/*.deb; do dpkg-deb -x "$deb" "$at"; done
    touch "$at.done"
  fi
  release=$(basename "$at"/lib/modules/*)
  depmod -b "$at" "$release"
}
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

# initrd has what the kernel needs to get at the card.
initrd() {
  local dir=$scratch/initrd module how file n=100
  mkdir -p "$dir"/{bin,dev,root,modules}
  cp "$at/bin/busybox" "$dir/bin/"
  for module in virtio_pci virtio_blk virtio_console crc32c_generic ext4; do
    while read -r how file; do
      if [[ $how == insmod ]] && ! grep -q -x -F "$file" "$scratch/loaded" 2>/dev/null; then
        echo "$file" >>"$scratch/loaded"
        if [[ $file == *.xz ]]; then xz -dc "$file"; else cat "$file"; fi >"$dir/modules/$((n++)).ko"
      fi
    done < <(modprobe -d "$at" -S "$release" --show-depends "$module")
  done
  cat >"$dir/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root && exec /bin/busybox switch_root /root /sbin/init
INIT
  chmod 755 "$dir/init"
  (cd "$dir" && find . | cpio -o -H newc --quiet | gzip -1) >"$scratch/initrd.gz"
}

# card_image makes the card: a Debian with the package, a user, and what is run in the machine.
card_image() {
  layer machine arm64
  cp "$(newest arm64)" "$root/srv/querator.deb"
  inside dpkg -i /srv/querator.deb >"$scratch/dpkg.log" 2>&1 || { cat "$scratch/dpkg.log"; fail "dpkg -i"; }
  rm "$root/srv/querator.deb"
  inside useradd -m -G querator worker
  inside useradd -m camera
  (cd "$top" && CGO_ENABLED=0 GOARCH=arm64 go build -o "$root/srv/witness" ./packaging/test/witness)
  install -m 755 "$top/packaging/test/machine/run" "$root/srv/run"
  install -m 644 "$top/packaging/test/machine/run.service" "$root/etc/systemd/system/run.service"
  inside systemctl enable -q run.service
  # Nobody logs in, and nobody is asked anything.
  inside systemctl mask -q getty.target console-getty.service systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  echo device >"$root/etc/hostname"
  image=$scratch/card.img
  truncate -s 1500M "$image"
  mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$image"
}

# power_on WORDS... starts the machine, with more words for its kernel. Its clock begins at $clock.
power_on() {
  local begin=$SECONDS
  starts=$((starts + 1))
  : >"$scratch/said"
  "$scratch/card" -seed "$((seed + starts))" "$image" "$scratch/card.sock" >"$scratch/card.log" 2>&1 &
  card=$!
  until_true 30 "the card" test -S "$scratch/card.sock"
  qemu-system-aarch64 -M virt -cpu cortex-a53 -smp 2 -m 512 -accel tcg,thread=multi \
    -kernel "$at/boot/vmlinuz-$release" -initrd "$scratch/initrd.gz" \
    -append "root=/dev/vda rw console=ttyAMA0 systemd.show_status=0 panic=-1 run.first=$((starts * 10000000)) $*" \
    -blockdev "driver=nbd,node-name=card,server.type=unix,server.path=$scratch/card.sock" \
    -device virtio-blk-pci,drive=card,write-cache=on -device virtio-serial-pci \
    -chardev "file,id=said,path=$scratch/said,append=on" -device virtserialport,chardev=said,name=said \
    -chardev "file,id=told,path=$scratch/told,append=on" -device virtserialport,chardev=told,name=told \
    -serial "file:$scratch/console" -rtc "base=${clock:-utc}" -display none -monitor none -nic none -no-reboot </dev/null &
  qemu=$!
  until_said 600 booted
  figure "start $starts: seconds outside, uptime, start of the agent" "$((SECONDS - begin)), $(said booted), $(said ready)"
}

# power_off is what a pulled plug does: the card does not answer any more, and then there is no machine.
power_off() {
  kill -USR1 "$card"
  until_true 120 "the end of the power" test -s "$scratch/card.log"
  kill -KILL "$qemu"
  wait "$qemu" 2>/dev/null || true
  wait "$card" || { cat "$scratch/card.log"; fail "the card"; }
  qemu= card=
  printf '\ncut .\n' >>"$scratch/told"
  echo "$(<"$scratch/card.log")"
}
# stall makes the card answer nothing for so many seconds, and everything after that.
stall() {
  kill -STOP "$card"
  sleep "$1"
  kill -CONT "$card"
}
halt() { if [[ -n $qemu$card ]]; then kill -KILL $qemu $card 2>/dev/null; fi; }
at_end halt

# said KEY prints what the machine has said last of something.
said() { sed -n "s/^$1 \(.*\) \.\$/\1/p" "$scratch/said" | tail -n 1; }
# until_said SECONDS KEY waits for that.
until_said() {
  local end=$((SECONDS + $1))
  until [[ -n $(said "$2") ]]; do
    if ((SECONDS > end)) || [[ -n $(said FAILED) ]] || ! kill -0 "$qemu" 2>/dev/null; then
      tail -n 40 "$scratch/console" "$scratch/said" >&2
      fail "the machine has not said '$2'"
    fi
    sleep 0.2
  done
}
# answered counts the items whose produce was.
answered() { awk '$1 == "produced" && $4 == "." { n += $3 - $2 + 1 } END { print n + 0 }' "$scratch/told"; }
# works waits until the machine has worked for a while, a random one.
works() {
  local before end=$((SECONDS + 300)) begin=$EPOCHREALTIME
  before=$(answered)
  until (($(answered) >= before + 500)); do
    [[ -z $(said FAILED) ]] && ((SECONDS < end)) || { tail -n 20 "$scratch/said" >&2; fail "the machine does not work"; }
    sleep 0.2
  done
  sleep "$((RANDOM % 8)).$((RANDOM % 10))"
  figure "items produced a second, beside a consumer" \
    "$(awk -v n="$(($(answered) - before))" -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f", n / (b - a) }')"
}

tree arm64 systemd,systemd-sysv,dbus,curl,init-system-helpers,procps
kernel
initrd
card_image
(cd "$top" && go build -o "$scratch/card" ./packaging/test/card && go build -o "$scratch/witness" ./packaging/test/witness)
: >"$scratch/told"
starts=0
passed "a card with Debian $(cat "$root/etc/debian_version"), kernel $release and the package"

power_on
until_said 300 hog
same "MemoryMax in the cgroup" "$(said max)" $((128 << 20))
same "a hog beyond its MemoryMax" "$(said hog)" oom-kill
same "OOMScoreAdjust of the agent" "$(said oom)" -500
passed "the machine is up; its limit on memory is a real one"
until_said 300 access
same "exit codes of a produce by camera.service, and by the same user elsewhere" "$(said access)" "0 1"
passed "a rule about a unit holds for the hardened agent"
works
stall 15
works
same "restarts after a stall of 15 s" "$(said restarts)" 0
passed "a card that stalls for 15 s is waited for"
for ((cut = 1; cut <= cuts; cut++)); do
  works
  matches "memory of the agent" "$(said memory)" "* oom_kill 0"
  figure "memory under load: at most, now, anonymous (bytes)" "$(said memory)"
  power_off
  # The second time without a clock that runs on: a board that has none is years back.
  clock=utc
  if ((cut == 1)); then clock=2021-02-03T04:05:06; fi
  if ((cut == cuts)); then break; fi
  power_on
  until_said 600 audit
  same "the audit after cut $cut" "$(said audit)" 0
  if [[ $clock != utc ]]; then matches "the clock of a board that has none" "$(said clock)" '*NOT trusted*'; fi
  passed "after power cut $cut: the audit is clean; $(said clock)"
done
power_on cgroup_disable=memory run.last
until_said 600 audit
same "the audit after cut $cut" "$(said audit)" 0
until_said 300 watched
stall 40
until_said 300 again
same "restarts by the watchdog, lines about it, the audit" "$(said again)" "1 1 0"
passed "a commit that hangs for longer than the watchdog allows gets the agent restarted"
until_said 300 off
matches "doctor without a memory controller" "$(said doctor)" '*only memory-limit holds*'
wait "$qemu" || true
qemu=
wait "$card"
card=
echo "$(<"$scratch/card.log")"
passed "after power cut $cut, without a memory controller: the audit is clean"
e2fsck -fn "$image" >"$scratch/fsck" 2>&1 || { cat "$scratch/fsck"; fail "e2fsck"; }
figure "what was told" "$("$scratch/witness" judge "$scratch/told")"
passed "every acknowledged item was there after $cuts power cuts"
