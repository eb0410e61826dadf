#!/bin/sh
# A worker for Task Runner X in shell: runs a command for each task of a queue.
#
# The server's taskrunnerx.toml says which task types workers like this one run:
#
#     [tasks.count-words]
#     pull = true
#
# Start it with the queue that it serves and a command, and submit something:
#
#     examples/worker.sh default wc -w
#     curl --json '{"name": "count-words", "payload": "to be or not to be"}' http://127.0.0.1:8000/api/tasks
#
# The command gets the payload on its standard input, and TASK_ID, TASK_NAME and ATTEMPT in its environment. Exit code
# 0: its output is the result (JSON if it is any, else text). 64 or 65: the task fails for good. Any other: it is tried
# again, as its backoff says; the error is what the command wrote to its standard error.
#
# TASKRUNNERX_URL (default http://127.0.0.1:8000) is where the server is, TASKRUNNERX_API_KEY its key, if it has one.
# SIGTERM or Ctrl-C: it finishes what it has begun and leaves. Needs curl, and python3 to read and write JSON.
set -u

url=${TASKRUNNERX_URL:-http://127.0.0.1:8000}
[ $# -ge 2 ] || { echo "usage: $0 QUEUE COMMAND [ARGUMENT...]" >&2; exit 2; }
queue=$1
shift

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
stopping=
trap 'stopping=1' TERM INT

# Posts the file $2 to the path $1; the answer goes to the file $3, the status to standard output (000: no answer).
post() {
    # The key through standard input: arguments can be seen by everybody on this machine.
    { [ -z "${TASKRUNNERX_API_KEY:-}" ] || echo "authorization: Bearer $TASKRUNNERX_API_KEY"; } |
        curl --silent --max-time 30 -H @- -H 'content-type: application/json' --data-binary "@$2" \
            --output "$3" --write-out '%{http_code}' "$url$1"
}

# All that has to do with JSON. The first argument says what.
json() {
    python3 - "$@" <<'PYTHON'
import json, re, sys
what, *rest = sys.argv[1:]
if what == "claim":  # queue, worker id or nothing -> the body of a claim
    body = {"queues": [rest[0]], "max": 1, "wait": 3}
    if rest[1]:
        body["worker_id"] = rest[1]
    print(json.dumps(body))
elif what == "claimed":  # the answer, a file for the payload -> worker id, seconds between beats, and the task, if any
    answer = json.load(open(rest[0]))
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    lease = sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|[smhd])", answer["lease_duration"]))
    print(answer["worker_id"], lease / 3)
    for task in answer["tasks"]:
        print(task["id"], task["attempt"], task["name"])
        payload = task["payload"]
        open(rest[1], "w").write(payload if isinstance(payload, str) else json.dumps(payload))
elif what == "beat":  # task id, attempt -> the body of a heartbeat
    print(json.dumps({"tasks": [{"id": rest[0], "attempt": int(rest[1])}]}))
elif what == "stop":  # the answer to a heartbeat -> cancel, lost or nothing
    answer = json.load(open(rest[0]))
    print("lost" if answer["lost"] else "cancel" if answer["cancel"] else "")
elif what == "report":  # worker id, attempt, exit code, files of both outputs -> the verb, and the body of the report
    worker, attempt, code, out, err = rest
    text = lambda path: open(path, errors="replace").read().strip()
    body = {"worker_id": worker, "attempt": int(attempt)}
    if code == "0":
        try:
            body["result"] = json.loads(text(out))
        except ValueError:
            body["result"] = text(out)
    else:
        body["error"] = f"exit code {code}: {text(err)[-2000:]}"
        body["permanent"] = code in ("64", "65")
    print(json.dumps(body))
PYTHON
}

# Says that this worker lives while the command $1 runs, and ends that when the task was cancelled or taken over.
heartbeat() {
    trap - TERM INT # it ends with the command
    json beat "$task" "$attempt" >"$dir/beat"
    # A worker that was killed says nothing more: its task goes to another when its lease is over.
    while sleep "$beat" && kill -0 "$$" 2>/dev/null; do
        case $(post "/api/workers/$worker/heartbeat" "$dir/beat" "$dir/heard") in
            200) stop=$(json stop "$dir/heard") ;;
            409) stop=lost ;; # silent for longer than its lease: another worker is at it
            *) stop= ;;       # the server is away; it may be back before the lease is over
        esac
        if [ -n "$stop" ]; then
            echo "$stop: $task" >&2
            kill "$1"
            return
        fi
    done
}

worker=
while [ -z "$stopping" ]; do
    # Claim: one task, for which the server waits a few seconds.
    json claim "$queue" "$worker" >"$dir/claim"
    status=$(post /api/workers/claim "$dir/claim" "$dir/claimed")
    case $status in
        200) ;;
        409) worker=; continue ;; # silent for longer than its lease: begin anew
        *) echo "no claim: $status" >&2; sleep 1; continue ;;
    esac
    task=
    json claimed "$dir/claimed" "$dir/payload" >"$dir/task"
    { read -r worker beat; read -r task attempt name; } <"$dir/task"
    [ -n "$task" ] || continue

    # Work: the command, and beside it the heartbeat.
    echo "$name $task attempt $attempt" >&2
    TASK_ID=$task TASK_NAME=$name ATTEMPT=$attempt "$@" <"$dir/payload" >"$dir/out" 2>"$dir/err" &
    command=$!
    heartbeat "$command" &
    beating=$!
    # A signal ends a wait, but not the command.
    wait "$command"
    code=$?
    while kill -0 "$command" 2>/dev/null; do
        wait "$command"
        code=$?
    done
    kill "$beating" 2>/dev/null
    wait "$beating" 2>/dev/null

    # Report: until there is an answer. Saying it twice does no harm, and 409 says that the task is another's by now.
    json report "$worker" "$attempt" "$code" "$dir/out" "$dir/err" >"$dir/report"
    verb=fail
    [ "$code" -ne 0 ] || verb=complete
    while :; do
        status=$(post "/api/tasks/$task/$verb" "$dir/report" "$dir/answer")
        case $status in
            200) break ;;
            000 | 5*) sleep 1 ;;
            *) echo "$verb was refused: $status" >&2; break ;;
        esac
    done
done
