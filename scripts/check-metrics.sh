#!/usr/bin/env bash
# A run's metrics, scraped by a real Prometheus, and every metric that contrib/grafana-dashboard.json names found there. Needs
# target/debug/tidegate; without prometheus it says so and checks what it can without.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 scripts/check_metrics.py target/debug/tidegate
