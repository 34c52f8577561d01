#!/bin/bash
# Takes the line of a rule out, one rule of each group, and expects the rule's test to fail.
#
# It works on a copy of the tree; copy and build are kept in target/mutants.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

copy=$PWD/target/mutants/tree log=$PWD/target/mutants/log failed=0
mkdir -p "$copy" || exit 1
export CARGO_TARGET_DIR=$PWD/target/mutants CARGO_TERM_PROGRESS_WHEN=never

# mutant RULE FILE SED TEST: RULE's line in FILE is taken out by SED; TEST, in tests/calls, must fail without it.
mutant() {
	local rule=$1 file=$2 edit=$3 test=$4
	rm -rf "${copy:?}"/* && cp -r Cargo.toml Cargo.lock clippy.toml src benches conf tests "$copy" || exit 1
	sed -i "$edit" "$copy/$file"
	if cmp -s "$file" "$copy/$file"; then
		echo "$rule: the line is not in $file any more"; failed=1; return
	fi
	if ! (cd "$copy" && cargo test --quiet --test calls --no-run) >/dev/null 2>"$log"; then
		echo "$rule: does not compile without its line"; tail -n 20 "$log"; failed=1; return
	fi
	if (cd "$copy" && cargo test --quiet --test calls "$test") >"$log" 2>&1; then
		echo "$rule: $test passes without the rule's line in $file"; failed=1
	elif ! grep -q "$test.*FAILED\|---- .*$test" "$log"; then
		echo "$rule: $test was not run"; failed=1
	else
		echo "$rule: $test fails without the rule's line, as it must"
	fi
}

mutant R7 src/emergency/gateway.rs 's/ && there\.is_certain()//' r7_a_caller_who_is_certainly_abroad
mutant P7 src/emergency/call.rs '/fn ring(/,/^    }/s/self\.give_up_all(.*//' p7_a_silent_trunk_gets_company
mutant L8 src/bridge/compose.rs 's/Self::Masked => is_for_the_trunk(h\.name),/Self::Masked => !is_one_sides_own(h.name) || is_for_the_trunk(h.name),/' l8_the_psap_sees_the_callback_number
mutant C7 src/emergency/ringing.rs '/fn answered(/,/^    }/s/self\.give_up_all(.*//' c7_the_first_device_that_answers_wins
mutant A6 src/bridge/dialog.rs '/Method::Refer if storys/d' a6_nobody_is_transferred_out_of_an_emergency
mutant B5 src/sip/endpoint.rs '/self\.say_trying(first, now);/d' b5_a_merged_copy_gets_482
exit $failed
