#!/bin/bash
# Counts what the first look at a datagram and the scan of an INVITE cost, in instructions, by valgrind's callgrind: that is
# the same on every machine of one kind, however busy it is. Fails above the limits. Exit 77: no valgrind.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
command -v valgrind >/dev/null || { [ "${E911D_REQUIRE_PEERS:-0}" = 1 ] && echo "no valgrind" && exit 1; exit 77; }

# This package alone is built with optimisation and without checks, all others as for the tests: that takes a minute or two where
# a release build takes many, and makes no difference to what is counted here.
binary() { # NAME: builds this bench and says where it is
	local mine=profile.dev.package.e911d
	CARGO_INCREMENTAL=0 cargo test --no-run --bench "$1" --config $mine.opt-level=3 --config $mine.debug-assertions=false \
		--config $mine.overflow-checks=false 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p' | tail -1
}
collected() { # BINARY KIND TIMES
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$1" --instructions "$2" "$3" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
failed=0
limit() { # MOST BINARY KIND
	local without with each
	"$2" --instructions "$3" 1 || { echo "$3: does not run"; failed=1; return; }
	without=$(collected "$2" "$3" 0) with=$(collected "$2" "$3" 1000)
	[ -n "$without" ] && [ -n "$with" ] || { echo "$3: valgrind cannot run it"; failed=1; return; }
	each=$(((with - without) / 1000))
	printf '%-12s %6d instructions, %d at most\n' "$3" $each "$1"
	[ $each -le "$1" ] && [ $each -gt 0 ] || failed=1
}

look=$(binary first_look) scan=$(binary scan)
[ -x "$look" ] && [ -x "$scan" ] || exit 1
for kind in emergency callback ordinary in-call response junk; do limit 400 "$look" $kind; done
limit 9800 "$scan" scan
exit $failed
