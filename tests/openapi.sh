#!/bin/bash
# The real daemon against its own description: schemathesis (PyPI) makes up requests and reads the answers.
# Whether a request that the description allows makes sense is more than a description can say; that check is left out.
# 77 where schemathesis cannot be had. E911D_EXAMPLES: how many requests are made up per path and method.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=target/schemathesis
if ! "$venv/bin/st" --version >/dev/null 2>&1; then
	rm -rf "$venv"
	timeout 30 python3 -m venv "$venv" && timeout 120 "$venv/bin/pip" install -q --disable-pip-version-check 'schemathesis>=4,<5' ||
		{ rm -rf "$venv"; echo "schemathesis cannot be installed" >&2; exit 77; }
fi
cargo build -q
dir=$(mktemp -d)
daemon=
trap '[ -n "$daemon" ] && kill "$daemon" 2>/dev/null; rm -rf "$dir"' EXIT
token=operator-0123456789abcdef
mkdir "$dir/state"
cat >"$dir/e911d.toml" <<TOML
[node]
state_dir = "$dir/state"
[[listen]]
transport = "udp"
bind = "127.0.0.1:0"
[http]
bind = "127.0.0.1:0"
[[http.token]]
role = "operator"
value = "$token"
[[trunk]]
name = "carrier"
uri = "sip:127.0.0.2:5060"
options = "0s"
callback_numbers = ["+14255550100-+14255550109"]
[[voice_route]]
name = "emergency"
pattern = '^911$'
trunks = ["carrier"]
[[agent]]
id = "alice"
TOML
target/debug/e911d run -c "$dir/e911d.toml" 2>"$dir/log" &
daemon=$!
for _ in $(seq 100); do grep -q '^ready' "$dir/log" && break; sleep 0.1; done
http=$(sed -n 's/^ready .* http=//p' "$dir/log")
[ -n "$http" ] || { echo "the daemon did not start:" >&2; cat "$dir/log" >&2; exit 1; }
timeout --kill-after=5 $((60 + 5 * ${E911D_EXAMPLES:-10})) "$venv/bin/st" run src/daemon/api/openapi.json --url "http://$http/api/v1" -H "Authorization: Bearer $token" \
	--exclude-path /events --exclude-checks positive_data_acceptance,negative_data_rejection --max-examples "${E911D_EXAMPLES:-10}" --mode all \
	--generation-database none
kill -0 "$daemon" || { echo "the daemon did not live through it" >&2; exit 1; }
