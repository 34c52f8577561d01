// Every state of /panel, before a stand-in for the gateway: what is in the page, what is not, what axe says, screenshots.
import { Browser, check, obey, same } from "./browser.mjs";
import { ears, until, untilHears } from "./ears.mjs";
import { ORIGIN, PSAP, StandIn } from "./stand-in.mjs";

const EVERYTHING = { permissions: ["microphone", "geolocation"], geolocation: { latitude: 47.674, longitude: -122.1215, accuracy: 12 } };

const listening = (page) => page.addInitScript(ears);

/** The same with a clock that the test sets. */
async function withClock(page) {
	await listening(page);
	await page.clock.install();
}

/** A page of an agent's who has not signed in. */
async function fresh(b, more = EVERYTHING, change = () => {}, prepare = listening) {
	const gateway = new StandIn();
	change(gateway);
	const page = await b.open(async (page) => { await prepare(page); await gateway.serve(page.context()); }, more);
	await page.goto(`${ORIGIN}/panel`);
	await b.page?.context().close();
	b.page = page;
	return { gateway, page };
}

async function signedIn(b, more = EVERYTHING, change = () => {}, prepare = listening) {
	const { gateway, page } = await fresh(b, more, change, prepare);
	await signIn(page, "alice", "wonderland");
	await page.getByRole("button", { name: "Sign out" }).waitFor();
	if (gateway.isLineUp && gateway.isRegistrarUp) await page.getByText("Phone is connected").waitFor();
	return { gateway, page };
}

async function signIn(page, agent, password) {
	await page.getByLabel("Agent ID").fill(agent);
	await page.getByLabel("Password").fill(password);
	await page.getByRole("button", { name: "Sign in" }).click();
}

/** A state as everybody sees it, with a finger as well. */
async function look(b, name, page = b.page) {
	await b.look(name, page);
	await page.setViewportSize({ width: 320, height: 640 });
	await b.largeEnough(name, page);
	await page.setViewportSize({ width: 1280, height: 800 });
}

const dialHelp = (page) => page.getByRole("button", { name: "Call 911", exact: true }).first().click();
const connected = (page) => page.getByRole("status").getByText("Connected", { exact: true }).waitFor();
const alertOf = (page, text) => page.getByRole("alert").getByText(text).first().waitFor();

/** What there may be during an emergency call, and nothing else that can be pressed, typed or followed. */
async function onlyDevicesAndEnd(page) {
	const found = await page.locator("button, select, input, textarea, a, summary, [contenteditable], [tabindex], [role=button], [role=link]").evaluateAll((all) => all.filter((e) => !e.hidden).map((e) => e.id.split("-")[0] || e.textContent.trim()));
	same(found.filter((name) => !["End call", "microphone", "speaker", "Play a test tone", "Try again", "Test microphone"].includes(name)), [], "what can be pressed during an emergency call");
	for (const name of ["Save", "Refresh", "Reload", "Sign out", "Hold", "Mute", "Transfer", "Keypad", "Call", "Hang up", "Erase the last digit", "Language", "1", "0", "star", "pound"])
		same(await page.getByRole("button", { name, exact: true }).count(), 0, `${name} during an emergency call`);
	for (const selector of [".dialpad", ".keys", ".readiness", ".ordinary", "header", "nav", "form"]) same(await page.locator(selector).count(), 0, `${selector} during an emergency call`);
}

