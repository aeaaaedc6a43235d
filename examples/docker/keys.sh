#!/bin/sh
# Write ./keys: a certificate authority, the server's certificate, a key for each SuperNode, and the
# secret that the server's SuperExec shows. NAMES are the names and addresses by which SuperNodes and
# `flwr` reach the server.
#   sh keys.sh [NUMBER_OF_NODES]
set -eu
umask 077
mkdir -p keys
cd keys
openssl req -x509 -newkey rsa:2048 -sha256 -days 365 -nodes -keyout ca.key -out ca.crt -subj "/CN=my CA"
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj "/CN=superlink"
echo "subjectAltName=${NAMES:-DNS:superlink,DNS:proxy,DNS:localhost,IP:127.0.0.1}" > san.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -sha256 \
    -extfile san.ext -out server.pem
node=0
while [ "$node" -lt "${1:-2}" ]; do
    ssh-keygen -q -t ecdsa -b 384 -N "" -f "node$node"
    node=$((node + 1))
done
openssl rand 32 > superexec.secret
# The images' user is another than yours, and reads the files that are mounted; the folder is closed.
chmod 644 ./*
chmod 600 ca.key
