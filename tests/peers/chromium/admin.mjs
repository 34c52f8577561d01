// What somebody does at /admin. The gateway's other neighbours are the test's.
import { Browser, api, check, obey, same, url } from "./browser.mjs";

const OPERATOR = "operator-0123456789abcdef";
const VIEWER = "viewer-0123456789abcdef";
const AGENT = "agent-0123456789abcdef";
const GOOD = "Subject: Help for {{ agent_name }}\n\n{{ agent_name }} dialed {{ dialed }}: go to {{ location }} now & <b>run</b>. {{ callback_number }} rings there.\n";
const THEIRS = GOOD.replace("Help for", "Theirs:");
const DAY = 24 * 3_600_000;

const page = new URL("/admin", url).href;
const rows = (p, label) => p.getByRole("table", { name: label }).locator("tbody tr");
const field = (p, label) => p.locator("form").getByLabel(label, { exact: true });
const goTo = (p, name) => p.getByRole("navigation").getByRole("link", { name }).click();

async function signIn(p, token) {
	await p.getByLabel("Token").fill(token);
	await p.getByRole("button", { name: "Sign in" }).click();
}

async function isIn(p) {
	await p.getByRole("navigation", { name: "Pages" }).waitFor();
}

/** A page of somebody's, just signed in. */
async function another(b, token, prepare) {
	const p = await b.open(prepare);
	await p.goto(page);
	await signIn(p, token);
	await isIn(p);
	return p;
}

