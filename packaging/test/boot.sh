# Sourced after lib.sh by the tests that boot a Debian in a container.
# shellcheck shell=bash
needs debootstrap systemd-nspawn nsenter pgrep
arch=$(dpkg --print-architecture)
nspawn= leader= # the container and its first process, if one runs

native_tree() { tree "$arch" systemd,systemd-sysv,dbus,curl,init-system-helpers,ca-certificates,procps; }

# native_layer NAME makes a Debian of this architecture that can be written, and says where in $root.
native_layer() {
  native_tree
  layer "$1" "$arch"
}

# boot starts what is in $root, without a network but its own.
boot() {
  local end=$((SECONDS + 30))
  systemd-nspawn --quiet --register=no --keep-unit --private-network --boot -D "$root" --machine="q$$-$RANDOM" \
    </dev/null >"$scratch/boot.log" 2>&1 &
  nspawn=$!
  at_end halt
  until leader=$(pgrep -P "$nspawn"); do
    if ! kill -0 "$nspawn" 2>/dev/null || ((SECONDS > end)); then
      cat "$scratch/boot.log" >&2
      fail "systemd-nspawn starts no container here. It takes root with all capabilities, and cgroups that can be written;" \
        "where this runs in a container itself, that one has to be privileged (docker run --privileged)"
    fi
    sleep 0.2
  done
  end=$((SECONDS + 90))
  until booted >/dev/null 2>&1; do
    if ! kill -0 "$nspawn" 2>/dev/null || ((SECONDS > end)); then
      cat "$scratch/boot.log" >&2
      fail "the boot of the container has not happened"
    fi
    sleep 0.2
  done
  passed "booted: $(inside systemctl --version | head -n 1), Debian $(cat "$root/etc/debian_version")"
}

# booted finds the container's first process, which at first is not the only child of systemd-nspawn nor the one that stays,
# and asks it whether it is up.
booted() {
  leader=$(pgrep -P "$nspawn" -x systemd) && inside systemctl is-active basic.target
}

# shut_down ends the container in order, as pulling the plug is not what is tested here.
shut_down() {
  kill -s RTMIN+4 "$leader"
  wait "$nspawn" || true
  nspawn= leader=
}

# halt ends a container that still runs.
halt() {
  if [[ -n $leader ]]; then kill -KILL "$leader" 2>/dev/null; fi
  if [[ -n $nspawn ]]; then
    kill -KILL "$nspawn" 2>/dev/null
    wait "$nspawn" 2>/dev/null
  fi
}

# inside runs a command in the container as root, as runs it as a user with the groups that it has by now.
inside() { nsenter -t "$leader" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
as() { inside setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
show() { inside systemctl show -P "$1" "${2:-querator.service}"; }
is_active() { [[ $(show ActiveState) == active && $(show SubState) == running ]]; }
