// Passkeys: making one for signing answers, and signing an answer with it. `helmPasskey.sign` is what a card calls.
// Nothing is kept here; what is signed is checked by the server, and later by anybody who has the log.
"use strict";

const helmPasskey = (() => {
  const there = () => Boolean(window.PublicKeyCredential && navigator.credentials?.create && window.isSecureContext);
  const encoder = new TextEncoder();
  const text64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
  const url64 = (bytes) => text64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const bytes64 = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

  async function ask(path, body) {
    const answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: { ...csrf(), "hx-request": "true", ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error?.message || `the server answered with ${answer.status}`);
    return found;
  }

  function mustBeThere() {
    if (!there()) throw new Error("This page cannot use passkeys: open Helm under https or as localhost, not by an address of numbers.");
  }

  // The proof as the log keeps it: canonical JSON (its names in order, nothing but ASCII in its values).
  async function assertion(statement, ids) {
    const challenge = await crypto.subtle.digest("SHA-256", encoder.encode(statement));
    const found = await navigator.credentials.get({ publicKey: {
      challenge, timeout: 120000, userVerification: "required",
      allowCredentials: ids.map((id) => ({ type: "public-key", id: bytes64(id) })),
    } });
    return JSON.stringify({
      authenticator_data: text64(found.response.authenticatorData),
      client_data: text64(found.response.clientDataJSON),
      credential: text64(found.rawId),
      signature: text64(found.response.signature),
    });
  }

  async function sign(statement) {
    mustBeThere();
    const { credentials } = await ask("/settings/approver-keys/passkeys");
    if (!credentials.length) throw new Error("You have no passkey for signing yet; add one under Settings, Approver keys.");
    return { type: "webauthn", data: await assertion(statement, credentials) };
  }

  async function enroll(name) {
    mustBeThere();
    const { challenge, options } = await ask("/settings/approver-keys/passkey", {});
    const made = await navigator.credentials.create({ publicKey: {
      ...options,
      challenge: bytes64(options.challenge),
      user: { ...options.user, id: bytes64(options.user.id) },
      excludeCredentials: (options.excludeCredentials || []).map((one) => ({ ...one, id: bytes64(one.id) })),
    } });
    const response = JSON.stringify({
      id: made.id, rawId: url64(made.rawId), type: made.type,
      response: { clientDataJSON: url64(made.response.clientDataJSON), attestationObject: url64(made.response.attestationObject) },
    });
    const { statement } = await ask("/settings/approver-keys/passkey/made", { challenge, response });
    // Making a passkey proves nothing about who holds it: it has to sign.
    return ask("/settings/approver-keys/passkey/signed", { challenge, name, proof: await assertion(statement, [made.id]) });
  }

  return { there, sign, enroll };
})();
window.helmPasskey = helmPasskey;

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-passkey-form]");
  if (!form) return;
  event.preventDefault();
  const button = one("button", form);
  const words = one("[data-passkey-words]", form);
  button.disabled = true;
  words.textContent = "Your browser asks you twice: once to make the passkey, once to sign with it.";
  try {
    await helmPasskey.enroll(form.elements.name.value);
    location.reload();
  } catch (error) {
    words.textContent = error.name === "NotAllowedError" ? "It was cancelled, or took too long. Try again." : error.message;
    button.disabled = false;
  }
});