const steps = {
	async "sign-in"(b) {
		const p = b.page;
		await p.goto(page);
		await p.getByRole("heading", { name: "Sign in" }).waitFor();
		await b.look("signin");
		await signIn(p, "nobody-knows-this-token");
		await p.getByRole("alert").getByText("The gateway does not know this token.").waitFor();
		check(await p.getByLabel("Token").evaluate((e) => e === document.activeElement), "who mistyped can type again");
		await b.look("signin-wrong");
		await signIn(p, AGENT);
		await p.getByText("This token is an agent's.").waitFor();
		check(await p.evaluate(() => sessionStorage.getItem("e911d.token")) === null, "a token that is good for nothing is not kept");
		await signIn(p, OPERATOR);
		await isIn(p);
		await p.getByText("Live", { exact: true }).last().waitFor();
		check(await p.evaluate(() => { try { document.body.innerHTML = "<b>no</b>"; return false; } catch { return true; } }), "text does not become HTML");
		b.complaints = b.complaints.filter((c) => !/TrustedHTML/.test(c));
		await p.reload();
		await isIn(p);
		same(await p.evaluate(() => [localStorage.length, document.cookie]), [0, ""], "nothing is kept beyond the tab");
	},

	async "nothing-up"(b) {
		await b.page.getByText("No call is up.").waitFor();
		await b.page.getByText("No alarm is raised.").waitFor();
		await b.look("live-empty");
	},

	/** An emergency call and an ordinary one are up; `secrets` belong to the first. */
	async "calls-up"(b, { secrets, ordinary }) {
		const p = b.page;
		const calls = rows(p, "Calls that are up");
		await calls.filter({ hasText: "Emergency" }).filter({ hasText: "talking" }).waitFor();
		await calls.filter({ hasText: ordinary }).waitFor();
		same(await calls.count(), 2, "calls");
		const text = await p.locator("body").innerText();
		for (const secret of secrets) check(!text.includes(secret), `${secret} is shown`);
		await b.look("live-calls");
		const seen = await another(b, VIEWER);
		await seen.getByText("A viewer sees how many calls are up").waitFor();
		await seen.locator(".tiles > div", { hasText: "Emergency calls" }).getByText("1", { exact: true }).waitFor();
		await b.look("live-viewer", seen);
		await goTo(seen, "Agents");
		await seen.getByRole("button", { name: "Export" }).waitFor();
		same(await seen.getByRole("button", { name: "Add agent" }).count(), 0, "buttons that a viewer may not press");
		await seen.context().close();
	},

	async "callback-up"(b, { secrets }) {
		const p = b.page;
		await rows(p, "Calls that are up").filter({ hasText: "Callback" }).filter({ hasText: "talking" }).waitFor();
		const text = await p.locator("body").innerText();
		for (const secret of secrets) check(!text.includes(secret), `${secret} is shown`);
		await b.look("live-callback");
	},

	async "alarm-raised"(b) {
		await b.page.locator(".alarms").getByText("The config file has mistakes").waitFor({ timeout: 5_000 });
		await b.look("live-alarm");
	},

	async "alarm-cleared"(b) {
		await b.page.getByText("No alarm is raised.").waitFor({ timeout: 5_000 });
	},

	/** By keyboard alone: the skip link, the pages, a search, a form with a mistake, and out of it again. */
	async keyboard(b) {
		const p = b.page;
		await p.reload();
		await isIn(p);
		await p.keyboard.press("Tab");
		same(await focused(p), "Skip to the content", "what Tab reaches first");
		await p.keyboard.press("Enter");
		same(await p.evaluate(() => document.activeElement?.id), "main", "where it leads");
		await p.keyboard.press("Shift+Tab");
		await p.keyboard.press("Shift+Tab");
		await reach(p, "Agents", "Shift+Tab");
		await p.keyboard.press("Enter");
		await p.waitForFunction(() => document.activeElement?.tagName === "H1" && document.activeElement.textContent === "Agents");
		await p.keyboard.press("Tab");
		await p.keyboard.type("lovel");
		await p.getByText("1 of 3 agents").waitFor();
		await p.keyboard.press("Control+a");
		await p.keyboard.press("Delete");
		await reach(p, "Add agent", "Tab");
		await p.keyboard.press("Enter");
		await p.getByRole("heading", { name: "New agent" }).waitFor();
		await p.keyboard.press("Tab");
		await p.keyboard.type("grace");
		await p.keyboard.press("Enter");
		await p.getByRole("heading", { name: "New agent" }).waitFor({ state: "hidden" });
		await rows(p, "Agents").filter({ hasText: "grace" }).waitFor();
		await p.getByRole("button", { name: "grace" }).focus();
		await p.keyboard.press("Enter");
		await reach(p, "Remove agent", "Tab");
		await p.keyboard.press("Enter");
		same(await focused(p), "Cancel", "what is asked before");
		await p.keyboard.press("Escape");
		await reach(p, "Remove agent", "Tab");
		await p.keyboard.press("Enter");
		await p.keyboard.press("Shift+Tab");
		await p.keyboard.press("Enter");
		await rows(p, "Agents").filter({ hasText: "grace" }).waitFor({ state: "detached" });
	},

	async agents(b) {
		const p = b.page;
		await goTo(p, "Agents");
		await rows(p, "Agents").first().waitFor();
		await b.look("agents");
		await p.getByLabel("Search").fill("hr@example");
		await p.getByText("1 of 3 agents").waitFor();
		await p.getByLabel("Search").fill("nobody at all");
		await p.getByText("No agent is like that.").waitFor();
		await b.look("agents-none");
		await p.getByLabel("Search").fill("");
		await p.getByRole("button", { name: "alice" }).click();
		await p.getByText("This agent is in the config file.").waitFor();
		check(await field(p, "Contacts").isDisabled(), "what is in the file can only be looked at");
		await p.getByRole("button", { name: "Back to the list" }).click();
		await p.getByRole("button", { name: "Ada Lovelace" }).click();
		await field(p, "Contacts").fill("lead@example.com; not an address");
		await field(p, "Country").fill("Nowhere");
		await p.getByRole("button", { name: "Save" }).click();
		await p.locator("[aria-invalid=true]").first().waitFor();
		await b.look("agent-wrong");
		await field(p, "Country").fill("US");
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByText("is no mail address, and nobody is told there: not an address").waitFor();
		await field(p, "Contacts").fill("lead@example.com; new@example.com");
		await field(p, "Street").fill("Main St");
		await field(p, "Room").fill("210");
		await b.look("agent");
		await p.getByRole("button", { name: "Save" }).click();
		await rows(p, "Agents").filter({ hasText: "new@example.com" }).waitFor();
		const ada = await api(OPERATOR, "GET", "agents/ada");
		same([ada.contacts, ada.country, ada.location.street, ada.location.room], ["lead@example.com; new@example.com", "US", "Main St", "210"], "what was saved");
	},

	/** Two operators at once: the second is told, loses nothing, and decides. */
	async conflict(b) {
		const p = b.page;
		await p.getByRole("button", { name: "Ada Lovelace" }).click();
		await field(p, "Contacts").fill("mine@example.com");
		await api(OPERATOR, "PATCH", "agents/ada", { contacts: "theirs@example.com", site: "tacoma" });
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByText("Somebody else has changed this agent meanwhile.").waitFor();
		await p.getByText("theirs@example.com").waitFor();
		same(await field(p, "Contacts").inputValue(), "mine@example.com", "what I typed");
		same(await field(p, "Site").inputValue(), "tacoma", "what I had not touched");
		same((await api(OPERATOR, "GET", "agents/ada")).contacts, "theirs@example.com", "nothing was saved yet");
		await b.look("agent-conflict");
		await p.getByRole("button", { name: "Save" }).click();
		await rows(p, "Agents").filter({ hasText: "mine@example.com" }).waitFor();
		const ada = await api(OPERATOR, "GET", "agents/ada");
		same([ada.contacts, ada.site], ["mine@example.com", "tacoma"], "both changes");
		await p.getByRole("button", { name: "Ada Lovelace" }).click();
		await field(p, "Contacts").fill("mine2@example.com");
		await api(OPERATOR, "PATCH", "agents/ada", { contacts: "theirs2@example.com" });
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByRole("button", { name: "Use theirs" }).click();
		same(await field(p, "Contacts").inputValue(), "theirs2@example.com", "theirs");
		await p.getByRole("button", { name: "Cancel" }).click();
		await rows(p, "Agents").first().waitFor();
	},

	async import(b) {
		const p = b.page;
		await p.getByRole("button", { name: "Import" }).click();
		await b.look("import");
		const text = p.getByLabel("Or its rows");
		await text.fill("id,name,number,contacts\ncy,Cy,+12065550003,cy@example.com\ndee,Dee,seven,dee@example.com\neve,Eve,+12065550004,eve@example.com\nfay,Fay,,not an address\n");
		await p.getByRole("button", { name: "Import", exact: true }).click();
		const wrong = rows(p, "Wrong rows");
		await wrong.first().waitFor();
		check((await wrong.allInnerTexts()).some((t) => /^3\s/.test(t) || t.includes("dee,Dee,seven")), `the wrong row is named: ${await wrong.allInnerTexts()}`);
		await b.look("import-wrong");
		check(!(await api(OPERATOR, "GET", "agents")).items.some((a) => a.id === "cy"), "all or nothing");
		await text.fill("id,name,number,contacts\ncy,Cy,+12065550003,cy@example.com\ndee,<i>Dee</i>,,dee@example.com\n");
		await p.getByRole("button", { name: "Import", exact: true }).click();
		await p.getByText("2 agents are imported.").waitFor();
		await p.getByRole("button", { name: "Back to the list" }).click();
		await rows(p, "Agents").filter({ hasText: "dee@example.com" }).filter({ hasText: "<i>Dee</i>" }).waitFor();
		const download = p.waitForEvent("download");
		await p.getByRole("button", { name: "Export" }).click();
		check(/^agents-\d{4}-\d\d-\d\d\.json$/.test((await download).suggestedFilename()), "the file's name");
	},

	async templates(b) {
		const p = b.page;
		await goTo(p, "Templates");
		const text = p.getByLabel("Text: a Subject line");
		const preview = p.getByRole("region", { name: "Preview" });
		await preview.locator(".subject").waitFor();
		await b.look("templates");
		await text.fill(GOOD);
		await preview.getByText("Help for").waitFor();
		await preview.getByText("<b>run</b>").waitFor();
		await p.getByText("not saved").waitFor();
		await text.fill(GOOD.replace("location", "locatoin"));
		await p.locator(".mistakes").getByRole("button", { name: /^Line \d+, column \d+$/ }).first().waitFor();
		same(await text.getAttribute("aria-invalid"), "true", "readers of the screen are told");
		await b.look("templates-lint");
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByText("Not saved: the text has mistakes").waitFor();
		await text.fill(GOOD);
		await p.locator(".mistakes button").first().waitFor({ state: "detached" });
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByText("Saved. The next mail reads like this.").waitFor();
		same((await api(OPERATOR, "GET", "templates/emergency?language=en")).edited, true, "edited");
		await text.fill("Subject: Mine\n\nMine.\n");
		await api(OPERATOR, "PUT", "templates/emergency?language=en", { text: THEIRS });
		await p.getByRole("button", { name: "Save" }).click();
		await p.getByText("Somebody else has changed this template meanwhile.").waitFor();
		same(await text.inputValue(), "Subject: Mine\n\nMine.\n", "what I typed");
		await b.look("templates-conflict");
		await p.getByRole("button", { name: "Take theirs" }).click();
		same(await text.inputValue(), THEIRS, "theirs");
		await p.getByRole("button", { name: "Back to the shipped text" }).click();
		await p.getByRole("dialog").waitFor();
		await b.look("templates-ask");
		await p.getByRole("dialog").getByRole("button", { name: "Back to the shipped text" }).click();
		await p.getByText("as shipped").waitFor();
		await p.getByLabel("Language").selectOption("fr");
		await preview.getByText("Appel").first().waitFor();
	},

	async readiness(b) {
		const p = b.page;
		await goTo(p, "Readiness");
		await p.getByText("things to do").waitFor();
		const ada = p.getByRole("article", { name: "ada" });
		await ada.getByText("set agent.mailbox").waitFor();
		await b.look("readiness");
		await api(OPERATOR, "PATCH", "agents/ada", { mailbox: "ada@example.com", peer: "pbx" });
		await ada.getByRole("button", { name: "Look again" }).click();
		await ada.getByText("set agent.mailbox").waitFor({ state: "detached" });
		await p.getByLabel("Only what is missing").uncheck();
		await ada.getByText("is set").waitFor();
		await p.getByLabel("Only what is missing").check();
		await ada.getByRole("button", { name: "Open agent" }).click();
		await p.getByRole("heading", { name: "Ada Lovelace" }).waitFor();
		await p.getByRole("button", { name: "Back to the list" }).click();
		check(!/ada/i.test(p.url()), "nobody's name is in the browser's history");
	},

	/** The trunk is the test's. */
	async "test-call"(b) {
		const p = b.page;
		await goTo(p, "Readiness");
		const ada = p.getByRole("article", { name: "ada" });
		await ada.getByRole("button", { name: "Test call" }).click();
		await ada.getByText("The test call went all the way.").waitFor({ timeout: 60_000 });
		await ada.getByText("answered").waitFor();
		await p.getByRole("button", { name: "Look again" }).first().click();
		await p.waitForTimeout(500);
		check(await ada.getByText("The test call went all the way.").isVisible(), "what came of it stays");
		await b.look("readiness-test-call");
	},

	/** Ordinary calls alone, whatever else there was. */
	async records(b, { secrets, ordinary }) {
		const p = b.page;
		await goTo(p, "Records");
		await rows(p, "Ordinary calls").filter({ hasText: ordinary }).waitFor();
		same(await rows(p, "Ordinary calls").count(), 1, "records");
		const text = await rows(p, "Ordinary calls").allInnerTexts();
		for (const secret of [...secrets, "911", "933"]) check(!text.join(" ").includes(secret), `${secret} is shown`);
		await b.look("records");
		await p.getByLabel("Since").fill("2099-01-01");
		await p.getByText("No ordinary call has ended since then.").waitFor();
		await b.look("records-empty");
	},

	/** A page that is left open for a day signs out and loses no text. */
	async "a-day"(b) {
		const p = await another(b, OPERATOR, (p) => p.clock.install());
		await goTo(p, "Templates");
		const text = p.getByLabel("Text: a Subject line");
		await p.getByRole("region", { name: "Preview" }).locator(".subject").waitFor();
		await text.fill("Subject: Not saved\n\nNot saved.\n");
		await goTo(p, "Agents");
		await p.getByRole("button", { name: "Ada Lovelace" }).click();
		await field(p, "Contacts").fill("typed@example.com");
		await p.clock.fastForward(DAY + 60_000);
		await p.getByText("What you had not saved is still here.").waitFor();
		await b.look("signed-out", p);
		const shown = await p.locator("body").innerText();
		check(!shown.includes("Lovelace") && !shown.includes("typed@example.com"), "who is signed out sees nothing");
		same(await p.evaluate(() => sessionStorage.length), 0, "what is kept of the session");
		same(await p.locator("input[name=name]").count(), 1, "the form waits, unseen");
		await signIn(p, OPERATOR);
		await isIn(p);
		same(await field(p, "Contacts").inputValue(), "typed@example.com", "what I typed");
		await goTo(p, "Templates");
		same(await text.inputValue(), "Subject: Not saved\n\nNot saved.\n", "what I typed");
		await p.clock.fastForward(DAY / 2 + 60_000);
		await p.getByText("nothing was typed or clicked here for 12 hours").waitFor();
		await p.context().close();
	},

	/** What the page says of its line from now on. */
	async "watch-the-line"(b) {
		await goTo(b.page, "Live");
		await b.page.locator(".line").getByText("Live").waitFor();
		await b.page.evaluate(() => {
			globalThis.lines = [];
			new MutationObserver(() => globalThis.lines.push(document.querySelector(".line").textContent)).observe(document.querySelector(".line"), { childList: true });
		});
	},

	/** The gateway has died and come back meanwhile. */
	async "line-lost"(b) {
		const p = b.page;
		await p.waitForFunction(() => globalThis.lines.includes("Reconnecting") && globalThis.lines.at(-1) === "Live");
		await p.getByText("cannot be reached").waitFor({ state: "detached" });
		await goTo(p, "Agents");
		await rows(p, "Agents").filter({ hasText: "Ada Lovelace" }).waitFor();
		b.complaints = b.complaints.filter((c) => !/ERR_|net::/.test(c));
	},

	/** The gateway forgets the token of this page. */
	async "token-gone"(b) {
		await goTo(b.page, "Live");
		await b.page.getByText("The gateway does not know this token any more.").waitFor();
		await b.look("token-gone");
	},
};

const focused = (p) => p.evaluate(() => document.activeElement?.textContent ?? "");

/** Presses a key until that is focused. */
async function reach(p, name, key) {
	for (let n = 0; n < 60; n += 1) {
		if ((await focused(p)) === name) return;
		await p.keyboard.press(key);
	}
	throw new Error(`${name} is not reached by ${key}`);
}

await obey(new Browser(), steps);
