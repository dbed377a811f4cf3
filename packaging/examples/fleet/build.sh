#!/bin/sh
# Builds querator-fleet_VERSION_all.deb in the present directory: 50-fleet.toml for /etc/querator/conf.d, and a
# credential for /etc/credstore, which only root can read. Both are conffiles: what is changed on a device stays.
#
#   build.sh VERSION CREDENTIAL
#
# Whoever gets the package gets the credential. Keep it out of public repositories, or leave the credential out here
# and give each device one of its own.
set -eu
if [ $# != 2 ]; then
	echo "usage: $0 VERSION CREDENTIAL" >&2
	exit 2
fi
here=$(dirname "$0")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D -m 644 "$here/50-fleet.toml" "$root/etc/querator/conf.d/50-fleet.toml"
install -d -m 700 "$root/etc/credstore"
install -m 600 "$2" "$root/etc/credstore/querator.uplink"
mkdir "$root/DEBIAN"
sed "s/@VERSION@/$1/" "$here/control" >"$root/DEBIAN/control"
install -m 755 "$here/postinst" "$here/postrm" "$root/DEBIAN/"
printf '%s\n' /etc/querator/conf.d/50-fleet.toml /etc/credstore/querator.uplink >"$root/DEBIAN/conffiles"
dpkg-deb --root-owner-group --build "$root" "querator-fleet_$1_all.deb" >/dev/null
# The package is as secret as what is in it.
chmod 600 "querator-fleet_$1_all.deb"
echo "querator-fleet_$1_all.deb"
