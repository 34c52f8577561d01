// What an agent does at /panel of a real gateway. The trunks and the PSAP are the test's.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser, check, obey, same, url } from "./browser.mjs";
import { ears, until, untilHears } from "./ears.mjs";
import { farEnd } from "./stand-in.mjs";

const EVERYTHING = { permissions: ["microphone", "geolocation"], geolocation: { latitude: 47.674, longitude: -122.1215, accuracy: 12 } };
const page = new URL("/panel", url).href;

const says = (b, role, text, timeout = 15_000) => b.page.getByRole(role).getByText(text).first().waitFor({ timeout });
const click = (b, name) => b.page.getByRole("button", { name, exact: true }).first().click();

const steps = {
	/** Somebody opens the page and signs in. */
	async "sign-in"(b, { permissions = EVERYTHING.permissions }) {
		await b.page.context().close();
		b.page = await b.open((p) => p.addInitScript(ears), { ...EVERYTHING, permissions });
		b.page.on("dialog", (dialog) => void dialog.accept().catch(() => {}));
		if (process.env.E911D_TRACE) {
			b.page.on("console", (m) => console.log("console", m.text()));
			b.page.on("websocket", (ws) => { console.log("ws", ws.url()); ws.on("framesent", (f) => console.log(">>", f.payload)); ws.on("framereceived", (f) => console.log("<<", f.payload)); ws.on("socketerror", (e) => console.log("ws error", e)); ws.on("close", () => console.log("ws closed")); });
		}
		await b.page.goto(page);
		await b.page.getByLabel("Agent ID").fill("alice");
		await b.page.getByLabel("Password").fill("wonderland");
		await click(b, "Sign in");
		await b.page.getByText("Phone is connected").waitFor();
	},

	async "sign-in-fails"(b) {
		await b.page.goto(page);
		await b.page.getByLabel("Agent ID").fill("alice");
		await b.page.getByLabel("Password").fill("looking-glass");
		await click(b, "Sign in");
		await says(b, "alert", "is not right");
	},

	async "call-911"(b) {
		await click(b, "Call 911");
		await says(b, "alert", "Stay on the line");
	},

	async ringing(b) {
		await says(b, "status", "Ringing…");
	},

	/** The call is up; how long it took is told, not judged. */
	async connected(b) {
		await says(b, "status", "Connected");
		const took = await b.page.evaluate(() => performance.getEntriesByName("e911d.dial-to-answer").at(-1)?.duration);
		if (took !== undefined) console.log(`dial to answer ${Math.round(took)} ms`);
	},

	async hears(b, { hertz }) {
		await untilHears(b.page, hertz);
	},

	async silence(b) {
		await until("the page hears nothing", async () => (await b.page.evaluate(() => globalThis.hears())) === 0);
	},

	async "end-call"(b) {
		await click(b, "End call");
		await b.page.getByText("Phone is connected").waitFor();
	},

	async "not-placed"(b) {
		await says(b, "alert", "Use a mobile phone now", 40_000);
	},

	async back(b) {
		await click(b, "Back to the phone");
		await b.page.getByText("Phone is connected").waitFor();
	},

	async dropped(b) {
		await says(b, "alert", "The call was cut off");
	},

	async redial(b) {
		await click(b, "Call 911 again");
		await says(b, "alert", "Stay on the line");
	},

	async safe(b) {
		await click(b, "I need no more help");
		await b.page.getByText("Phone is connected").waitFor();
	},

	async "called-back"(b) {
		await b.page.getByRole("alertdialog", { name: "Emergency services are calling you back" }).waitFor();
	},

	async answer(b) {
		await click(b, "Answer");
	},

	async missed(b) {
		await says(b, "alert", "Emergency services called you");
	},

	async "dial"(b, { number }) {
		await b.page.getByLabel("Number", { exact: true }).fill(number);
		await b.page.keyboard.press("Enter");
	},

	async press(b, { keys }) {
		await click(b, "Keypad");
		for (const key of keys) await b.page.locator(".tones").getByRole("button", { name: key, exact: true }).click();
	},

	async "hang-up"(b) {
		await click(b, "Hang up");
	},

	async hold(b) {
		await click(b, "Hold");
	},

	async reload(b) {
		await b.page.reload();
		await says(b, "alert", "Stay on the line");
	},

	async "listen-only"(b) {
		await says(b, "alert", "They cannot hear you");
	},

	async "other-network"(b) {
		await b.page.evaluate(() => dispatchEvent(new Event("online")));
	},

	/** The far end, where the gateway passes a browser's media by: another browser. */
	async "far-answer"(b, { id, sdp }) {
		tell(await (await far(b)).evaluate(([id, sdp]) => globalThis.answer(id, sdp), [id, sdp]));
	},

	async "far-offer"(b, { id }) {
		tell(await (await far(b)).evaluate((id) => globalThis.offer(id), id));
	},

	async "far-accept"(b, { id, sdp }) {
		await (await far(b)).evaluate(([id, sdp]) => globalThis.accept(id, sdp), [id, sdp]);
	},

	async "far-hears"(b, { hertz }) {
		const page = await far(b);
		await until(`the far end hears ${hertz} Hz`, async () => Math.abs((await page.evaluate(() => globalThis.loudest())) - hertz) < 40);
	},

	async "one-call"(b) {
		same(await b.page.getByRole("button", { name: "End call" }).count(), 1, "one call");
		check(await b.page.getByRole("alertdialog").count() === 0, "nothing rings");
	},
};

/** Gives the test a text. */
function tell(text) {
	console.log(`said ${JSON.stringify(text)}`);
}

/** A page with nothing but a far end in it. */
async function far(b) {
	if (b.far === undefined) {
		b.far = await b.open();
		await b.far.goto(new URL("/panel/icon.svg", url).href);
		await b.far.evaluate(farEnd);
	}
	return b.far;
}

/** A file with a tone of 440 Hz, for the microphone. */
function tone() {
	const [rate, seconds] = [48_000, 2];
	const file = Buffer.alloc(44 + rate * seconds * 2);
	file.write("RIFF", 0);
	file.writeUInt32LE(file.length - 8, 4);
	file.write("WAVEfmt ", 8);
	for (const [value, size, at] of [[16, 4, 16], [1, 2, 20], [1, 2, 22], [rate, 4, 24], [rate * 2, 4, 28], [2, 2, 32], [16, 2, 34]]) file.writeUIntLE(value, at, size);
	file.write("data", 36);
	file.writeUInt32LE(rate * seconds * 2, 40);
	for (let n = 0; n < rate * seconds; n += 1) file.writeInt16LE(Math.round(12_000 * Math.sin((2 * Math.PI * 440 * n) / rate)), 44 + 2 * n);
	const path = join(mkdtempSync(join(tmpdir(), "e911d-")), "tone.wav");
	writeFileSync(path, file);
	return path;
}

const args = ["--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required"];
await obey(new Browser({ args: [...args, `--use-file-for-fake-audio-capture=${tone()}`], files: "panel" }), steps);
