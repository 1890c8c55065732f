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

# The example for authors of providers needs nothing of ours but core: it builds in a crate of its
# own that has only what its first lines say.
stranger=$(mktemp -d)
trap 'rm -rf "$stranger"' EXIT
mkdir "$stranger/src"
cp examples/custom_provider.rs "$stranger/src/main.rs"
# The same versions, so that nothing is downloaded.
cp Cargo.lock "$stranger/"
cat >"$stranger/Cargo.toml" <<MANIFEST
[package]
name = "stranger"
version = "0.0.0"
edition = "2024"

[dependencies]
agent-runner-core = { path = "$PWD/agent-runner-core" }
anyhow = "1"
async-trait = "0.1"
futures = "0.3"
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[workspace]
MANIFEST
if ! cargo check --quiet --offline --manifest-path "$stranger/Cargo.toml" --target-dir target/stranger; then
  echo "layering: examples/custom_provider.rs must build on agent-runner-core alone" >&2
  failed=1
fi

((failed == 0)) && echo "layering: as it should be"
exit "$failed"