const steps = {
	async "sign-in"(b) {
		const { page } = await fresh(b);
		await page.getByRole("heading", { name: "Sign in" }).waitFor();
		await look(b, "panel-signin");
		await signIn(page, "alice", "guess");
		await alertOf(page, "is not right");
		check(await page.getByLabel("Password").evaluate((e) => e === document.activeElement), "who mistyped can type again");
		await look(b, "panel-signin-wrong");
		await signIn(page, "guesser", "guess");
		await alertOf(page, "Too many attempts");
		await page.keyboard.press("Shift+Tab");
		await page.keyboard.type("alice");
		await page.keyboard.press("Tab");
		await page.keyboard.type("wonderland");
		await page.keyboard.press("Enter");
		await page.getByText("Phone is connected").waitFor();
		same(await page.evaluate(() => document.cookie), "", "no cookie");
		await page.reload();
		await page.getByText("Phone is connected").waitFor();
		await page.getByRole("button", { name: "Sign out" }).click();
		await page.getByText("You are signed out").waitFor();
		same(await page.evaluate(() => sessionStorage.length), 0, "nothing is kept");
		await look(b, "panel-signed-out");
	},

	async home(b) {
		const { page } = await signedIn(b);
		await page.getByText("Everything is ready.").waitFor();
		await page.getByText("On. Speak: the bar moves").waitFor();
		await look(b, "panel-home");
		await page.getByLabel("Number", { exact: true }).fill("9-911#");
		await page.getByRole("button", { name: "Call 9911" }).waitFor();
		await page.getByLabel("Number", { exact: true }).fill("9110");
		await page.getByRole("button", { name: "Call", exact: true }).waitFor();
	},

	async "not-ready"(b) {
		const { page } = await signedIn(b, { permissions: [] }, (gateway) => {
			gateway.checks = [{ name: "contacts", ok: false, why: "no contact" }, { name: "location", ok: false, why: "no address" }];
			gateway.isRegistrarUp = false;
		});
		await page.getByText("The microphone is blocked").first().waitFor();
		await page.getByText("Nobody would be told of your emergency call").waitFor();
		await look(b, "panel-not-ready");
	},

	async emergency(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, (g) => { g.calls = "none"; });
		await page.getByText("Everything is ready.").waitFor();
		same(gateway.positions.length > 0, true, "the position was told before any call");
		await dialHelp(page);
		await alertOf(page, "Stay on the line");
		await onlyDevicesAndEnd(page);
		await page.getByText("Calling…").waitFor();
		check(await page.getByRole("button", { name: "End call" }).evaluate((e) => e === document.activeElement), "End call has the focus");
		gateway.calls = "ring";
		await gateway.sip(gateway.socket, "\r\n");
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("Phone is connected").waitFor();
		await dialHelp(page);
		await page.getByText("Ringing…").waitFor();
		await look(b, "panel-emergency-ringing");
		await gateway.answerIt();
		await connected(page);
		await onlyDevicesAndEnd(page);
		await heardThere(gateway);
		await untilHears(page, 1000);
		await look(b, "panel-emergency");
		check(await page.evaluate(() => performance.getEntriesByName("e911d.dial-to-answer").length > 0), "how long it took is measured");
		gateway.lease = { number: "+14255550100", expires: new Date(Date.now() + 3_600_000).toISOString() };
		await page.getByRole("button", { name: "End call" }).focus();
		await page.keyboard.press("Enter");
		await page.getByText("Emergency services can call you back").waitFor();
		same(gateway.count("BYE"), 1, "she has hung up");
		await look(b, "panel-lease");
		await page.getByRole("button", { name: "Sign out" }).click();
		await page.getByRole("dialog", { name: "Sign out while they may call you?" }).waitFor();
		await look(b, "panel-signing-out");
		await page.getByRole("button", { name: "Stay signed in" }).click();
		await page.getByText("Phone is connected").waitFor();
	},

	async keyboard(b) {
		const { page } = await signedIn(b);
		await page.getByText("Everything is ready.").waitFor();
		const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
		for (let n = 0; n < 10 && (await focused()) !== "Call 911"; n += 1) await page.keyboard.press("Tab");
		same(await focused(), "Call 911", "the way to help is near");
		// Pressed twice, and held: the call is not ended by that.
		await page.keyboard.down("Enter");
		await page.keyboard.down("Enter");
		await page.keyboard.up("Enter");
		await page.keyboard.press("Enter");
		await page.keyboard.press("Space");
		await connected(page);
		const order = [];
		for (let n = 0; n < 3; n += 1) {
			await page.keyboard.press("Tab");
			order.push(await page.evaluate(() => document.activeElement?.id.split("-")[0] || document.activeElement?.textContent));
		}
		same(order, ["microphone", "speaker", "Play a test tone"], "what Tab reaches after End call");
		for (let n = 0; n < 3; n += 1) await page.keyboard.press("Shift+Tab");
		await page.waitForTimeout(800);
		await page.keyboard.press("Space");
		await page.getByText("Phone is connected").waitFor();
	},

	async "listen-only"(b) {
		const { gateway, page } = await signedIn(b, { permissions: [] });
		await page.getByText("The microphone is blocked").first().waitFor();
		await dialHelp(page);
		await connected(page);
		await alertOf(page, "They cannot hear you");
		await onlyDevicesAndEnd(page);
		await look(b, "panel-listen-only");
		await page.context().grantPermissions(["microphone"]);
		await page.getByText("On. Speak: the bar moves").waitFor();
		await heardThere(gateway);
		same(gateway.count("INVITE"), 1, "no new offer for a microphone");
	},

	/** Neither a question of the browser's that nobody answers nor a network without addresses holds the call. */
	async "nothing-holds-it"(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, () => {}, (page) => page.addInitScript(() => {
			navigator.mediaDevices.getUserMedia = () => new Promise(() => {});
			navigator.geolocation.watchPosition = () => 1;
			const listen = RTCPeerConnection.prototype.addEventListener;
			RTCPeerConnection.prototype.addEventListener = function (name, heard) {
				const passes = (event) => (name === "icecandidate" ? !event.isTrusted : name !== "icegatheringstatechange" || this.iceGatheringState === "gathering");
				return listen.call(this, name, (event) => { if (passes(event)) heard(event); });
			};
		}));
		const began = Date.now();
		await dialHelp(page);
		await until("the INVITE has left", async () => gateway.count("INVITE") === 1);
		check(Date.now() - began < 5_000, "it was held");
		await connected(page);
		await alertOf(page, "They cannot hear you yet");
		await onlyDevicesAndEnd(page);
	},

	/** After an emergency call the microphone stays open, so that a callback has it at once. */
	async warm(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, () => {}, withClock);
		const tested = page.getByText("On. Speak: the bar moves");
		await tested.waitFor();
		await page.clock.fastForward("05:00");
		await page.getByText("Phone is connected").waitFor();
		await page.getByRole("button", { name: "Test microphone" }).waitFor();
		await dialHelp(page);
		await connected(page);
		await page.getByRole("button", { name: "End call" }).click();
		await page.clock.fastForward("30:00");
		await tested.waitFor();
		const opened = await page.evaluate(() => globalThis.opened);
		await gateway.ring(PSAP, "psap-callback");
		await page.getByRole("button", { name: "Answer", exact: true }).click();
		await connected(page);
		await heardThere(gateway);
		same(await page.evaluate(() => globalThis.opened), opened, "how often the microphone was opened");
	},

	/** The machine slept: the connection looks open, and nobody is there. */
	async asleep(b) {
		const { gateway, page } = await signedIn(b);
		const registered = gateway.count("REGISTER");
		gateway.deaf = gateway.socket;
		await page.evaluate(() => dispatchEvent(new Event("pageshow")));
		await until("it has connected anew", async () => gateway.socket !== gateway.deaf && gateway.count("REGISTER") > registered);
		await page.getByText("Phone is connected").waitFor();
		gateway.deaf = gateway.socket;
		await dialHelp(page);
		await connected(page);
		await heardThere(gateway);
	},

	async dropped(b) {
		const { gateway, page } = await signedIn(b);
		await dialHelp(page);
		await connected(page);
		gateway.lease = { number: "+14255550100", expires: new Date(Date.now() + 3_600_000).toISOString() };
		gateway.hangUp();
		await alertOf(page, "The call was cut off");
		await page.getByText("They can reach you on this page until").waitFor();
		await look(b, "panel-dropped");
		gateway.dropped = true;
		await page.reload();
		await alertOf(page, "The call was cut off");
		gateway.dropped = false;
		await page.getByRole("button", { name: "Call 911 again" }).click();
		await connected(page);
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("Phone is connected").waitFor();
		await dialHelp(page);
		await connected(page);
		gateway.hangUp();
		await page.getByRole("button", { name: "I need no more help" }).click();
		await page.getByText("Phone is connected").waitFor();
		same(gateway.dismissed, 1, "she is left alone no longer");
	},

	async failed(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, (g) => { g.calls = "503 Service Unavailable"; });
		await dialHelp(page);
		await alertOf(page, "Use a mobile phone now");
		await look(b, "panel-failed");
		gateway.calls = "403 Forbidden";
		gateway.warning = "In Denmark dial 112";
		await page.getByRole("button", { name: "Call 911 again" }).click();
		await page.getByText("In Denmark dial 112").waitFor();
		await page.getByRole("button", { name: "Back to the phone" }).click();
		await page.getByText("Phone is connected").waitFor();
	},

	async callback(b) {
		const { gateway, page } = await signedIn(b);
		await page.getByText("Everything is ready.").waitFor();
		let id = await gateway.ring(PSAP, "psap-callback");
		await page.getByRole("alertdialog", { name: "Emergency services are calling you back" }).waitFor();
		await look(b, "panel-callback");
		await page.keyboard.press("Escape");
		await page.getByRole("alertdialog").waitFor();
		await page.keyboard.press("Enter");
		await connected(page);
		await onlyDevicesAndEnd(page);
		gateway.hangUp(id);
		await alertOf(page, "The call was cut off");
		await page.getByRole("button", { name: "I need no more help" }).click();
		id = await gateway.ring(PSAP, "psap-callback");
		await page.getByRole("alertdialog").waitFor();
		gateway.cancel(id);
		await alertOf(page, "Emergency services called you");
		await page.getByRole("button", { name: "Call 911", exact: true }).waitFor();
		await look(b, "panel-missed");
		id = await gateway.ring(PSAP, "psap-callback");
		await page.getByRole("alertdialog").waitFor();
		await page.getByRole("button", { name: "I cannot answer" }).click();
		await page.getByRole("alertdialog").waitFor({ state: "detached" });
	},

	async "callback-over-a-call"(b) {
		const { gateway, page } = await signedIn(b);
		await page.getByLabel("Number", { exact: true }).fill("+1 (212) 555-0123");
		await page.keyboard.press("Enter");
		await connected(page);
		await gateway.ring(PSAP, "psap-callback");
		await page.getByRole("alertdialog").waitFor();
		await look(b, "panel-callback-over-a-call");
		await page.getByRole("button", { name: "Answer", exact: true }).click();
		await connected(page);
		await onlyDevicesAndEnd(page);
		const second = await gateway.ring(PSAP, "psap-callback");
		await page.getByText("Answer to speak with both").waitFor();
		await page.getByRole("button", { name: "Answer", exact: true }).click();
		await page.getByRole("alertdialog").waitFor({ state: "detached" });
		same(await page.getByRole("button", { name: "End call" }).count(), 2, "two calls");
		await look(b, "panel-two-emergencies");
		gateway.hangUp(second);
		await page.getByRole("button", { name: "End call" }).nth(1).waitFor({ state: "detached" });
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("On hold").waitFor();
		await page.getByRole("button", { name: "Hang up" }).click();
		await page.getByRole("button", { name: "Hang up" }).waitFor({ state: "detached" });
	},

	async "answers-by-itself"(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, (g) => { g.answer = "auto"; });
		await gateway.ring(PSAP, "psap-callback");
		await connected(page);
		await heardThere(gateway);
	},

	/** Nothing is heard of her call any more: the PSAP's next one is answered as if there were none (RULES C3). */
	async "callback-over-a-dead-call"(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, (g) => { g.answer = "auto"; }, async (page) => {
			await listening(page);
			await page.addInitScript(() => {
				globalThis.connections = [];
				globalThis.RTCPeerConnection = class extends RTCPeerConnection {
					constructor(...all) { super(...all); globalThis.connections.push(this); }
				};
			});
		});
		await dialHelp(page);
		await connected(page);
		const living = await gateway.ring(PSAP, "psap-callback");
		await page.getByText("Answer to speak with both").waitFor();
		gateway.cancel(living);
		await page.getByRole("alertdialog").waitFor({ state: "detached" });
		await page.evaluate(() => {
			const connection = globalThis.connections.at(-1);
			Object.defineProperty(connection, "iceConnectionState", { get: () => "disconnected" });
			connection.dispatchEvent(new Event("iceconnectionstatechange"));
		});
		await page.getByText("Reconnecting…").waitFor();
		await gateway.ring(PSAP, "psap-callback");
		await connected(page);
		same(await page.getByRole("button", { name: "End call" }).count(), 2, "she ends either");
		same(gateway.count("BYE"), 0, "the page ends neither by itself");
		await onlyDevicesAndEnd(page);
	},

	async ordinary(b) {
		const { gateway, page } = await signedIn(b);
		await gateway.ring("+12125550123");
		await page.getByText("Incoming call").waitFor();
		await look(b, "panel-ordinary-ringing");
		await page.getByRole("button", { name: "Answer", exact: true }).click();
		await connected(page);
		await heardThere(gateway);
		await page.getByRole("button", { name: "Mute" }).click();
		await until("nothing is heard", async () => (await gateway.hears()) === 0);
		await page.getByRole("button", { name: "Mute" }).click();
		await page.getByRole("button", { name: "Hold", exact: true }).click();
		await page.getByText("On hold").waitFor();
		await page.getByRole("button", { name: "Hold", exact: true }).click();
		await connected(page);
		await page.getByRole("button", { name: "Keypad" }).click();
		await page.locator(".tones").getByRole("button", { name: "5" }).click();
		await page.locator(".tones").getByRole("button", { name: "pound" }).click();
		same(await page.locator(".sent").textContent(), "5#", "what was pressed is shown");
		await look(b, "panel-ordinary");
		await page.getByRole("button", { name: "Hang up" }).click();
		await page.getByRole("button", { name: "Hang up" }).waitFor({ state: "detached" });
		const busy = gateway.heard.length;
		await dialHelp(page);
		await connected(page);
		await gateway.ring("+12125550123");
		await until("an ordinary call finds her busy", async () => gateway.heard.slice(busy).some((m) => m.status === 486));
	},

	async reload(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, () => {}, withClock);
		await dialHelp(page);
		await connected(page);
		page.on("dialog", (dialog) => void dialog.accept().catch(() => {}));
		await page.reload();
		await page.getByText("Bringing you back to the call…").waitFor();
		await onlyDevicesAndEnd(page);
		await look(b, "panel-rejoining");
		await until("it has registered again", async () => gateway.count("REGISTER") >= 2);
		await gateway.ringAgain();
		await connected(page);
		await heardThere(gateway);
		await page.reload();
		await page.getByText("Bringing you back to the call…").waitFor();
		await page.clock.fastForward("00:26");
		await alertOf(page, "The call was cut off");
		await page.getByRole("button", { name: "Call 911 again" }).click();
		await connected(page);
		await page.reload();
		await page.getByText("Bringing you back to the call…").waitFor();
		await page.waitForTimeout(800);
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("Phone is connected").waitFor();
		await gateway.ringAgain();
		await until("a call that she has ended is not taken up again", async () => gateway.heard.some((m) => m.status === 603));
	},

	/** The PSAP has not answered yet when the page is reloaded: it is waited for, however long that takes. */
	async "reload-while-ringing"(b) {
		const { gateway, page } = await signedIn(b, EVERYTHING, (g) => { g.calls = "ring"; }, withClock);
		await dialHelp(page);
		await page.getByText("Ringing…").waitFor();
		page.on("dialog", (dialog) => void dialog.accept().catch(() => {}));
		gateway.call = { kind: "emergency", state: "ringing" };
		await page.reload();
		for (let n = 0; n < 6; n += 1) {
			await page.getByText("Bringing you back to the call…").waitFor();
			await onlyDevicesAndEnd(page);
			await page.clock.fastForward("00:12");
		}
		same(gateway.count("CANCEL") + gateway.count("BYE"), 0, "the call goes on being set up");
		gateway.call = { kind: "emergency", state: "talking" };
		await page.clock.fastForward("00:04");
		await page.getByText("Bringing you back to the call…").waitFor();
		await gateway.ringAgain();
		await connected(page);
		await heardThere(gateway);
		// And where it fails while the page waits, she is told.
		await page.reload();
		await page.getByText("Bringing you back to the call…").waitFor();
		gateway.call = null;
		await page.clock.fastForward("00:26");
		await alertOf(page, "The call was cut off");
	},

	async "line-lost"(b) {
		const { gateway, page } = await signedIn(b);
		await dialHelp(page);
		await connected(page);
		gateway.cut();
		await page.getByText("Reconnecting…").waitFor();
		await look(b, "panel-line-lost");
		gateway.isLineUp = true;
		await connected(page);
		const byes = gateway.count("BYE");
		await gateway.ringAgain();
		await until("the page answers by itself", async () => gateway.heard.some((m) => m.status === 200 && /INVITE/.test(m.headers.cseq)));
		await connected(page);
		same(await page.getByRole("button", { name: "End call" }).count(), 1, "one call");
		same(gateway.count("BYE"), byes, "the leg that was lost is ended by nobody");
		await heardThere(gateway);
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("Phone is connected").waitFor();
		gateway.cut();
		await page.getByText("No connection to the gateway").waitFor();
		await dialHelp(page);
		await page.getByText("Connecting to the gateway…").waitFor();
		await alertOf(page, "Use a mobile phone now");
		await onlyDevicesAndEnd(page);
		await look(b, "panel-no-line");
		const invites = gateway.count("INVITE");
		gateway.isLineUp = true;
		await connected(page);
		same(gateway.count("INVITE"), invites + 1, "the call goes out as soon as there is a line");
	},

	async "network-changed"(b) {
		const { gateway, page } = await signedIn(b);
		await dialHelp(page);
		await connected(page);
		const took = await page.evaluate(() => performance.getEntriesByName("e911d.dial-to-answer").at(-1)?.duration);
		console.log(`dial to answer ${Math.round(took)} ms`);
		await page.evaluate(() => dispatchEvent(new Event("online")));
		await until("a new offer", async () => gateway.heard.filter((m) => m.method === "INVITE").length === 2);
		const ufrag = gateway.heard.filter((m) => m.method === "INVITE").map((m) => /a=ice-ufrag:(\S+)/.exec(m.body)[1]);
		check(ufrag[0] !== ufrag[1], "ICE is restarted");
		await heardThere(gateway);
	},

	async "second-tab"(b) {
		const { gateway, page } = await signedIn(b);
		const other = await b.tab(page.context());
		await other.goto(`${ORIGIN}/panel`);
		await signIn(other, "alice", "wonderland");
		await other.getByRole("heading", { name: "Your phone is in another tab" }).waitFor();
		await look(b, "panel-second-tab", other);
		await dialHelp(page);
		await connected(page);
		await other.getByText("A call is running in the other tab").waitFor();
		await look(b, "panel-second-tab-busy", other);
		await page.getByRole("button", { name: "End call" }).click();
		await other.getByRole("button", { name: "Use this tab instead" }).click();
		await other.getByText("Phone is connected").waitFor();
		await page.getByRole("heading", { name: "Your phone is in another tab" }).waitFor();
		await other.close();
		await page.getByText("Phone is connected").waitFor();
		same(gateway.count("INVITE"), 1, "one call was made");
	},

	async outdated(b) {
		const { gateway, page } = await signedIn(b);
		await dialHelp(page);
		await connected(page);
		gateway.build = "two";
		gateway.lease = { number: "+14255550100", expires: new Date(Date.now() + 3_600_000).toISOString() };
		gateway.cut();
		await page.getByText("Reconnecting…").waitFor();
		gateway.isLineUp = true;
		const looked = page.waitForResponse(/session\/state/);
		await connected(page);
		await looked;
		await onlyDevicesAndEnd(page);
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("There is a newer version of this page").waitFor();
		await look(b, "panel-outdated");
	},

	async "session-gone"(b) {
		const { gateway, page } = await signedIn(b);
		await dialHelp(page);
		await connected(page);
		gateway.isGone = true;
		await page.evaluate(() => dispatchEvent(new Event("focus")));
		await onlyDevicesAndEnd(page);
		await page.getByRole("button", { name: "End call" }).click();
		await page.getByText("The gateway has ended your session").waitFor();
	},

	async languages(b) {
		for (const [code, signIn_, help, end] of [["es", "Iniciar sesión", "Llamar al 911", "Terminar la llamada"], ["fr", "Se connecter", "Appeler le 911", "Terminer l’appel"]]) {
			const { page } = await fresh(b);
			await page.getByLabel("Language").selectOption(code);
			await page.getByRole("heading", { name: signIn_ }).waitFor();
			same(await page.evaluate(() => document.documentElement.lang), code, "the page's language");
			await page.locator("input[name=username]").fill("alice");
			await page.locator("input[name=password]").fill("wonderland");
			await page.keyboard.press("Enter");
			await page.locator(".readiness .good").nth(2).waitFor();
			await look(b, `panel-home-${code}`);
			await page.getByRole("button", { name: help }).click();
			await page.getByRole("button", { name: end }).waitFor();
			await page.locator(".state.good").waitFor();
			await look(b, `panel-emergency-${code}`);
		}
	},
};

async function heardThere(gateway) {
	await until("the far end hears the microphone", async () => { const f = await gateway.hears(); return f > 100; });
}

const ARGS = ["--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required"];
const browser = new Browser({ args: ARGS, files: "panel" });
if (process.argv[3] === "all") {
	await browser.start();
	const wanted = process.argv.slice(4);
	for (const [name, step] of Object.entries(steps)) {
		if (wanted.length > 0 && !wanted.includes(name)) continue;
		const began = Date.now();
		try {
			await step(browser);
			same(browser.complaints, [], "complaints of the page");
			console.log(`done ${name} ${Date.now() - began} ms`);
		} catch (error) {
			await browser.page?.screenshot({ path: `${process.env.E911D_SHOTS ?? "."}/failed-${name}.png`, fullPage: true }).catch(() => {});
			console.log(`failed ${name}: ${error.stack ?? error}`);
			browser.complaints = [];
		}
	}
	await browser.program.close();
} else await obey(browser, steps);
