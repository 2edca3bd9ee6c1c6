"""Writes deploy/monitoring/rules.yaml as the object that the Prometheus operator reads, to standard output."""

import sys
from pathlib import Path

import yaml


def main():
    rules = yaml.safe_load(Path("deploy/monitoring/rules.yaml").read_text(encoding="utf-8"))
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "itera-serve"},
        "spec": rules,
    }
    print("# Made of deploy/monitoring/rules.yaml by `scripts/serve-deploy-check.sh --write`.")
    yaml.safe_dump(rule, sys.stdout, sort_keys=False, width=110)


if __name__ == "__main__":
    main()
