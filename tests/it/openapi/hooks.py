"""What schemathesis cannot know from the specification, which is the same for every installation."""

import datetime
import json
import os
import re
import urllib.request
import uuid

import schemathesis
from hypothesis import strategies as st

URL = os.environ["TASKRUNNERX_URL"]
KEY = os.environ["TASKRUNNERX_API_KEY"]
KEY_FORM = re.compile("[!#-~][!-~]{0,254}|\".+\"")
DURATION = re.compile("([0-9]+s)?([0-9]+ms)?")
NUMBER = re.compile("[0-9]+([.][0-9]+)?")
NOW = datetime.datetime.now(datetime.timezone.utc)
# In which every cron expression below is due, the 29th of February too.
TEN_YEARS = datetime.timedelta(days=3653)
# Instants of a backfill, of a schedule of every second.
MOST_SECONDS = datetime.timedelta(seconds=1000)

# A duration's units in words of the interface; no longer than any field takes, none that keeps a request waiting.
schemathesis.openapi.format(
    "taskrunnerx-duration", st.integers(1, 50).map("{}ms".format) | st.sampled_from(["1s", "1s500ms"])
)
# Those that come seldom: what they submit is nobody's business here.
schemathesis.openapi.format(
    "taskrunnerx-cron", st.sampled_from(["@yearly", "0 0 1 1 *", "30 4 29 2 *", "0 0 12 31 DEC *", "@annually"])
)
schemathesis.openapi.format(
    "taskrunnerx-timezone", st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"])
)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The task types that this daemon has, with the schemas of their payloads: `GET /api/task-types`."""
    request = urllib.request.Request(f"{URL}/api/task-types", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        types = json.load(answer)["task_types"]
    submission = raw_schema["components"]["schemas"]["Submission"]
    submission["properties"]["name"] = {"enum": [one["name"] for one in types]}
    submission["allOf"] += [
        {
            "if": {"required": ["name"], "properties": {"name": {"const": one["name"]}}},
            "then": {"required": ["payload"], "properties": {"payload": one["schema"]}},
        }
        for one in types
        if one["schema"] is not None
    ]


def submissions(body):
    """Every submission in a body."""
    several = body.get("tasks") if isinstance(body, dict) else None
    return [one for one in [body, *(several if isinstance(several, list) else [])] if isinstance(one, dict)]


def seconds(span, default):
    """A duration that the hooks made, or a number; None for anything else."""
    if span is None:
        return default
    if isinstance(span, (int, float)) and not isinstance(span, bool):
        return span
    parts = re.fullmatch("([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?", span) if isinstance(span, str) else None
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    if parts is None:
        return None
    return sum(int(part.rstrip("dhms")) * units[part.lstrip("0123456789")] for part in parts.groups() if part)


def order(backoff):
    if not isinstance(backoff, dict):
        return
    base = seconds(backoff.get("base"), 1)
    most = seconds(backoff.get("max"), base if backoff.get("kind") == "fixed" else 3600)
    if base is not None and most is not None and base > most:
        if backoff.get("base") is not None:
            backoff["max"] = backoff["base"]
        else:
            backoff["base"] = backoff["max"]


def time_of(text):
    """A time that JSON Schema calls one; None for anything else."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo is not None else None


def put_in_order(body):
    """What begins does so before it ends, and does not end before anything of it was due; a range has no more instants
    than a backfill takes. What is so already stays as it is."""
    if not isinstance(body, dict):
        return
    starts, ends = time_of(body.get("starts_at")), time_of(body.get("ends_at"))
    if ends is not None and ends - max(starts or NOW, NOW) <= TEN_YEARS:
        body["ends_at"] = "2050-01-01T00:00:00Z"
        if starts is not None:
            body["starts_at"] = "2031-01-01T00:00:00Z"
    first, last = time_of(body.get("from")), time_of(body.get("to"))
    if first is not None and last is not None and not datetime.timedelta(0) < last - first <= MOST_SECONDS:
        body["from"], body["to"] = "2020-01-01T00:00:00Z", "2020-01-01T00:10:00Z"


@schemathesis.hook
def before_call(context, case, kwargs):
    """What JSON Schema has no word for: a backoff's base is not above its max, a key lives for a second at least and a
    schedule's interval is one, what begins does so before it ends, an Idempotency-Key goes with one body only, and nobody
    here has a minute to wait in each of hundreds of calls that may. And a link that was found by guessing leads nowhere
    where the answer has null: to no id, and not to one named None."""
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return  # it is to be refused as it is
    for name, value in (case.path_parameters or {}).items():
        if name == "id" and str(value) == "None":
            case.path_parameters[name] = str(uuid.uuid4())
    if isinstance(case.body, dict) and "scopes" in case.body:
        span = seconds(case.body.get("expires_in"), 1)
        if span is not None and span < 1:
            case.body["expires_in"] = "1s"
    if isinstance(case.body, dict) and "every" in case.body:
        span = seconds(case.body["every"], 1)
        if span is not None and span < 1:
            case.body["every"] = "1s"
    put_in_order(case.body)
    several = submissions(case.body)
    for submission in several + [one["task"] for one in several if isinstance(one.get("task"), dict)]:
        order(submission.get("backoff"))
    for place in (case.body, case.query):
        wait = place.get("wait") if isinstance(place, dict) else None
        if isinstance(wait, str) and DURATION.fullmatch(wait):
            place["wait"] = "50ms"
        elif isinstance(wait, str) and NUMBER.fullmatch(wait) and 0.05 < float(wait) <= 60:
            place["wait"] = "0.05"
        elif isinstance(wait, (int, float)) and 0.05 < wait <= 60:
            place["wait"] = 0.05
    headers = case.headers if case.headers is not None else {}
    if "wait=" in str(headers.get("Prefer", "")):
        headers["Prefer"] = "wait=0"
    if KEY_FORM.fullmatch(str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = uuid.uuid4().hex
