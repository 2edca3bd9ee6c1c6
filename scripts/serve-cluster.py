"""What scripts/serve-cluster.sh does to three servers of one PostgreSQL behind HAProxy, and what it measures."""

import email.utils
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from provenance import provenance

BINARY, OUTPUT = sys.argv[1:]
CLIENTS, PER_SECOND = 8, 5
TOKENS = 16
ADAPT_AFTER = 12
# Ends as follows: the word, two seconds in which HAProxy sees /ready change, what runs.
SERVE = ["--rate-limit", "0", "--drain-seconds", "2", "--workers", "1", "--poll-ms", "200"]
LEARN = ["--adapt-after", str(ADAPT_AFTER), "--adapt-settings", '{"steps":12,"batch":4,"length":96}']


def check(holds, says):
    if not holds:
        raise SystemExit(f"FAILED: {says}")
    print("held:", says, flush=True)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(port, path, body=None, timeout=60):
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def clock(port):
    """The time of a server, by the header of its answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        return email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()


def until(holds, what, seconds=60):
    """Waits until something holds; gives the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if holds():
                return round(time.monotonic() - began, 2)
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"FAILED: {what} not within {seconds} s")


class Postgres:
    """A PostgreSQL in a folder, on loopback, not as root."""

    def __init__(self, folder, port):
        self.data, self.port = folder / "data", port
        self.run("initdb", "-D", self.data, "-U", "itera", "-A", "trust", "--no-sync")
        self.start()
        self.run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "itera", "itera")
        self.url = f"postgres://itera@127.0.0.1:{port}/itera"

    @staticmethod
    def run(*words):
        other = ["runuser", "-u", "nobody", "--", "env", "PATH=" + os.environ["PATH"]] if os.getuid() == 0 else []
        subprocess.run([*other, *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self):
        options = f"-p {self.port} -k {self.data.parent} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", self.data, "-s", "-w", "-l", self.data.parent / "log", "-o", options, "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-s", "-w", "-m", "fast", "stop")

    def ask(self, sql):
        words = ["psql", "-qtAh", "127.0.0.1", "-p", str(self.port), "-U", "itera", "itera", "-c", sql]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


class Server:
    """A process of the program, on a port that it keeps when it is started again."""

    def __init__(self, name, port, folder, url, options):
        self.name, self.port, self.log = name, port, folder / f"{name}.log"
        self.begin(url, options)

    def begin(self, url, options, environment=None):
        """Starts with these options, and with variables beside those of this process."""
        self.environment = {**os.environ, **(environment or {})}
        self.words = [BINARY, "--port", str(self.port), "--database", url, *SERVE, *options]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.words, stderr=self.log.open("a"), env=self.environment)
        until(lambda: ask(self.port, "/ready")[0] == 200, f"{self.name} is ready")

    def tell(self, word):
        self.process.send_signal(word)
        return self.process.wait(60)

    def version(self):
        return ask(self.port, "/health")[1]["weights_version"]


HAPROXY = """
global
    maxconn 200
    stats socket {folder}/haproxy.sock
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend service
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /ready
    default-server check inter 200ms fall 2 rise 1
{servers}
"""


class Service:
    """HAProxy in the place of a Service of Kubernetes: whoever is ready gets requests, and none is sent twice."""

    def __init__(self, folder, port, servers):
        self.folder, self.port = folder, port
        lines = "\n".join(f"    server {each.name} 127.0.0.1:{each.port}" for each in servers)
        (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=port, servers=lines))
        self.process = subprocess.Popen(["haproxy", "-q", "-db", "-f", folder / "haproxy.cfg"])
        until(lambda: self.up() == len(servers), "HAProxy sees all servers")

    def up(self):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.folder / "haproxy.sock"))
            control.sendall(b"show stat\n")
            text = b"".join(iter(lambda: control.recv(65536), b"")).decode()
        rows = [line.split(",") for line in text.splitlines() if line.startswith("servers,")]
        return sum(row[17] == "UP" for row in rows if row[1] != "BACKEND")


