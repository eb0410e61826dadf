# The supervisor between Task Runner X and one private server. See leash.rs.
#
#   sh -c "$(cat leash.sh)" leash GRACE DATA SOCKETS PROGRAM [ARGUMENT]...
#
# GRACE    tenths of a second between asking an abandoned server to stop and killing it
# DATA     directory to remove once an abandoned server is gone, or empty
# SOCKETS  the same, for sockets that live outside the data directory
#
# stdin    the leash: one signal name a line; end of file means that the parent is gone
# stdout   the server's process id, one line
# stderr   the server's log, for the server and for the shell's own complaints

grace=$1 data=$2 sockets=$3
shift 3
PATH=$PATH:/usr/bin:/bin # rm and sleep

# A background command's stdin is /dev/null, so the leash moves to a descriptor of its own.
exec 3<&0 </dev/null

"$@" >&2 3<&- &
server=$!
echo "$server"
exec >&2

(
  while read -r signal <&3; do
    kill -s "$signal" "$server"
  done
  # Abandoned. From here on this subshell ends with 99, also when it is told that the server has gone.
  trap 'exit 99' TERM
  kill -s TERM "$server"
  kill -s CONT "$server"
  while kill -0 "$server"; do
    if [ "$grace" -eq 0 ]; then
      kill -s KILL "$server"
      break
    fi
    sleep 0.1
    grace=$((grace - 1))
  done
  exit 99
) 2>/dev/null &
watcher=$!

# A signal to this shell alone must not end it before the server. Not earlier: a subshell could lose a signal that
# arrives before it has undone our traps, and with '' in place of : the server would ignore these signals, too.
trap : HUP INT TERM

wait "$server"
status=$?
# A trapped signal ends `wait` early.
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
  status=$?
done

kill -s TERM "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
if [ $? -eq 99 ]; then
  # The other server may still be writing into the same directory: try again until it is gone, 10 s at most.
  for directory in "$data" "$sockets"; do
    [ -n "$directory" ] || continue
    tries=100
    while rm -rf "$directory" 2>/dev/null; [ -e "$directory" ] && [ "$tries" -gt 0 ]; do
      sleep 0.1
      tries=$((tries - 1))
    done
  done
fi
exit "$status"
