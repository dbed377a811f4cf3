#!/usr/bin/env bash
# Every test of the packages, from a clean checkout. Root, on Debian; what is missing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
packaging/test/install.sh
packaging/test/build.sh amd64 arm64 armhf
packaging/test/complete.sh
packaging/test/container.sh
packaging/test/handbook.sh
packaging/test/foreign.sh arm64
packaging/test/foreign.sh armhf
packaging/test/machine.sh
