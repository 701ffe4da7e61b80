#!/usr/bin/env bash
# Makes the keys on the first start, in the folder that the host shares, and runs sshd. No key is
# in the repository or in the image.
set -eu
cd /keys
for key in host_key client_key other_key; do
    [ -s "$key" ] || ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$key"
done
printf '[127.0.0.1]:29070 %s\n' "$(cut -d' ' -f1,2 host_key.pub)" >known_hosts
chown --reference=/keys client_key client_key.pub other_key other_key.pub known_hosts
install -m 644 client_key.pub /etc/ssh/authorized_keys
chown testuser /data
exec /usr/sbin/sshd -D -e