class Load:
    """Clients that ask the service, a bounded number of times each second, until they are told to stop."""

    def __init__(self, port):
        self.port, self.stopped, self.begun = port, threading.Event(), time.monotonic()
        self.times, self.failures = [], []
        self.threads = [threading.Thread(target=self.client, args=(number,), daemon=True) for number in range(CLIENTS)]
        for each in self.threads:
            each.start()

    def client(self, number):
        body = json.dumps({"input_text": f"Once upon a time {number}", "max_length": TOKENS})
        connection = None
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("POST", "/infer", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append((began, answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((began, repr(error)))
                connection = None
            took = time.monotonic() - began
            self.times.append(took)
            self.stopped.wait(max(0, 1 / PER_SECOND - took))

    def end(self):
        """Requests, failed ones, and the slowest hundredth."""
        self.stopped.set()
        for each in self.threads:
            each.join()
        p99 = sorted(self.times)[int(0.99 * len(self.times))]
        return {
            "seconds": round(time.monotonic() - self.begun, 1),
            "requests": len(self.times),
            "failed": len(self.failures),
            "p99_ms": round(1e3 * p99, 1),
        }


def correct(port, count, tag):
    """Answers of one server, each corrected; gives how many corrections were acknowledged."""
    stored = 0
    for number in range(count):
        answer = ask(port, "/infer", {"input_text": "The harbour", "max_length": 4})[1]
        correction = f" master counted {number} barrels of salted herring at noon, {tag}."
        body = {"feedback_id": answer["feedback_id"], "user_rating": 1, "correction": correction}
        stored += ask(port, "/feedback", body)[0] == 200
    return stored


def likelihood(port):
    """Bits per byte of a text that is like the corrections and none of them."""
    text = "The harbour master counted forty barrels of salted herring at noon."
    score = ask(port, "/v1/score", {"input": text})[1]["data"][0]
    return score["bits_per_byte"]


def adaptations(port):
    return [(each["id"], each["status"]) for each in ask(port, "/adapt/status")[1]["journal"]]


def new(port, before):
    """The status of each adaptation that was not there before."""
    return [status for entry, status in adaptations(port) if entry not in before]


def learnt(port, before):
    """Whether an adaptation that was not there before has been accepted."""
    return "accepted" in new(port, before)


def serve_another(servers, version):
    """Whether all serve one version, and another than this."""
    versions = {each.version() for each in servers}
    return len(versions) == 1 and versions != {version}


def feedback_to_one(service, servers):
    before = [likelihood(each.port) for each in servers]
    version, known = servers[0].version(), {entry for entry, _ in adaptations(servers[0].port)}
    load = Load(service.port)
    check(correct(servers[1].port, ADAPT_AFTER, "one") == ADAPT_AFTER, "a follower takes feedback")
    learns = until(lambda: learnt(servers[0].port, known), "an adaptation", 300)
    follows = until(lambda: serve_another(servers, version), "all serve the version")
    record = load.end()
    after = [likelihood(each.port) for each in servers]
    check(len(set(after)) == 1 and after[0] < before[0], f"all predict such texts better: {before[0]:.3f} to {after[0]:.3f}")
    check(record["failed"] == 0, f"0 of {record['requests']} requests fail while it learns")
    return {**record, "learning_s": learns, "following_s": follows,
            "bits_per_byte_before": before[0], "bits_per_byte_after": after[0]}


def rolling_restart(service, servers):
    load = Load(service.port)
    for each in servers:
        check(each.tell(signal.SIGTERM) == 0, f"{each.name} ends with status 0")
        each.start()
        until(lambda: service.up() == len(servers), f"HAProxy sees {each.name} again")
    time.sleep(1)
    record = load.end()
    check(record["failed"] == 0, f"rolling restart: 0 of {record['requests']} requests fail")
    return record


def killed_learner(service, servers, database):
    learner = servers[0]
    version, known = learner.version(), {entry for entry, _ in adaptations(learner.port)}
    load = Load(service.port)
    acknowledged = correct(servers[2].port, ADAPT_AFTER, "kill")
    # On a fast machine it has learnt before anybody sees it learn.
    until(lambda: new(servers[1].port, known), "it learns", 30)
    stored = int(database.ask("SELECT count(*) FROM feedback"))
    learner.tell(signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: service.up() == len(servers) - 1, "HAProxy sees that it is gone")
    time.sleep(3)
    learner.start()
    again = until(lambda: learnt(learner.port, known), "what it was learning", 300)
    until(lambda: serve_another(servers, version), "all serve the version")
    interrupted = "interrupted" in new(learner.port, known)
    record = load.end()
    last = max((began - killed for began, _ in load.failures), default=0)
    check(int(database.ask("SELECT count(*) FROM feedback")) == stored, f"all {acknowledged} acknowledged records are there")
    check(record["failed"] <= CLIENTS * 2, f"kill -9: {record['failed']} of {record['requests']} requests fail, those that it had")
    print("killed while it learnt:", interrupted, flush=True)
    return {**record, "last_failure_after_s": round(max(0, last), 2), "interrupted": interrupted,
            "learnt_after_restart_s": again}


def database_away(service, servers, database):
    load = Load(service.port)
    answer = ask(servers[1].port, "/infer", {"input_text": "Once", "max_length": 4})[1]
    body = {"feedback_id": answer["feedback_id"], "user_rating": 4}
    time.sleep(0.5)
    database.stop()
    time.sleep(10)
    refused, problem = ask(servers[1].port, "/feedback", body)
    check(refused == 503 and problem["code"] == "store_unavailable", "feedback is refused while the database is away")
    check(ask(servers[1].port, "/ready")[1]["database"] == "failing", "/ready tells that it fails")
    time.sleep(10)
    database.start()
    back = until(lambda: ask(servers[1].port, "/feedback", body)[0] == 200, "feedback is taken again")
    record = load.end()
    check(record["failed"] == 0, f"PostgreSQL away for 20 s: 0 of {record['requests']} requests fail")
    return {**record, "feedback_again_after_s": back}


def clock_ahead(service, servers, url):
    """The last server gets a clock that is 60 s ahead, and may learn too."""
    ahead = servers[2]
    check(ahead.tell(signal.SIGTERM) == 0, "a server ends")
    # Not by the command, which would stand between this script and the process.
    library = next(pathlib.Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    ahead.begin(url, LEARN, {"LD_PRELOAD": str(library), "FAKETIME": "+60s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    check(55 < clock(ahead.port) - time.time() < 65, "its clock is 60 s ahead")
    known = {entry for entry, _ in adaptations(servers[0].port)}
    load = Load(service.port)
    correct(ahead.port, ADAPT_AFTER, "ahead")
    took = until(lambda: learnt(servers[1].port, known), "an adaptation", 300)
    time.sleep(2)
    made = new(servers[1].port, known)
    record = load.end()
    check(made == ["accepted"], "two servers that may learn, one of them 60 s ahead, make one adaptation and none is interrupted")
    check(record["failed"] == 0, f"0 of {record['requests']} requests fail")
    return {**record, "learning_s": took}


def run(folder, processes):
    database_port, service_port, *ports = free_ports(5)
    (folder / "postgres").mkdir()
    if os.getuid() == 0:
        subprocess.run(["chown", "nobody", folder / "postgres"], check=True)
    database = Postgres(folder / "postgres", database_port)
    processes.append(database)
    names = ["learner", "follower-1", "follower-2"]
    options = [LEARN, ["--role", "follower"], ["--role", "follower"]]
    servers = []
    for name, port, given in zip(names, ports, options):
        servers.append(Server(name, port, folder, database.url, given))
        processes.append(servers[-1])
    service = Service(folder, service_port, servers)
    processes.append(service)
    return {
        "load": {"clients": CLIENTS, "requests_per_s": CLIENTS * PER_SECOND, "tokens": TOKENS},
        "feedback_to_one": feedback_to_one(service, servers),
        "rolling_restart": rolling_restart(service, servers),
        "killed_learner": killed_learner(service, servers, database),
        "database_away_20_s": database_away(service, servers, database),
        "clock_60_s_ahead": clock_ahead(service, servers, database.url),
    }


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    processes = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            program = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout.strip()
            record = {"schema": "itera.serve-cluster/1", **provenance(), "program": program, **run(folder, processes)}
        except BaseException:
            for log in folder.glob("*.log"):
                print(f"== {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
            raise
        finally:
            for each in reversed(processes):
                if isinstance(each, Postgres):
                    each.stop()
                elif each.process.poll() is None:
                    each.process.kill()
                    each.process.wait()
    if OUTPUT:
        pathlib.Path(OUTPUT).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
