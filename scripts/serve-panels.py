#!/usr/bin/env python3
"""Asks a Prometheus for every panel of a dashboard, and whether its rules work; status 1 if one has nothing to show.

    scripts/serve-panels.py http://HOST:PORT DASHBOARD
"""

import json
import math
import sys
import urllib.parse
import urllib.request

VARIABLES = {"$__rate_interval": "15s", "$job": "itera-serve", "$instance": ".*"}


def get(address, path):
    with urllib.request.urlopen(address + path, timeout=10) as reply:
        return json.load(reply)["data"]


def main():
    address, file = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        panels = json.load(text)["panels"]
    targets = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    empty = []
    for title, expression in targets:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        found = get(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))["result"]
        if not any(math.isfinite(float(series["value"][1])) for series in found):
            empty.append(f"{title}: {expression}")
    rules = [rule for group in get(address, "/api/v1/rules")["groups"] for rule in group["rules"]]
    broken = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    if empty or broken:
        sys.exit("\n".join(["nothing to show:", *empty, "rules that do not work:", *broken]))
    print(f"{len(targets)} expressions of {len(panels)} panels have something to show, and {len(rules)} rules work")


if __name__ == "__main__":
    main()
