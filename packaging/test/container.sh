#!/usr/bin/env bash
# A booted Debian in a container without a network: the package is installed from a signed repository, used, crashed,
# restarted, reloaded, upgraded, taken back, removed, purged and installed again.
#
#   packaging/test/container.sh       with the newest package for this architecture in dist
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/boot.sh"
needs dpkg-deb gpg apt-ftparchive
native_layer machine

# A repository with the package as it is and one of the next version, which brings another querator.toml.
deb=$(newest "$arch")
old=$(dpkg-deb -f "$deb" Version)
new=$old+next
mkdir "$scratch/debs"
repack "$deb" "$new" "$scratch/debs"
signing_key
"$top/packaging/repo.sh" "$root/srv/repo" "$deb" "$scratch"/debs/*.deb >/dev/null
rm -f "$root"/etc/apt/sources.list
cat >"$root/etc/apt/sources.list.d/querator.sources" <<'END'
Types: deb
URIs: file:/srv/repo
Suites: stable
Components: main
Signed-By: /srv/repo/querator-archive-keyring.gpg
END
passed "a signed repository with $old and $new"

boot

inside apt-get update -qq
inside apt-get install -y -qq "querator=$old" >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log"; fail "apt-get install"; }
until_true 60 "the first start" is_active
for unit in querator.socket querator.service; do same "$unit" "$(inside systemctl is-enabled $unit)" enabled; done
same "rights of the socket" "$(inside stat -c '%U:%G %a' /run/querator/querator.sock /run/querator)" $'root:querator 660\nroot:root 755'
same "rights of the data" "$(inside stat -c '%U:%G %a' /var/lib/querator)" "querator:querator 700"
matches "the status in words" "$(show StatusText)" "0 queues with 0 items*"
same "systemd-analyze verify" "$(inside systemd-analyze verify --man=no querator.service querator.socket 2>&1 | grep querator || true)" ""
passed "installed, enabled, running; systemd has nothing to say of the units"
figure "exposure of the running service" "$(inside systemd-analyze security querator.service | grep -o 'exposure level.*: [0-9.]*' | grep -o '[0-9.]*$')"

inside useradd -m worker
if as worker querator queues list 2>"$scratch/refused"; then fail "a user outside the group was let in"; fi
inside usermod -aG querator worker
as worker querator queues create readings --lease-timeout 10m
as worker sh -c 'echo 21.4 | querator produce readings'
id=$(as worker querator lease readings --output jsonl | grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
passed "an ordinary user of the group has produced and leased"
# A lease outlives a restart: the agent knows that it is the same boot.
inside systemctl restart querator
as worker querator complete readings "$id"
passed "an item that was leased before a restart is completed after it"

# load N: clients that connect for each request, while COMMAND runs; none may fail.
load() {
  local clients=3 i pids=()
  rm -f "$scratch"/load.*
  for ((i = 0; i < clients; i++)); do
    (
      n=0
      while [[ ! -e $scratch/load.stop ]]; do
        inside curl -sS --fail --max-time 30 -o /dev/null --unix-socket /run/querator/querator.sock \
          -d '{"queue_name":"readings","request_timeout":"20s","items":[{"utf8":"x"}]}' -H 'Content-Type: application/json' \
          http://unix/v1/queue.produce 2>>"$scratch/load.errors" || echo failed >>"$scratch/load.errors"
        n=$((n + 1))
      done
      echo "$n" >"$scratch/load.count.$i"
    ) &
    pids+=($!)
  done
  "$@"
  sleep 1
  touch "$scratch/load.stop"
  wait "${pids[@]}"
  [[ ! -s $scratch/load.errors ]] || { cat "$scratch/load.errors"; fail "requests were lost during: $*"; }
  asked=$(cat "$scratch"/load.count.* | awk '{ n += $1 } END { print n }')
}
restarts() { for _ in 1 2 3 4 5; do inside systemctl restart querator; done; }
load restarts
figure "requests over 5 restarts, of which failed" "$asked, 0"
passed "clients lose no request to restarts"

before=$(show MainPID)
inside kill -SEGV "$before"
# Not "is active and another process": between the two questions there may be none.
crashed() {
  local now
  now=$(show MainPID)
  [[ $now != 0 && $now != "$before" ]] && is_active
}
until_true 60 "the restart after a crash" crashed
same "restarts after a crash" "$(show NRestarts)" 1
passed "restarted after a crash"

inside mkdir -p /run/systemd/system/querator.service.d
printf '[Service]\nWatchdogSec=4s\n' >"$scratch/watchdog.conf"
inside tee /run/systemd/system/querator.service.d/50-test.conf <"$scratch/watchdog.conf" >/dev/null
inside systemctl daemon-reload
inside systemctl restart querator
before=$(show MainPID)
sleep 10
same "the process that feeds its watchdog" "$(show MainPID)" "$before"
inside kill -STOP "$before"
inside curl -sS --fail --max-time 60 -o /dev/null --unix-socket /run/querator/querator.sock -d '{"queue_name":"readings"}' \
  -H 'Content-Type: application/json' http://unix/v1/queue.stats || fail "a client that came while the agent hung was not answered"
until_true 60 "the restart by the watchdog" crashed
inside journalctl -u querator --no-pager -o cat >"$scratch/journal"
grep -q "Watchdog timeout" "$scratch/journal" || fail "the journal does not tell of the watchdog"
inside rm /run/systemd/system/querator.service.d/50-test.conf
inside systemctl daemon-reload
passed "an agent that hangs is restarted by the watchdog, and its clients are answered"

printf '[[queue]]\nname = "fleet"\n' >"$root/etc/querator/conf.d/50-fleet.toml"
inside systemctl reload querator
until_true 20 "the reload" as worker querator queues info fleet
echo 'memory-limti = 3' >"$root/etc/querator/conf.d/90-bad.toml"
inside systemctl reload querator
mistakes() { [[ $(show StatusText) == *mistakes* ]]; }
until_true 20 "the word of the mistake" mistakes
is_active || fail "a mistake in the configuration ended the agent"
passed "reloaded; a mistake changes nothing and is told"
inside systemctl restart querator 2>/dev/null && fail "it starts with a mistake in its configuration"
sleep 5
same "exit code with a mistake" "$(show ExecMainStatus)" 78
same "state with a mistake" "$(show ActiveState)" failed
rm "$root/etc/querator/conf.d/90-bad.toml"
inside systemctl reset-failed querator.service
inside systemctl restart querator.socket querator.service
until_true 30 "the start without the mistake" is_active
passed "exit code 78 is not restarted"

count() { as worker querator stats readings --output json | grep -o '"total": *[0-9]*' | grep -o '[0-9]*' | head -n 1; }
stored=$(count)
upgrade() { inside apt-get install -y -qq "$@" >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log"; fail "apt-get install $*"; }; }
load upgrade "querator=$new"
tail -n 1 "$root/etc/querator/querator.toml" | grep -q "came with $new" || fail "querator.toml was not replaced"
until_true 30 "the restart by the upgrade" is_active
(($(count) >= stored)) || fail "items went with the upgrade"
figure "requests over an upgrade, of which failed" "$asked, 0"
passed "upgraded; querator.toml, which nobody had changed, was replaced"
upgrade --allow-downgrades "querator=$old"
passed "back to the version before"
echo '# Mine.' >>"$root/etc/querator/querator.toml"
upgrade -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "querator=$new"
tail -n 1 "$root/etc/querator/querator.toml" | grep -q '# Mine.' || fail "an edited querator.toml was replaced"
[[ -e $root/etc/querator/querator.toml.dpkg-dist ]] || fail "the new querator.toml is not beside the edited one"
until_true 30 "the restart by the upgrade" is_active
passed "upgraded; the edited querator.toml stayed"

# A store of a newer version.
inside systemctl stop querator.socket querator.service
format=$root/var/lib/querator/partitions/FORMAT
cp -p "$format" "$scratch/FORMAT"
python3 - "$format" <<'END'
import sys
crc = 0xffffffff
for byte in b"9999":
    crc ^= byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
open(sys.argv[1], "w").write("9999 %08x\n" % (crc ^ 0xffffffff))
END
inside systemctl start querator.socket
inside systemctl start querator.service 2>/dev/null && fail "it opens a store of a newer version"
sleep 4
same "exit code with a newer store" "$(show ExecMainStatus) $(show NRestarts)" "78 0"
cp -p "$scratch/FORMAT" "$format"
inside systemctl reset-failed querator.service
inside systemctl restart querator.socket querator.service
until_true 30 "the start with its own store" is_active
(($(count) >= stored)) || fail "items went with the refusal"
passed "a store of a newer version is refused and left alone"

echo 'token' >"$scratch/secret"
inside mkdir -p -m 700 /etc/credstore /etc/systemd/system/querator.service.d
inside tee /etc/credstore/querator.uplink <"$scratch/secret" >/dev/null
inside chmod 600 /etc/credstore/querator.uplink
inside cp /usr/share/doc/querator/examples/no-uplink.conf /etc/systemd/system/querator.service.d/
inside systemctl daemon-reload
inside systemctl restart querator
until_true 30 "the start without a network" is_active
inside test -s /run/credentials/querator.service/querator.uplink || fail "the credential is not there"
figure "exposure of the running service, no-uplink.conf" "$(inside systemd-analyze security querator.service | grep -o 'exposure level.*: [0-9.]*' | grep -o '[0-9.]*$')"
as worker querator stats readings >/dev/null
passed "runs without a network, with a credential"

inside apt-get remove -y -qq querator >/dev/null 2>&1
same "after remove" "$(inside sh -c 'test -e /run/querator/querator.sock || test -e /usr/bin/querator || ls -d /etc/querator/querator.toml /var/lib/querator/partitions' | wc -l)" 2
upgrade -o Dpkg::Options::=--force-confold "querator=$new"
until_true 30 "the start after installing again" is_active
(($(count) >= stored)) || fail "items went with remove"
passed "removed and installed again, with all items"
inside apt-get purge -y -qq querator >/dev/null 2>&1
same "after purge" "$(cd "$root" && ls -d etc/querator/conf.d/* var/lib/querator 2>/dev/null)" etc/querator/conf.d/50-fleet.toml
upgrade "querator=$new"
until_true 30 "the start after a purge" is_active
passed "purged and installed again"
shut_down
echo "the package passes in a container"
