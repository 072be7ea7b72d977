#!/bin/sh
# The TypeScript client: built, type-checked, and its claims tried against real nodes, in Node.js and in Chromium.
# What is not on the machine is skipped aloud. Needs a release build.
set -eu
cd "$(dirname "$0")/.."

syncline=${CARGO_TARGET_DIR:-target}/release/syncline
case $syncline in /*) ;; *) syncline=$PWD/$syncline ;; esac
cd web/client

node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null || {
    echo "client: SKIPPED, since there is no Node.js 20 or later here"
    exit 0
}

# Installed once for each lock file; then there is no need of the network.
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund --prefer-offline
    cp package-lock.json node_modules/.installed
fi
if grep -n '"resolved"' package-lock.json; then
    echo "client: package-lock.json records download addresses: see .npmrc, and install anew" >&2
    exit 1
fi

rm -rf dist build
SYNCLINE=$syncline npm --silent test
