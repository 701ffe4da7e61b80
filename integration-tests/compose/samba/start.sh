#!/usr/bin/env bash
# Makes the two users and the folders, then runs smbd. Files belong to the owner of the folder on
# the host, so that tests may look at them.
set -eu
owner=$(stat -c %u /data)
[ "$owner" = 0 ] && owner=1000
id testuser >/dev/null 2>&1 || useradd --no-create-home --uid "$owner" --non-unique testuser
id readuser >/dev/null 2>&1 || useradd --no-create-home readuser
printf '%s\n%s\n' Test-pass-1 Test-pass-1 | smbpasswd -L -s -a testuser
printf '%s\n%s\n' Read-pass-1 Read-pass-1 | smbpasswd -L -s -a readuser
mkdir -p /data/secure /data/signed /data/ro /data/worm
chown "$owner" /data/secure /data/signed /data/ro /data/worm
exec smbd --foreground --no-process-group --debug-stdout
