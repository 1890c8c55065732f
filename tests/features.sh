#!/usr/bin/env bash
# Builds every crate with no feature and with each of its features alone, without a warning.
set -euo pipefail
cd "$(dirname "$0")/.."

# Names of the features in a manifest; those that begin with `_` are parts of others.
features() {
  awk '/^\[/ { inside = ($0 == "[features]") } inside && /^[a-z][a-z0-9_-]* *=/ { print $1 }' "$1"
}

check() {
  echo "features: $*"
  cargo clippy --quiet --locked --package "$@" -- -D warnings
}

for crate in agent-runner-core agent-runner-providers agent-runner-tools agent-runner-http agent-runner; do
  manifest=$crate/Cargo.toml
  [[ $crate == agent-runner ]] && manifest=Cargo.toml
  check "$crate" --no-default-features
  for feature in $(features "$manifest"); do
    [[ $feature == default ]] || check "$crate" --no-default-features --features "$feature"
  done
done
