#!/usr/bin/env bash
# Makes a signed apt repository of packages: static files, for any web server or a USB stick. Every version stays in
# it, so that a fleet can go back.
#
#   KEY=ID packaging/repo.sh DIR PACKAGE.deb...
#
# KEY is a key of gpg's (GNUPGHOME) that can sign. Packages that are in DIR already stay.
set -euo pipefail
umask 022
if (($# < 2)); then
  echo "usage: KEY=ID $0 DIR PACKAGE.deb..." >&2
  exit 2
fi
: "${KEY:?the key of gpg that signs, such as its fingerprint; make one with: gpg --quiet --quick-gen-key NAME ed25519 sign}"
dir=$1
shift
mkdir -p "$dir/pool/main/q/querator"
cp -- "$@" "$dir/pool/main/q/querator/"
cd "$dir"
for arch in amd64 arm64 armhf; do
  index=dists/stable/main/binary-$arch
  mkdir -p "$index"
  apt-ftparchive --arch "$arch" packages pool >"$index/Packages"
  xz -9kf "$index/Packages"
done
# No Valid-Until: a device without the right time would refuse the repository.
rm -f dists/stable/Release dists/stable/InRelease dists/stable/Release.gpg
apt-ftparchive -o APT::FTPArchive::Release::Origin=Querator -o APT::FTPArchive::Release::Suite=stable \
  -o APT::FTPArchive::Release::Codename=stable -o APT::FTPArchive::Release::Components=main \
  -o APT::FTPArchive::Release::Architectures="amd64 arm64 armhf" release dists/stable >Release
mv Release dists/stable/Release
gpg --batch --quiet --yes --local-user "$KEY" --clearsign -o dists/stable/InRelease dists/stable/Release
gpg --batch --quiet --yes --local-user "$KEY" -abs -o dists/stable/Release.gpg dists/stable/Release
gpg --batch --quiet --yes --export -o querator-archive-keyring.gpg "$KEY"
echo "$dir: $(find pool -name '*.deb' | wc -l) packages, signed with $KEY"
