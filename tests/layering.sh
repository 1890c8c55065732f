#!/usr/bin/env bash
# Checks who may depend on whom: core on nothing that does network, SQL or git; the crates around
# it on core, and never on each other.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0

# Names of all crates that a crate pulls in, whatever its features.
tree() {
  cargo tree --locked --package "$1" --edges normal --all-features --prefix none --format '{p}' |
    cut -d ' ' -f 1 | sort -u
}

forbid() {
  local crate=$1 names=$2 found
  # Kept out of a pipe, so that a `cargo tree` that fails is a failure and no empty list.
  found=$(tree "$crate")
  found=$(grep -xE "$names" <<<"$found" || true)
  if [[ -n $found ]]; then
    echo "layering: $crate must not depend on" $found >&2
    failed=1
  fi
}

forbid agent-runner-core 'agent-runner|agent-runner-(providers|tools|http)|axum.*|hyper.*|reqwest|sqlx.*|libsqlite3-sys|git2|scraper|rustls|native-tls|openssl.*'
forbid agent-runner-providers 'agent-runner|agent-runner-(tools|http)|axum.*|git2|scraper'
forbid agent-runner-tools 'agent-runner|agent-runner-(providers|http)|axum.*|sqlx.*'
forbid agent-runner-http 'agent-runner|agent-runner-(providers|tools)|sqlx.*|reqwest|git2|scraper'

((failed == 0)) && echo "layering: as it should be"
exit "$failed"
