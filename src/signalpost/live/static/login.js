/* The login form: a link's token is in its fragment, so in no log. */
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const message = document.getElementById("message");

async function logIn() {
	const headers = { Accept: "application/json" };
	const body = new URLSearchParams({ token });
	const answer = await fetch("login", { method: "POST", body, headers });
	if (answer.ok) location.replace("./");
	else message.textContent = (await answer.json()).error;
}

if (token !== null) {
	history.replaceState(null, "", location.pathname);
	logIn().catch(() => { message.textContent = "The server does not answer."; });
}

// The address of the page may have the list to open.
document.forms[0].action += location.hash;
