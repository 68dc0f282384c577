"""Notifications against servers that misbehave: rules N1 to N7, seen through an audit hook that counts every socket."""

import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from lineupiq.base import NotifyError
from lineupiq.tracking import notify as page
from lineupiq.tracking.notify import Destination, Message, destinations, notify, post

SLACK = "https://hooks.slack.com/services/T00/B00/canarycanary"
FORBIDDEN = [
    "http://hooks.slack.com/services/T/B/X",
    "file:///etc/passwd",
    "https://127.0.0.1/services/T/B/X",
    "https://[::1]/services/T/B/X",
    "https://169.254.169.254/services/T/B/X",
    "https://0x7f000001/services/T/B/X",
    "https://hooks.slack.com@evil.tld/services/T/B/X",
    "https://hooks.slack.com.evil.tld/services/T/B/X",
    "https://hooks.slack.com:22/services/T/B/X",
    "https://user:pw@hooks.slack.com/services/T/B/X",
    "https://hooks.slack.com/api/x",
    "https://hooks.slack.com/services/",
    "https://2130706433/services/x",
    "https://hooks.slack.com\\.evil.tld/services/x",
    "https://hooks.slack.com/services/x\r\nHost: evil",
    "https://ĥooks.slack.com/services/x",
    "ftp://hooks.slack.com/services/x",
    "https://hooks.slack.com:99999/services/x",
    "https://",
    "http://[bad",
    "https://[::1",
]


class Sockets:
    "Counts connections and look-ups of names."

    def __init__(self):
        self.seen, self.on = [], False
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if self.on and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
            self.seen.append((event, args[1] if event == "socket.connect" else args[0]))


COUNTER = Sockets()


@pytest.fixture
def sockets():
    COUNTER.seen.clear()
    COUNTER.on = True
    yield COUNTER
    COUNTER.on = False


@pytest.fixture
def server(monkeypatch):
    "A local server behind the allowed name; its answers are given as (status, headers, body) or a function."

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box["got"].append((self.path, dict(self.headers), body))
            answer = box["answers"].pop(0) if len(box["answers"]) > 1 else box["answers"][0]
            if callable(answer):
                return answer(self)
            status, headers, text = answer
            self.send_response(status)
            for k, v in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(k, v)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *a): ...

    box = {"got": [], "answers": [(200, {}, b"ok")], "waits": []}
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    box["port"] = made.server_address[1]
    monkeypatch.setattr(page, "_connect", lambda host, port=443: socket.create_connection(made.server_address, timeout=page.SECONDS))
    monkeypatch.setattr(page.time, "sleep", box["waits"].append)
    yield box
    made.shutdown()


# ---- N1: config time, no socket


@pytest.mark.parametrize("url", FORBIDDEN)
def test_N1_forbidden_addresses_open_no_socket(url, monkeypatch, sockets):
    monkeypatch.setenv("LINEUPIQ_SLACK_WEBHOOK", url)
    with pytest.raises(NotifyError) as err:
        destinations()
    assert sockets.seen == [] and "pw" not in str(err.value)
    with pytest.raises(NotifyError):
        destinations([url])
    assert sockets.seen == []


def test_N1_other_hosts_only_by_name(monkeypatch, sockets):
    with pytest.raises(NotifyError):
        destinations(["https://chat.example.org/hooks/1"])
    monkeypatch.setenv("LINEUPIQ_NOTIFY_HOSTS", "chat.example.org")
    [one] = destinations(["https://chat.example.org/hooks/1"])
    assert one.kind == "webhook" and sockets.seen == []


def test_a_wrong_address_stops_a_job_before_anything_runs(tmp_path, sockets):
    from lineupiq.jobs.runner import run_job

    with pytest.raises(NotifyError):
        run_job("train", output=tmp_path / "jobs", to=["http://hooks.slack.com/services/x"])
    assert sockets.seen == [] and not (tmp_path / "jobs").exists() and NotifyError("x").exit_code == 2


# ---- N2 to N4


def test_N2_redirects_are_not_followed(server):
    server["answers"] = [(302, {"Location": f"http://127.0.0.1:{server['port']}/internal"}, b"")]
    assert "not followed" in post(SLACK, {"text": "x"}) and len(server["got"]) == 1


