#!/usr/bin/env python3
"""A worker for Task Runner X in Python, with nothing but the standard library.

The server's taskrunnerx.toml says which task types workers like this one run:

    [tasks.count-words]
    pull = true

    [tasks.countdown]
    pull = true

Start it with the queues that it serves, and submit something:

    examples/worker.py default
    curl --json '{"name": "count-words", "payload": {"text": "to be or not to be"}}' http://127.0.0.1:8000/api/tasks

TASKRUNNERX_URL (default http://127.0.0.1:8000) is where the server is, TASKRUNNERX_API_KEY its key, if it has one.
SIGTERM or Ctrl-C: it finishes what it has begun and leaves.

Your own work goes into HANDLERS, a function for each task type. The rest is the protocol: claim, heartbeat, report.
"""

import http.client
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

URL = os.environ.get("TASKRUNNERX_URL", "http://127.0.0.1:8000").rstrip("/")
KEY = os.environ.get("TASKRUNNERX_API_KEY")
CLAIM_WAIT = 3  # seconds that a claim waits for a task, and so the longest that a stop waits for a claim
RETRY_WAIT = 1  # seconds between two tries while the server is away


# --- the work ------------------------------------------------------------------------------------------------


class Permanent(Exception):
    """An error that no retry can mend. Any other exception is tried again, as the task's backoff says."""


class Stopped(Exception):
    """The attempt was cancelled, timed out or taken over: there is nothing left to do for it."""


def count_words(payload, attempt):
    if not isinstance(payload, dict) or not isinstance(payload.get("text"), str):
        raise Permanent('the payload must have a "text" that is a string')
    words = payload["text"].split()
    return {"words": len(words), "different": len(set(words))}


def countdown(payload, attempt):
    steps = max(1, int(payload["seconds"] * 10))
    for step in range(steps):
        attempt.progress(step / steps)
        attempt.sleep(0.1)  # raises Stopped as soon as the attempt should end
    return "lift-off"


HANDLERS = {"count-words": count_words, "countdown": countdown}


# --- the protocol --------------------------------------------------------------------------------------------


def call(path, body):
    """Posts JSON; gives the status and the answer. The status is None while the server cannot be reached."""
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"content-type": "application/json"})
    if KEY:
        request.add_header("authorization", "Bearer " + KEY)
    try:
        with urllib.request.urlopen(request, timeout=CLAIM_WAIT + 30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:  # 4xx and 5xx: the body says what is wrong
        return error.code, {"detail": error.read().decode(errors="replace")}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return None, {"detail": str(error)}


def seconds(duration):
    """A duration as the server writes it, such as 1m30s or 500ms."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", duration))


class Attempt:
    """The one attempt at a task that is under way."""

    def __init__(self, task):
        self.id, self.number = task["id"], task["attempt"]
        self.fraction = None
        self.stopped = threading.Event()
        self.over = threading.Event()  # reported: no more heartbeats
        self.lost = False  # its outcome belongs to somebody else

    def progress(self, fraction):
        """Says how far it is, 0 to 1; the next heartbeat passes it on."""
        self.fraction = fraction

    def sleep(self, duration):
        if self.stopped.wait(duration):
            raise Stopped

    def stop(self, lost):
        self.lost = self.lost or lost
        self.stopped.set()


class Worker:
    def __init__(self, queues):
        self.queues = queues
        self.stopping = False
        self.id = None  # the server gives one with the first claim
        self.lease = 15.0
        self.trusted_until = 0.0  # on this machine's clock: the lease counts from when a sign of life was *sent*

    def run(self):
        while not self.stopping:
            for task in self.claim():
                self.work(task)

    def claim(self):
        body = {"queues": self.queues, "max": 1, "wait": CLAIM_WAIT}
        if self.id:
            body["worker_id"] = self.id
        sent = time.monotonic()
        status, answer = call("/api/workers/claim", body)
        if status == 200:
            self.id, self.lease = answer["worker_id"], seconds(answer["lease_duration"])
            self.trusted_until = sent + self.lease
            return answer["tasks"]
        log("no claim:", status, answer["detail"])
        if status == 409:
            self.id = None  # silent for longer than the lease: what it held has been taken over. Begin anew.
        else:
            time.sleep(RETRY_WAIT)
        return []

    def work(self, task):
        attempt = Attempt(task)
        threading.Thread(target=self.beat, args=[attempt], daemon=True).start()
        log(task["name"], attempt.id, "attempt", attempt.number)
        try:
            if task["name"] not in HANDLERS:
                raise LookupError("this worker has no handler for " + task["name"])
            result = HANDLERS[task["name"]](task["payload"], attempt)
            json.dumps(result, allow_nan=False)  # what is no JSON is this attempt's error
            verb, body = "complete", {"result": result}
        except Stopped:
            verb, body = "fail", {"error": "stopped"}  # a cancelled task ends as cancelled, whatever this says
        except Permanent as error:
            verb, body = "fail", {"error": str(error), "permanent": True}
        except Exception as error:
            traceback.print_exc()
            verb, body = "fail", {"error": f"{type(error).__name__}: {error}"}
        if not attempt.lost:
            self.report(attempt, verb, body)
        attempt.over.set()

    def report(self, attempt, verb, body):
        """Until it has an answer: saying it twice does no harm, and the heartbeats go on meanwhile."""
        body = {"worker_id": self.id, "attempt": attempt.number, **body}
        while not attempt.lost:
            status, answer = call(f"/api/tasks/{attempt.id}/{verb}", body)
            if status == 200:
                return
            log(verb, attempt.id, status, answer["detail"])
            if status in (400, 413, 422) and verb == "complete":  # such as a result that is too large
                verb, body = "fail", {"worker_id": self.id, "attempt": attempt.number, "permanent": True}
                body["error"] = "the result was refused: " + answer["detail"]
            elif status is not None and status < 500:
                return  # 409: another worker owns the task now, and this outcome is void
            else:
                time.sleep(RETRY_WAIT)

    def beat(self, attempt):
        """Renews the lease three times in its length, and stops the attempt when it should end.

        An idle worker needs none of this: its claims say that it lives.
        """
        while not attempt.over.wait(self.lease / 3):
            named = {"id": attempt.id, "attempt": attempt.number}
            if attempt.fraction is not None:
                named["progress"] = attempt.fraction
            sent = time.monotonic()
            status, answer = call(f"/api/workers/{self.id}/heartbeat", {"tasks": [named]})
            if status == 200:
                self.trusted_until = sent + self.lease
                if attempt.id in answer["lost"]:
                    attempt.stop(lost=True)
                elif attempt.id in answer["cancel"]:
                    attempt.stop(lost=False)
            elif status == 409 or time.monotonic() > self.trusted_until:
                attempt.stop(lost=True)  # declared dead, or perhaps so: another worker may be at it already
            else:
                log("no heartbeat:", status, answer["detail"])


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def main():
    worker = Worker(sys.argv[1:] or ["default"])

    def stop(*_):
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker.run()


if __name__ == "__main__":
    main()
