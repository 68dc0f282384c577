"""A process that does one store operation at a time in a child of its own, stopped before it begins, so that a tracer can be put on it.

python store_driver.py      one JSON object a line on stdin: {"op": …, "root": …, …}; answers a line {"pid": …}, then {"code": …, "said": …}
"""

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from lineupiq.base import LineupIQError
from lineupiq.store import versions
from lineupiq.store.layout import Store, text_of, version_digest


def publish(store: Store, todo: dict) -> str:
    return versions.publish(store, todo["name"], todo["source"], {"metrics": {"score": 1.0}})


def promote(store: Store, todo: dict) -> str:
    return versions.promote(store, todo["name"], todo.get("version"))[0]


def rollback(store: Store, todo: dict) -> str:
    return versions.rollback(store, todo["name"], todo.get("version"))[0]


def archive(store: Store, todo: dict) -> str:
    return str(versions.archive(store, todo["name"]))


def prune(store: Store, todo: dict) -> str:
    return str(versions.prune(store, todo["name"], todo.get("version"), keep=todo.get("keep", 0)))


def repair(store: Store, todo: dict) -> str:
    return str(versions.repair(store))


def validate(store: Store, todo: dict) -> str:
    version = todo.get("version") or text_of(store.versions(todo["name"])[-1])
    versions.record_verdict(store, todo["name"], version, version_digest(store.folder(todo["name"], version)), "PROMOTE")
    return version


OPERATIONS = {f.__name__: f for f in (publish, promote, rollback, archive, prune, repair, validate)}


def child(todo: dict, answer: socket.socket) -> None:
    os.close(0)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        code, said = 0, OPERATIONS[todo["op"]](Store(Path(todo["root"])), todo)
    except LineupIQError as err:
        code, said = err.exit_code, str(err)
    except OSError as err:  # what the command line would make of it
        code, said = 7, f"{err.strerror} {err.filename}"
    answer.send(json.dumps({"code": code, "said": said[:20_000]}).encode())  # not a write: those may be made to fail
    os._exit(code)


def main() -> None:
    for line in sys.stdin:
        todo = json.loads(line)
        out, into = socket.socketpair()  # opened before the tracer comes
        pid = os.fork()
        if pid == 0:
            out.close()
            child(todo, into)
        into.close()
        os.waitpid(pid, os.WUNTRACED)
        print(json.dumps({"pid": pid}), flush=True)
        sys.stdin.readline()  # the tracer is on it
        os.kill(pid, signal.SIGCONT)
        said = b""
        while part := out.recv(65536):
            said += part
        out.close()
        _, status = os.waitpid(pid, 0)
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        print(json.dumps({"code": code, "said": json.loads(said)["said"] if said else ""}), flush=True)


if __name__ == "__main__":
    tempfile.gettempdir()
    main()