@pytest.mark.parametrize("kind", ["silent", "drip", "endless"])
def test_N3_slow_and_endless_answers(server, monkeypatch, kind):
    monkeypatch.setattr(page, "SECONDS", 1.0)
    hold = threading.Event()

    def answer(h):
        if kind == "silent":
            return hold.wait(20)
        h.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 100000000\r\n\r\n" if kind == "endless" else b""))
        for _ in range(2000):
            if hold.wait(0.01 if kind == "drip" else 0):
                return
            try:
                h.wfile.write(b"X: y\r\n" if kind == "drip" else b"x" * 65536)
            except OSError:
                return

    server["answers"] = [answer]
    started = time.monotonic()
    said = post(SLACK, {"text": "x"})
    hold.set()
    assert time.monotonic() - started < 4
    assert said or kind == "endless"  # an endless body is left after 64 KiB


def test_N3_at_most_64_KiB_are_read(server, monkeypatch):
    taken = []
    true = page.http.client.HTTPResponse.read
    monkeypatch.setattr(page.http.client.HTTPResponse, "read", lambda self, n=None: taken.append(n) or true(self, n))
    server["answers"] = [(200, {}, b"x" * 10_000_000)]
    assert post(SLACK, {"text": "x"}) == "" and taken == [65536]


@pytest.mark.parametrize(
    "status, headers, tries, waits",
    [
        (429, {"Retry-After": "7"}, 3, [7, 7]),
        (503, {"Retry-After": "900"}, 3, [30, 30]),
        (500, {}, 3, [1, 2]),
        (404, {}, 1, []),
        (429, {"Retry-After": "-5"}, 3, [1, 2]),
    ],
)
def test_N4_tries_and_patience(server, status, headers, tries, waits):
    server["answers"] = [(status, headers, b"")]
    assert f"HTTP {status}" in post(SLACK, {"text": "x"}) and len(server["got"]) == tries and server["waits"] == waits


def test_N4_busy_then_fine(server):
    server["answers"] = [(503, {}, b""), (200, {}, b"ok")]
    assert post(SLACK, {"text": "x"}) == "" and len(server["got"]) == 2


def test_N4_notify_never_raises(monkeypatch, caplog):
    monkeypatch.setattr(page, "_connect", lambda *a: (_ for _ in ()).throw(OSError("unreachable " + SLACK)))
    with caplog.at_level(logging.WARNING):
        [sent] = notify(Message("x"), [Destination("webhook", SLACK, "https://hooks.slack.com/services/***")])
    assert not sent.ok and "canary" not in sent.reason + caplog.text and "services/***" in caplog.text


# ---- N5, N6


def test_N5_no_secret_in_what_is_said(monkeypatch):
    monkeypatch.setenv("LINEUPIQ_SLACK_WEBHOOK", SLACK)
    monkeypatch.setenv("DB_PASSWORD", "canarydb99")
    monkeypatch.setenv("TRACKER", "postgresql://me:canarypw77@db/x")
    message = Message(f"failed at {SLACK}", ["canarydb99", "postgresql://me:canarypw77@db/x"], {"canarydb99": "canarypw77"})
    for text in (page.slack_text(message), page.markdown_text(message), repr(destinations(["slack"]))):
        assert "canary" not in text


def test_N6_messages_cannot_call_or_flood(server):
    message = Message("<!channel> & <https://evil|x>\nsecond", ["x" * 100_000], {"<!here>": 1.0, "a\nb": "@all"})
    notify(message, [Destination("webhook", SLACK, "s"), Destination("comment", SLACK, "c")])
    slack, comment = (json.loads(got[2]) for got in server["got"])
    assert "<" not in slack["text"] and "&lt;!channel&gt; &amp;" in slack["text"] and len(slack["text"]) <= 3000
    assert "<" not in comment["body"] and "@all" not in comment["body"] and len(comment["body"]) <= 20_001


# ---- N7


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fd00::1", "::ffff:10.0.0.1", "100.64.0.1", "0.0.0.0"]
)
def test_N7_a_name_that_leads_inside_is_refused(monkeypatch, address, sockets):
    monkeypatch.setenv("LINEUPIQ_NOTIFY_HOSTS", "chat.example.org")
    monkeypatch.setattr(
        page.socket,
        "getaddrinfo",
        lambda host, port, **k: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)),
        ],
    )
    [to] = destinations(["https://chat.example.org/hooks/1"])
    [sent] = notify(Message("x"), [to])
    assert not sent.ok and "not public" in sent.reason and not [s for s in sockets.seen if s[0] == "socket.connect"]


