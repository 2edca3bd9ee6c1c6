#!/usr/bin/env python3
"""Measures itera-serve under load on loopback and writes results/serve-bench.json.

    scripts/serve-bench.py [--seconds S] [--precision int8|int4] [--output FILE]

Needs wrk (Debian: apt-get install wrk) and Linux. Builds the release, starts it on a free port with a
database in a temporary folder and without a rate limit, and puts four loads on it, each bounded in time:
32 connections without pause, 32 with pauses that make half of 2,000 requests a second, one connection
asking for one token, and the second load again while the server learns from 50 records. Then it scores stories in
turns with `itera-validate score`, and times the first token after a prompt of 16 kB that is new, known, or a session.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = 32
CONNECTIONS = 32
# Greedy text of this prompt has no end within 32 tokens, so every answer is as long as asked for.
REQUEST = {"input_text": "Once upon a time", "max_length": TOKENS, "temperature": 0.8, "seed": 1}
RECORDS = 50
SCORE_TURNS = 5
# Bytes of a long prompt, the most that the server takes by default.
CONTEXT = 16_384
CONTEXT_TURNS = 21


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


def memory(process, field):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc has no {field}")


def busy_share():
    """Share of the cores in use over a second, before anything of this script runs."""

    def ticks():
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]

    (total, idle), _ = ticks(), time.sleep(1)
    (total2, idle2) = ticks()
    return 1 - (idle2 - idle) / max(total2 - total, 1)


def load(address, folder, name, seconds, connections, pause_ms, request):
    """One load by wrk; the tokens are those that the server counted."""
    out = folder / f"{name}.json"
    env = dict(os.environ, BODY=json.dumps(request), PAUSE_MS=str(pause_ms), OUT=str(out))
    before = call(address, "/stats")["tokens_generated"]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "-s", str(ROOT / "scripts/serve-bench.lua"), f"http://{address}/infer"]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    # What was on its way when wrk stopped is given up by the server within a token.
    time.sleep(0.2)
    tokens = call(address, "/stats")["tokens_generated"] - before
    found = json.loads(out.read_text())
    answers, errors = found.pop("answers"), found["errors"]
    requests = answers - errors
    # Tokens of answers that wrk did not wait for belong to no request that it counted.
    tokens = min(tokens, requests * request["max_length"])
    say(f"{name}: {requests / found['seconds']:.0f} requests/s, p50 {found['p50_ms']:.2f} ms, "
        f"p99 {found['p99_ms']:.2f} ms, {errors} errors")
    return {"name": name, "connections": connections, "pause_ms": pause_ms, "requests": requests,
            "tokens": tokens, "requests_per_s": requests / found["seconds"],
            "tokens_per_request": tokens / max(requests, 1), **found}


def give_feedback(address):
    text = "The committee met in the old town hall and voted to repair the bridge before winter. "
    for number in range(RECORDS):
        start = (7 * number) % len(text)
        reply = call(address, "/infer", {"input_text": "The committee", "max_length": 8})
        call(address, "/feedback", {"feedback_id": reply["feedback_id"], "user_rating": 1,
                                    "correction": (text * 3)[start:start + 160]})


def learn_under_load(address, folder, seconds):
    """The half load while the server learns; ends when both have."""
    give_feedback(address)
    receipt = {}
    thread = threading.Thread(target=lambda: receipt.update(call(address, "/adapt", {})))
    thread.start()
    time.sleep(0.2)
    found = load(address, folder, "adapting", seconds, CONNECTIONS, 32, REQUEST)
    thread.join()
    done = receipt["receipt"] or sys.exit(f"it could not learn: {receipt['message']}")
    say(f"learnt from {done['records_used']} records in {done['seconds']:.1f} s: {receipt['status']}")
    return found, {"records": done["records_used"], "steps": done["steps"],
                   "seconds": done["seconds"], "accepted": receipt["accepted"]}


def stories(seed, size):
    """So many bytes of sample stories, in an order of their own."""
    parts = (ROOT / "data/samples/tinystories-sample.txt").read_text().split("<|endoftext|>")
    parts = [part.strip() for part in parts if part.strip()]
    order, chosen, length = random.Random(seed), [], 0
    while length < size:
        chosen.append(order.choice(parts))
        length += len(chosen[-1].encode())
    return chosen


def score_in_turns(address, folder, precision, program):
    """Bytes per second of the server and of the program, on the same stories."""
    texts = stories(1, 4_000_000)
    size = sum(len(text.encode()) for text in texts)
    lines = folder / "stories.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows = folder / "rows.csv"
    command = [program, "score", lines, "--checkpoint", "micro-tinystories", "--precision", precision, "--output", rows]

    def by_server():
        for first in range(0, len(texts), 128):
            call(address, "/v1/score", {"input": texts[first:first + 128]})

    def by_program():
        rows.unlink(missing_ok=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    rates = {by_server: [], by_program: []}
    for _ in range(SCORE_TURNS):
        for work, found in rates.items():
            began = time.perf_counter()
            work()
            found.append(size / (time.perf_counter() - began))
    server, own = (statistics.median(found) for found in rates.values())
    say(f"scoring: {server / 1e6:.2f} MB/s, the program {own / 1e6:.2f} MB/s")
    return {"bytes": size, "server_bytes_per_s": server, "program_bytes_per_s": own}


def first_tokens(address):
    """Milliseconds until the answer of one token to a prompt of 16 kB is there."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(path, body):
        data = json.dumps(body)
        began = time.perf_counter()
        connection.request("POST", path, data, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        if reply.status >= 400:
            sys.exit(f"{path}: {answer['message']}")
        return answer, 1e3 * (time.perf_counter() - began)

    def prompt(seed):
        return "\n\n".join(stories(seed, CONTEXT)).encode()[:CONTEXT].decode(errors="ignore")

    def complete(**body):
        return post("/v1/completions", {"max_tokens": 1, "temperature": 0, "store": False, **body})[1]

    unknown = [complete(prompt=prompt(seed)) for seed in range(2, 2 + CONTEXT_TURNS)]
    known = [complete(prompt=prompt(2 + CONTEXT_TURNS - 1)) for _ in range(CONTEXT_TURNS)]
    session = post("/v1/sessions", {"prompt": prompt(1)})[0]["id"]
    going_on = [complete(session=session, prompt=" Then") for _ in range(CONTEXT_TURNS)]
    found = {"bytes": CONTEXT}
    for name, times in [("unknown_ms", unknown), ("known_ms", known), ("session_ms", going_on)]:
        found[name] = statistics.median(times)
    say(f"first token: {found}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--precision", default="int8", choices=["fp32", "int8", "int4"])
    parser.add_argument("--output", default=str(ROOT / "results/serve-bench.json"))
    parser.add_argument("--no-learning", action="store_true", help="build without the feature adapt")
    parser.add_argument("--binary", help="a built itera-serve, beside which itera-validate lies [default: cargo builds both]")
    options = parser.parse_args()
    version = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("\n")[0]
    generator = " ".join(version.split()[:2])
    binary = options.binary
    if not binary:
        features = ["--no-default-features"] if options.no_learning else []
        subprocess.run(["cargo", "build", "--release", "-p", "itera-serve", *features], check=True, cwd=ROOT)
        subprocess.run(["cargo", "build", "--release", "-p", "itera-validate"], check=True, cwd=ROOT)
        target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
        binary = str(pathlib.Path(target) / "release/itera-serve")
    busy = busy_share()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        arguments = ["--port", "0", "--rate-limit", "0", "--adapt-after", "0",
                     "--precision", options.precision, "--database", str(folder / "bench.db")]
        server = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            address = next(line for line in server.stderr if "http://" in line).split("http://")[1].strip()
            threading.Thread(target=lambda: [say(line.rstrip()) for line in server.stderr], daemon=True).start()
            call(address, "/infer", REQUEST)
            measured = measure(address, server, folder, options, pathlib.Path(binary).with_name("itera-validate"))
        finally:
            server.terminate()
            server.wait()
    measured["protocol"] = {
        "generator": generator, "busy_share_before": busy, "request": REQUEST,
        "server": ["itera-serve", *arguments[:-1], "bench.db"]}
    parts = pathlib.Path(options.output).with_suffix(".part")
    parts.write_text(json.dumps(measured))
    try:
        made = subprocess.run(["cargo", "run", "-q", "--release", "-p", "itera-serve", "--example", "bench-record",
                               "--", "--measured", str(parts), "--precision", options.precision,
                               "--output", options.output], cwd=ROOT)
    finally:
        parts.unlink()
    sys.exit(made.returncode)


def measure(address, server, folder, options, program):
    seconds = options.seconds
    one_token = dict(REQUEST, max_length=1)
    loads = [
        load(address, folder, "idle", max(seconds // 2, 1), 1, 20, one_token),
        load(address, folder, "full", seconds, CONNECTIONS, 0, REQUEST),
        # 32 connections with a mean pause of 32 ms ask a little under 1,000 times a second.
        load(address, folder, "half", seconds, CONNECTIONS, 28, REQUEST),
    ]
    serving = memory(server, "VmHWM")
    score = score_in_turns(address, folder, options.precision, program)
    context = first_tokens(address)
    adaptation = None
    if not options.no_learning:
        found, adaptation = learn_under_load(address, folder, seconds)
        loads.append(found)
    return {"loads": loads, "adaptation": adaptation, "score": score, "context": context, "serving_peak_bytes": serving,
            "peak_bytes": memory(server, "VmHWM")}


if __name__ == "__main__":
    main()
