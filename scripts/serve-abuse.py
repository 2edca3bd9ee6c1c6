"""What scripts/serve-abuse.sh, serve-postgres.sh and serve-soak.sh do to a server."""

import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

URL = os.environ["URL"]
PID = int(os.environ["SERVER"])
HOST, PORT = URL.removeprefix("http://").split(":")
ADDRESS = (HOST, int(PORT))
BEARER = {"authorization": "Bearer " + os.environ.get("TOKEN", "")}


def check(holds, says):
    if not holds:
        raise SystemExit(f"FAILED: {says}")
    print("held:", says, flush=True)


def ask(path, body=None, headers=None, method=None, timeout=20):
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(URL + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def resident(kind="VmRSS"):
    """Resident memory in MB."""
    with open(f"/proc/{PID}/status") as status:
        line = next(line for line in status if line.startswith(kind))
    return int(line.split()[1]) / 1024


def files():
    return len(os.listdir(f"/proc/{PID}/fd"))


def send(text, receive_buffer=None):
    """A connection with the beginning of a request, or a whole one."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(20)
    connection.connect(ADDRESS)
    connection.sendall(text.encode())
    return connection


def post(path, body, extra=""):
    """A request as text."""
    body = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{extra}"
        f"content-length: {len(body)}\r\n\r\n{body}"
    )


def as_client(number):
    return {"x-forwarded-for": f"198.51.100.{number}"}


def many(count, work, threads=32):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


def clients():
    ask("/infer", {"input_text": "Once upon a time"})
    start = resident()

    # A request of 17 kB that asks for the probabilities of 262,144 tokens.
    huge = {"prompt": "~" * 16384, "n": 16, "max_tokens": 0, "echo": True, "logprobs": 5}
    status, answer = ask("/v1/completions", huge)
    check(status == 422 and "MB" in answer["message"], "too much work is refused, and its cost said")
    status, _ = ask("/v1/completions", {**huge, "n": 1}, as_client(1))
    check(status == 200, "one long prompt is scored")
    check(resident() - start < 20, f"that costs {resident() - start:.0f} MB, at most 20")

    # Streams of the largest size that nobody reads.
    stream = {"prompt": "~" * 16000, "n": 1, "max_tokens": 512, "echo": True, "logprobs": 5, "stream": True,
              "temperature": 0, "stop": ["never written"]}
    plain = {"prompt": "Once", "n": 4, "max_tokens": 512, "logprobs": 5, "stream": True, "temperature": 0}
    before = resident()
    stalled = [send(post("/v1/completions", body), 2048) for _ in range(100) for body in (stream, plain)]
    time.sleep(4)
    grown = resident() - before
    check(grown < 20, f"200 streams that nobody reads cost {grown:.0f} MB, at most 20")
    began = time.monotonic()
    status, _ = ask("/infer", {"input_text": "Once", "max_length": 8}, as_client(2))
    took = time.monotonic() - began
    check(status == 200 and took < 2, f"another client is answered in {took * 1e3:.0f} ms meanwhile")

    # Half heads and half bodies: more than there are connections.
    halves = [send("GET /health HTTP/1.1\r\nhost: l") for _ in range(1100)]
    times = []
    for _ in range(20):
        began = time.monotonic()
        status, _ = ask("/health")
        times.append(time.monotonic() - began)
        if status != 200:
            break
    median = sorted(times)[len(times) // 2]
    check(status == 200 and median < 0.1, f"health answers in {median * 1e3:.0f} ms while 1,100 heads are half")
    check(files() < 400, f"the server has {files()} files open")
    time.sleep(12)
    check(files() < 200, "half heads are given up")
    for connection in stalled + halves:
        connection.close()

    # One client with all the work it may ask for, another with little.
    flood = {"prompt": "Once", "n": 16, "max_tokens": 512, "temperature": 1}
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        running = [pool.submit(ask, "/v1/completions", flood, as_client(3)) for _ in range(40)]
        time.sleep(0.2)
        answered = [ask("/infer", {"input_text": "a", "max_length": 4}, as_client(4))[0] for _ in range(10)]
        for one in running:
            one.result()
    check(answered == [200] * 10, "a client with little to ask is answered beside one that floods")

    # Limits are for work, and hold for clients behind proxies that write ports.
    def rotated(number):
        header = {"x-forwarded-for": f"10.9.8.{number}, 203.0.113.9:{50000 + number}"}
        return ask("/v1/completions", {"prompt": "a", "n": 16, "max_tokens": 1}, header)[0]

    statuses = many(50, rotated)
    check(statuses.count(429) > 5, "a client is limited by its work, whatever address it makes up before its own")
    check(ask("/health")[0] == 200, "it still answers")

    # Keys.
    statuses = many(200, lambda _: ask("/adapt", {}, {"authorization": "Bearer wrong", **as_client(5)})[0])
    check(statuses.count(401) <= 12 and statuses.count(429) >= 188, "wrong keys are slowed")
    status, answer = ask("/infer", {"input_text": "a", "max_length": 2}, as_client(6))
    body = {"feedback_id": answer["feedback_id"], "user_rating": 1}
    check(ask("/feedback", body, as_client(6))[0] == 200, "an id gives the right to rate its answer")
    check(ask("/feedback", body, as_client(7))[0] == 401, "but once")
    check(ask("/feedback", body, {**BEARER, **as_client(7)})[0] == 200, "and with a key again")
    check(ask("/adapt/rollback", {}, as_client(8))[0] == 401, "a rollback takes a key")
    check(ask("/feedback/" + answer["feedback_id"], None, {**BEARER, **as_client(8)}, "DELETE")[0] == 200, "an answer is deleted")
    status, _ = ask("/health", headers={"host": "10.1.2.3:8000"})
    check(status == 200, "probes come by any name")


def open_():
    """A server without keys."""
    forwarded = {"x-forwarded-for": "203.0.113.9"}
    for path in ("/feedback", "/adapt", "/adapt/rollback"):
        check(ask(path, {}, forwarded)[0] == 403, f"{path} is closed to what comes through a proxy")
        check(ask(path, {}, {"origin": "https://evil.example"})[0] == 403, f"{path} is closed to other pages")
    check(ask("/infer", {"input_text": "a"}, {"host": "evil.example"})[0] == 421, "other names are refused")
    # Reading as fast as one can does not keep feedback out.
    _, answer = ask("/infer", {"input_text": "a", "max_length": 2})
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        reading = [pool.submit(ask, "/adapt/status") for _ in range(1500)]
        began = time.monotonic()
        status, _ = ask("/feedback", {"feedback_id": answer["feedback_id"], "user_rating": 1})
        took = time.monotonic() - began
        check(all(one.result()[0] == 200 for one in reading), "1,500 requests for the status are answered")
    check(status == 200 and took < 2, f"feedback is taken in {took * 1e3:.0f} ms meanwhile")
    time.sleep(2)
    before = written()
    time.sleep(5)
    check(written() == before, "an idle server writes nothing")


def written():
    """When each file of the database was last changed."""
    files = pathlib.Path(os.environ["work"]).glob("serve.db*")
    return {file.name: file.stat().st_mtime_ns for file in files}


def none():
    """A server without a database."""
    write = {"prompt": "Once upon a time", "n": 4, "max_tokens": 64}
    answers = many(100, lambda _: ask("/v1/completions", write), 8)
    check(all(status == 200 for status, _ in answers), "text is written without a database")
    check(answers[0][1]["choices"][0]["feedback_id"] is None, "there is nothing to rate")
    check(ask("/feedback", {"feedback_id": "a", "user_rating": 1})[0] == 501, "feedback is not implemented there")
    # Without the pages of the program itself, of which a build for tests has many more.
    own = resident("RssAnon")
    check(own < 20, f"the server has {own:.1f} MB of its own, at most 20 ({resident():.1f} MB with its program)")


def stopped():
    """A server whose PostgreSQL stops for 20 seconds, and then has a locked table."""
    first = int(os.environ["POSTGRES"])
    children = pathlib.Path(f"/proc/{first}/task/{first}/children").read_text().split()
    backends = [first, *map(int, children)]

    def signal_all(number):
        for backend in backends:
            try:
                os.kill(backend, number)
            except ProcessLookupError:
                pass  # One that has ended by itself.

    def rated(answer):
        return ask("/feedback", {"feedback_id": answer["feedback_id"], "user_rating": 1})[0]

    def write():
        status, answer = ask("/infer", {"input_text": "Once upon a time", "max_length": 8})
        check_status(status)
        return answer

    def heals(answer, what):
        began = time.monotonic()
        while rated(answer) != 200 and time.monotonic() - began < 20:
            time.sleep(0.1)
        check(rated(answer) == 200, f"{what}, feedback is taken after {time.monotonic() - began:.1f} s")
        check(ask("/ready")[1]["database"] == "ok", "/ready tells that it is well")

    answer = write()
    check(rated(answer) == 200, "feedback is taken")
    signal_all(signal.SIGSTOP)
    try:
        until = time.monotonic() + 20
        check(rated(answer) == 503, "feedback is refused while PostgreSQL stands still")
        meanwhile = write()
        status, ready = ask("/ready")
        check((status, ready["database"]) == (200, "failing"), "text is written on, and /ready tells")
        time.sleep(max(0, until - time.monotonic()))
    finally:
        signal_all(signal.SIGCONT)
    heals(meanwhile, "when it goes on")

    lock = "BEGIN; LOCK TABLE feedback IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60);"
    with subprocess.Popen([*os.environ["PSQL"].split(), "-c", lock], stdout=subprocess.DEVNULL) as locked:
        try:
            time.sleep(1)
            check(rated(answer) == 503, "feedback is refused while the table is locked")
            write()
            os.kill(PID, signal.SIGTERM)
            began = time.monotonic()
            while is_running() and time.monotonic() - began < 45:
                time.sleep(0.1)
            check(not is_running(), f"the server ends in {time.monotonic() - began:.0f} s all the same")
        finally:
            locked.kill()


GETS = ["/health", "/ready", "/v1/models", "/v1/models/x", "/adapt/status", "/metrics", "/stats", "/",
        "/docs", "/openapi.json", "/nothing"]
POSTS = ["/infer", "/v1/completions", "/feedback", "/adapt/rollback"]
ODD = [None, True, -1, 1e308, 2**63, "", "\0", "x" * 300, [], [[]], {}, [1, "a"], {"a": None}]
FIELDS = ["input_text", "max_length", "temperature", "seed", "top_k", "top_p", "stop", "prompt", "max_tokens", "n",
          "stream", "logprobs", "echo", "user", "store", "feedback_id", "user_rating", "correction", "version", "other"]


def drawn(source, known):
    """A request: right, odd, or no JSON at all."""
    kind = source.random()
    if kind < 0.2:
        return "GET", source.choice(GETS), None
    if kind < 0.5:
        body = {"prompt": "Once upon a time", "max_tokens": source.randint(1, 64), "n": source.randint(1, 4),
                "stream": source.random() < 0.5, "logprobs": source.choice([None, 0, 5])}
        return "POST", "/v1/completions", json.dumps(body)
    if kind < 0.6 and known:
        body = {"feedback_id": source.choice(known), "user_rating": source.randint(1, 5)}
        return "POST", "/feedback", json.dumps(body)
    if kind < 0.7:
        return "POST", "/infer", json.dumps({"input_text": "The dog", "max_length": source.randint(1, 64)})
    if kind < 0.72:
        return "DELETE", "/feedback/" + source.choice(known or ["x"]), None
    body = json.dumps({field: source.choice(ODD) for field in source.sample(FIELDS, source.randint(0, 6))})
    if kind > 0.95:
        body = body[:source.randint(0, len(body))]
    return "POST", source.choice(POSTS), body


def soak():
    """Mixed load for a while."""
    seconds = float(os.environ["SECONDS_OF_LOAD"])
    statuses, known = collections.Counter(), collections.deque(maxlen=256)
    ends = time.monotonic() + seconds

    def work(seed):
        source = random.Random(seed)
        connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
        while time.monotonic() < ends:
            method, path, body = drawn(source, list(known))
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            statuses[answer.status] += 1
            if path == "/infer" and answer.status == 200:
                known.append(json.loads(text)["feedback_id"])
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        running = [pool.submit(work, seed) for seed in range(16)]
        time.sleep(seconds / 3)
        before, files_before = resident(), files()
        time.sleep(seconds * 2 / 3 - 2)
        after, files_after = resident(), files()
        for one in running:
            one.result()
    print(sum(statuses.values()), "requests:", dict(sorted(statuses.items())))
    faults = {status: count for status, count in statuses.items() if status >= 500 and status not in (501, 503)}
    check(not faults, "no answer is a fault of the server")
    # Caches of the database may still fill.
    check(after < max(before * 1.05, before + 5), f"memory stays: {before:.1f} MB after a third of the time, {after:.1f} MB at the end")
    check(abs(files_after - files_before) <= 8, f"open files stay: {files_before}, {files_after}")


def is_running():
    """Whether the server is there, and not only its exit status."""
    try:
        return pathlib.Path(f"/proc/{PID}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def disk():
    """A server whose files cannot grow beyond a size, until they can."""
    check(ask("/ready")[1]["database"] == "ok", "the database is well")
    write = {"prompt": "Once upon a time, in a land far away", "n": 16, "max_tokens": 24}
    rating = {"user_rating": 2, "comments": "x" * 4000}
    answers = []
    refused = False
    # The first error may pass: what is in the journal goes to the database, and there is room again.
    for _ in range(200):
        for status, answer in many(16, lambda _: ask("/v1/completions", write), 8):
            check_status(status)
            answers += [choice["feedback_id"] for choice in answer["choices"]]
        refused = all(ask("/feedback", {**rating, "feedback_id": answers[0]})[0] == 503 for _ in range(5))
        if refused:
            break
    check(refused, f"after {len(answers)} answers the disk is full, and feedback is refused")
    check(ask("/ready")[1]["database"] == "failing", "/ready tells")
    check(ask("/v1/completions", write)[0] == 200, "text is written on")
    subprocess.run(["prlimit", f"--pid={PID}", "--fsize=unlimited"], check=True)
    began = time.monotonic()
    while ask("/feedback", {**rating, "feedback_id": answers[0]})[0] != 200:
        if time.monotonic() - began > 2:
            break
        time.sleep(0.05)
    took = time.monotonic() - began
    check(took < 2, f"with room again, feedback is taken after {took:.1f} s")
    last = ask("/v1/completions", write)[1]["choices"][0]["feedback_id"]
    check(ask("/feedback", {**rating, "feedback_id": last})[0] == 200, "new answers can be rated")
    check(ask("/ready")[1]["database"] == "ok", "/ready tells that it is well")
    # More rows than a statement's journal holds, without a folder for temporary files.
    many(640, lambda _: ask("/v1/completions", write), 16)
    check(ask("/ready")[1]["database"] == "ok", "10,240 answers more are stored without temporary files")


def check_status(status):
    if status != 200:
        raise SystemExit(f"FAILED: text is written on, but the status is {status}")


{"clients": clients, "open": open_, "none": none, "soak": soak, "disk": disk, "stopped": stopped}[sys.argv[1]]()
