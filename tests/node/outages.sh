# Relays of a whole network end and come back, in a network namespace of its own (as root): unshare -n sh tests/node/outages.sh
# UMBEL is the program, WORK an empty folder, PROFILE public, private or testing, N how many relays there are.
# WHAT is roll (all are restarted, one after the other) or half (half die at once, then the first of all).
# What it finds are lines of a name and a number; the words "lost" and "late" say what went wrong.
set -u
ip link set lo up
i=0; while [ $i -lt $N ]; do ip addr add 5.$((10+i)).0.1/32 dev lo; i=$((i+1)); done
cd "$WORK"
trap 'for f in *.pid; do kill -9 $(cat $f) 2>/dev/null; done' EXIT
ms() { date +%s%3N; }
u() { d=$1; shift; timeout 60 "$UMBEL" --dir $d "$@"; }
# The node in folder $1 runs with these options, and is ready within $2 tenths of a second.
start() { d=$1 most=$2; shift 2; rm -f $d.ready; "$UMBEL" "$@" --dir $d --ready-file $d.ready >>$d.log 2>&1 & echo $! >$d.pid; wait_for $d $most; }
wait_for() { n=0; while [ ! -e $1.ready ] && [ $n -lt $2 ]; do sleep .1; n=$((n+1)); done; [ -e $1.ready ]; }
relay() { i=$1 most=$2; shift 2; start r$i $most relay --listen 5.$((10+i)).0.1:7200 --shards 1 --store 64M "$@"; }
client() { d=$1; most=$2; shift 2; start $d $most client --socks 127.0.0.1:0 "$@"; }
end() { kill -$2 $(cat $1.pid) 2>/dev/null; n=0; while kill -0 $(cat $1.pid) 2>/dev/null && [ $n -lt 400 ]; do sleep .1; n=$((n+1)); done; rm -f $1.pid; }
field() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
known() { u $1 --json status 2>/dev/null | sed 's/.*"directory"//' | field relays; }
fetch() { rm -f $1.out; u $1 get "$LINK" -o $1.out >/dev/null 2>$1.err && cmp -s $1.out note; }

if [ $PROFILE = private ]; then
  u r0 network create >/dev/null; relay 0 0 --log info
  until u r0 invite >net.invite 2>/dev/null && grep -q ^relay net.invite; do sleep .1; done
  i=1; while [ $i -lt $N ]; do u r0 network invite m$i >m$i.invite 2>/dev/null; relay $i 0 --invite m$i.invite; i=$((i+1)); done
else
  relay 0 0 --profile $PROFILE --write-invite net.invite
  while [ ! -s net.invite ]; do sleep .1; done
  i=1; while [ $i -lt $N ]; do relay $i 0 --invite net.invite; i=$((i+1)); done
fi
client c 6000 --invite net.invite || { echo "never 0 the first client"; exit 1; }
n=0; until [ "$(known c)" = $N ]; do sleep .5; n=$((n+1)); [ $n -gt 1200 ] && { echo "never $(known c) relays in the set"; exit 1; }; done
client c2 300 --invite net.invite
echo "a note for all" >note
u c put note --json >put.json 2>put.err; LINK=$(sed -n 's/.*"link":"\([^"]*\)".*/\1/p' put.json)
fetch c && fetch c2 || { echo "lost 0 before anything"; exit 1; }

# A newcomer by the invite that a client has now: how long it takes to be of use.
newcomer() {
  u c invite >$1.invite; begun=$(ms)
  if client $1 $2 --invite $1.invite && fetch $1; then echo "newcomer_ms $(( $(ms) - begun ))"; else echo "late newcomer $1"; tail -n 3 $1.log; fi
  end $1 KILL
}
try() { t=$((t+1)); fetch $1 || { echo "lost $1 $2"; tail -n 2 $1.err; }; }
t=0
case $WHAT in
roll)
  i=0
  while [ $i -lt $N ]; do
    end r$i TERM; try c "r$i is down"
    begun=$(ms); if relay $i 100; then echo "ready_ms $(( $(ms) - begun ))"; else echo "late r$i"; fi
    try c "r$i is back"
    end c2 TERM; begun=$(ms); if client c2 300; then echo "restarted_ms $(( $(ms) - begun ))"; else echo "late c2"; fi
    try c2 "restarted"
    newcomer n$i 300
    i=$((i+1))
  done ;;
half)
  i=1; while [ $i -le $((N/2)) ]; do kill -9 $(cat r$i.pid); i=$((i+1)); done
  died=$(ms); sleep 2; kill -9 $(cat r0.pid)
  newcomer n 3000; echo "since_death_ms $(( $(ms) - died ))"
  # A client whose guards are all among the dead waits for them: what it may draw instead is bounded.
  for d in c c2; do fetch $d && echo "fetched 1" || echo "fetched 0"; done ;;
esac
[ $WHAT = roll ] && echo "fetches $t"
true
