#!/bin/sh
# Asks a node whatever its own description allows, and much that it does not. Any answer that the description
# lacks (a status, a media type, a body or header of another shape) and any fault of the server fails the run.
# The seed is fixed, so a run repeats; other seeds and more cases: sh tests/schemathesis.sh --seed 2 -n 1000
#
# Needs a release build, and what `sh tests/setup.sh --test` has put into the cache.
set -eu
cd "$(dirname "$0")/.."

syncline=${CARGO_TARGET_DIR:-target}/release/syncline
case $syncline in /*) ;; *) syncline=$PWD/$syncline ;; esac
python=${XDG_CACHE_HOME:-$HOME/.cache}/syncline/python/bin/python

folder=$(mktemp -d)
node=
stop() {
    if [ -n "$node" ]; then
        kill "$node" 2>/dev/null || true
        wait "$node" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

"$syncline" serve --name asked --listen 127.0.0.1:0 --data-dir "$folder/data" >"$folder/out" 2>"$folder/log" &
node=$!
url=
while [ -z "$url" ]; do
    kill -0 "$node" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
    url=$(sed -n 's/^.* listens on //p' "$folder/out")
done

# The document of the examples, so that reads find one.
echo '{"title": "Groceries", "items": [], "note": {"$text": "by Saturday"}, "views": {"$counter": 0}}' |
    "$syncline" doc put lists/groceries --node "$url" >/dev/null

hooks=$PWD/tests
cd "$folder"
export PYTHONPATH="$hooks" PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=schemathesis_hooks
"$python" -m schemathesis.cli run "$url/openapi.json" --seed 1 --max-examples 40 --no-color --warnings off \
    --phases examples,coverage,fuzzing --suppress-health-check all --request-timeout 30 --exclude-path /v1/subscribe \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
    "$@" >"$folder/report" 2>&1 || { status=$?; cat "$folder/report"; tail -n 20 "$folder/log"; exit "$status"; }
kill -0 "$node" 2>/dev/null || { echo "the node has ended:"; tail -n 20 "$folder/log"; exit 1; }
grep -E 'generated|Tested' "$folder/report"
