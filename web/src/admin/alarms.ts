// What an alarm means and what to do, in the words of the guide "The day it rings".

interface Meaning { title: string; todo: string }

const MEANINGS: Record<string, Meaning> = {
	call_not_connected: { title: "An emergency call was not connected", todo: "No trunk took it. Ring the caller; send somebody; dial 911 by mobile and name the address." },
	no_trunk: { title: "No trunk answers", todo: "Calls are tried all the same. Ring the carriers." },
	trunk_down: { title: "A trunk does not answer", todo: "Emergency calls take the others. See below which one, then the way to it and its carrier." },
	pool_empty: { title: "No callback number is free", todo: "The fallback number is shown, and callbacks ring the desk: have it staffed." },
	pool_low: { title: "Callback numbers are running short", todo: "Add numbers to trunk.callback_numbers before there are none." },
	store_failed: { title: "The disk takes nothing", todo: "A restart would forget leases. Do not restart; free the disk that node.state_dir is on." },
	store_slow: { title: "The disk is slow", todo: "Put node.state_dir on a faster disk." },
	mail_failing: { title: "Mail is not delivered", todo: "Contacts hear nothing. Tell them yourself; e911d outbox says why." },
	config_rejected: { title: "The config file has mistakes", todo: "The last good one is in use. Run e911d check, correct the file, reload." },
	desk_unreachable: { title: "The desk does not answer", todo: "A callback that finds nobody is rung there. Pick up at the desk, now, and look at callback.desk." },
	loop: { title: "A call came back to where it began", todo: "A trunk or PBX sends our calls back to us. Look at its routes." },
};

export function meaning(name: string): Meaning {
	return MEANINGS[name] ?? { title: name.replaceAll("_", " "), todo: "See the guide “The day it rings”." };
}
