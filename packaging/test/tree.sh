#!/usr/bin/env bash
# Makes the Debian of this architecture that the tests in containers run in, if it is not there yet.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/boot.sh"
native_tree
