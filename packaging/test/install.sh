#!/usr/bin/env bash
# Installs what the tests need that is not there.
set -euo pipefail
missing=()
while read -r program package; do
  command -v "$program" >/dev/null || missing+=("$package")
done <<'END'
debootstrap debootstrap
systemd-nspawn systemd-container
systemd-analyze systemd
qemu-arm-static qemu-user-static
lintian lintian
apt-ftparchive apt-utils
man man-db
gpg gpg
gpgconf gpgconf
gpg-agent gpg-agent
xz xz-utils
nsenter util-linux
pgrep procps
curl curl
python3 python3-minimal
END
if ((${#missing[@]} > 0)); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
