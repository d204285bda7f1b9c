#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: setup.sh VENV [lab]
# Installs what is missing: Debian packages with apt, Python packages into a venv
# that sees Debian's bcc (which is not on PyPI).  Run again, it changes nothing.
set -eu

venv=$1
what=${2:-}
root=$(cd "$(dirname "$0")" && pwd)

apt_install() {
	missing=
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "memtrace: install these packages first:$missing" >&2
		exit 1
	fi
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "memtrace: installing$missing" >&2
	$sudo apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

apt_install python3-venv python3-bpfcc
if [ ! -x "$venv/bin/pip" ]; then
	/usr/bin/python3 -m venv --system-site-packages "$venv"
fi
"$venv/bin/pip" install -q --disable-pip-version-check -e "$root[dev]"
# mypy does not follow the editable install's finder: show it the package by name.
mkdir -p "$venv/src"
ln -sfn "$root" "$venv/src/memtrace"

if [ "$what" = lab ]; then
	# What the man pages are checked with, and the apt line that memtrace itself would
	# tell; its packages are the last words.
	needed=$("$venv/bin/python" -m memtrace.lab.needs | sed 's/.*--no-install-recommends//')
	# shellcheck disable=SC2086
	apt_install groff-base man-db mandoc $needed
fi