# ---- apprise


def test_apprise_may_not_reach_inside():
    "Its process refuses private addresses, and says so within the limit."
    pytest.importorskip("apprise")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    [to] = [Destination("apprise", f"json://127.0.0.1:{listener.getsockname()[1]}/x", "json://***")]
    [sent] = notify(Message("x"), [to])
    assert not sent.ok
    with pytest.raises(TimeoutError):
        listener.accept()
    listener.close()


def test_apprise_addresses_are_checked_without_a_socket(monkeypatch, sockets):
    pytest.importorskip("apprise")
    for bad in ("http://x.test", "nonsense", "slack://", "file:///etc/passwd"):
        monkeypatch.setenv("LINEUPIQ_NOTIFY_URLS", bad)
        with pytest.raises(NotifyError):
            destinations(["urls"])
    monkeypatch.setenv("LINEUPIQ_NOTIFY_URLS", "discord://123456789012345678/canarytokencanarytoken")
    [one] = destinations(["urls"])
    assert one.shown == "discord://***" and sockets.seen == []


# ---- GitHub


def test_github_summary_and_comment(tmp_path, monkeypatch, server):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}))
    env = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_REPOSITORY": "some/where",
        "GITHUB_TOKEN": "canarytoken",
        "GITHUB_EVENT_PATH": str(event),
    }
    for k, v in env.items():
        monkeypatch.setenv(k, v)
    found = destinations()
    assert [d.kind for d in found] == ["summary", "comment"]
    assert all(s.ok for s in notify(Message("train: done", facts={"log_loss": 0.5}), found))
    path, headers, body = server["got"][0]
    assert (
        path == "/repos/some/where/issues/12/comments"
        and headers["Authorization"] == "Bearer canarytoken"
        and "| log_loss | 0.5 |" in (tmp_path / "summary.md").read_text()
    )
    monkeypatch.setenv("GITHUB_API_URL", "https://169.254.169.254/api")
    with pytest.raises(NotifyError):
        destinations()


def test_W2_without_a_token_there_is_only_the_summary(tmp_path, monkeypatch):
    for k, v in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "s.md"),
        "GITHUB_REF": "refs/pull/3/merge",
        "GITHUB_REPOSITORY": "a/b",
    }.items():
        monkeypatch.setenv(k, v)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    assert [d.kind for d in destinations()] == ["summary"]


@pytest.mark.parametrize(
    "text",
    [
        '{"issue": {"number": 1e999}}',
        '{"issue": {"number": true}}',
        '{"issue": {"number": -3}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        None,
    ],
)
def test_an_odd_event_is_no_pull_request(tmp_path, monkeypatch, text):
    event = tmp_path / "event.json"
    event.write_text(text) if text else os.mkfifo(event)
    monkeypatch.delenv("GITHUB_REF", raising=False)
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    assert page._pull_request() is None


def test_a_summary_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path, "/dev/null"):
        [sent] = notify(Message("x"), [Destination("summary", str(odd), "the job's summary")])
        assert not sent.ok and sent.reason == "not a regular file"


@pytest.mark.parametrize("url", ["http://[bad", "http://api.github.com", "https://evil.test"])
def test_a_wrong_interface_of_github_is_named(monkeypatch, url):
    for k, v in {
        "GITHUB_API_URL": url,
        "GITHUB_REF": "refs/pull/3/merge",
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_TOKEN": "canarytoken",
    }.items():
        monkeypatch.setenv(k, v)
    with pytest.raises(NotifyError, match="GITHUB_API_URL") as err:
        destinations(["github"])
    assert "slack" not in str(err.value).lower() and "canary" not in str(err.value)


def test_arguments_show_no_address():
    "What `ps` shows of the process that sends must not have the address in it."
    source = open(page.__file__, encoding="utf-8").read()
    assert "input=payload" in source and "str(url)" not in source
    assert (
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import lineupiq.tracking.notify, sys; assert 'apprise' not in sys.modules and 'requests' not in sys.modules",
            ],
            env=os.environ,
            check=False,
        ).returncode
        == 0
    )
