#!/usr/bin/env bash
# A package of another architecture in a Debian of that architecture, under user-mode emulation: it installs into a
# system that is not booted (as an image is built), the agent keeps an item over a restart, and purge leaves nothing.
#
#   packaging/test/foreign.sh arm64
. "$(dirname "$0")/lib.sh"
arch=$1
needs debootstrap qemu-aarch64-static qemu-arm-static
emulated qemu-aarch64 qemu-arm
tree "$arch" systemd,systemd-sysv,dbus,curl,init-system-helpers,procps
layer foreign "$arch"
cp "$(newest "$arch")" "$root/srv/querator.deb"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
inside dpkg -i /srv/querator.deb >"$scratch/dpkg.log" 2>&1 || { cat "$scratch/dpkg.log"; fail "dpkg -i"; }
for link in sockets.target.wants/querator.socket multi-user.target.wants/querator.service; do
  [[ -L $root/etc/systemd/system/$link ]] || fail "$link is not enabled"
done
inside getent passwd querator >/dev/null || fail "there is no user querator"
passed "installed for $arch: $(inside querator version)"
for round in 1 2; do
  # Not in a function, whose shell would take the signal in its place.
  chroot "$root" /usr/bin/querator agent --data-dir /tmp/data --socket /tmp/q.sock >"$scratch/out" 2>"$scratch/log" &
  agent=$!
  until_true 60 "the start of the agent" inside querator --socket /tmp/q.sock queues list
  if [[ $round == 1 ]]; then
    inside querator --socket /tmp/q.sock queues create readings
    inside sh -c 'echo 21.4 | querator --socket /tmp/q.sock produce readings'
  else
    matches "the item" "$(inside querator --socket /tmp/q.sock lease readings --output jsonl)" '*21.4*'
  fi
  kill -KILL "$agent"
  wait "$agent" 2>/dev/null || true
done
passed "an item outlives SIGKILL on $arch"
inside dpkg -P querator >/dev/null 2>&1
[[ ! -e $root/etc/querator && ! -e $root/var/lib/querator ]] || fail "purge has left something"
passed "purged on $arch"
