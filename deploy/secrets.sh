#!/bin/sh
# Makes the secrets that compose.yaml and compose.single.yaml mount, each in a file of deploy/secrets.
# Safe to repeat: what is there stays.
set -eu
cd "$(dirname "$0")"
# Prometheus and Grafana read these as users of their own, whatever the umask was of whoever cloned them.
for folder in prometheus grafana; do
    [ ! -d "$folder" ] || chmod -R a+rX "$folder"
done
mkdir -p -m 0700 secrets
cd secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# The folder is its owner's alone. The files can be read, because each container reads its own as a user of its own.
keep() {
    [ -e "$1" ] || printf '%s\n' "$2" >"$1"
    chmod 0444 "$1"
}

keep mysql_root_password "$(random)"
keep mysql_password "$(random)"
keep redis_password "$(random)"
keep api_key "trx_$(random)"
keep grafana_password "$(random)"
keep redis.conf "requirepass $(cat redis_password)"
keep database_url "mysql://trx:$(cat mysql_password)@mysql:3306/trx"
keep redis_url "redis://:$(cat redis_password)@redis:6379/0"
echo "deploy/secrets: the API key is in api_key, Grafana's password for admin in grafana_password"
