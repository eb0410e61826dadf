"""What schemathesis cannot know from the specification, which is the same for every installation."""

import json
import os
import urllib.request

import schemathesis
from hypothesis import strategies as st

URL = os.environ["TASKRUNNERX_URL"]
KEY = os.environ["TASKRUNNERX_API_KEY"]

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


@schemathesis.hook
def before_call(context, case, kwargs):
    """A worker may wait a minute for a task, and here for each of hundreds of claims."""
    if isinstance(case.body, dict) and isinstance(case.body.get("wait"), (int, float)) and case.body["wait"] > 0.05:
        case.body["wait"] = 0.05
