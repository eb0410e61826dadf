"""What schemathesis cannot know from the specification, which is the same for every installation."""

import json
import os
import re
import urllib.request

import schemathesis
from hypothesis import strategies as st

URL = os.environ["TASKRUNNERX_URL"]
KEY = os.environ["TASKRUNNERX_API_KEY"]
DURATION = re.compile("[0-9]+(ms|s)")

# A duration's units in words of the interface; no longer than any field takes, none that keeps a request waiting.
schemathesis.openapi.format(
    "taskrunnerx-duration", st.integers(1, 50).map("{}ms".format) | st.sampled_from(["1s", "1s500ms"])
)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The task types that this daemon has, with the schemas of their payloads: `GET /api/task-types`."""
    request = urllib.request.Request(f"{URL}/api/task-types", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        types = json.load(answer)["task_types"]
    submission = raw_schema["components"]["schemas"]["Submission"]
    submission["properties"]["name"] = {"enum": [one["name"] for one in types]}
    submission["allOf"] = [
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


@schemathesis.hook
def before_call(context, case, kwargs):
    """Two things more: a backoff's base is not above its max, which JSON Schema has no word for; and a worker may wait a
    minute for a task, which here it would for each of hundreds of claims."""
    for submission in submissions(case.body):
        order(submission.get("backoff"))
    wait = case.body.get("wait") if isinstance(case.body, dict) else None
    if isinstance(wait, str) and DURATION.fullmatch(wait):
        case.body["wait"] = "50ms"
    elif isinstance(wait, (int, float)) and 0.05 < wait <= 60:
        case.body["wait"] = 0.05
