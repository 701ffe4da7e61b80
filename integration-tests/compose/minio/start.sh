#!/usr/bin/env bash
# Starts MinIO with three identities: the root user, one that only reads, one without admin rights.
set -eu
minio server /data --address :9000 &
server=$!
trap 'kill "$server"' TERM INT

until mc alias set local http://127.0.0.1:9000 "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD"; do
    kill -0 "$server"
    sleep 1
done >/dev/null 2>&1

cat >/tmp/reader.json <<'J'
{"Version": "2012-10-17", "Statement": [{
  "Effect": "Allow", "Resource": ["arn:aws:s3:::*"],
  "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:GetBucketLocation", "s3:ListBucket", "s3:ListAllMyBuckets"]}]}
J
mc admin policy create local reader /tmp/reader.json
mc admin user add local readkey readsecretkey123
mc admin user add local writekey writesecretkey123
mc admin policy attach local reader --user readkey || true
mc admin policy attach local readwrite --user writekey || true
touch /tmp/ready
wait "$server"
