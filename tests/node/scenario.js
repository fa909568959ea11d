// A device written with npm's mqtt, and a page of a browser: all of MQTT that an ordinary user meets.
//
// The token comes in DEVICE_TOKEN, as a device would get it from its environment.
// Arguments: the URL (mqtt: or ws:), the protocol version (4 or 5), the device.

import { assert, connect, end, lose, publish, subscribe, within } from "./client.js";

const [url, version, device] = process.argv.slice(2);
const isV5 = version === "5";
const login = {
  protocolVersion: Number(version),
  username: device,
  password: process.env.DEVICE_TOKEN,
};
const topic = (name) => `dev/${device}/${name}`;

/** Options of a client whose session outlives its connection. */
function persistent(clientId) {
  const properties = isV5 ? { sessionExpiryInterval: 600 } : undefined;
  return { ...login, clientId, clean: false, properties };
}

async function eachQosArrivesInOrder() {
  const sender = await connect(url, { ...login, clientId: "qos-sender" });
  for (const qos of [0, 1, 2]) {
    const receiver = await connect(url, { ...login, clientId: `qos-receiver-${qos}` });
    assert.equal(await subscribe(receiver, topic("qos/#"), { qos }), qos);
    await Promise.all(
      Array.from({ length: 50 }, (_, n) => publish(sender, topic(`qos/${qos}`), String(n), { qos })),
    );
    for (let n = 0; n < 50; n++) {
      const message = await receiver.inbox.next(`message ${n} at QoS ${qos}`);
      assert.deepEqual([message.payload, message.qos], [String(n), qos]);
    }
    await end(receiver);
  }
  await end(sender);
}

async function retainedMessagesAreKeptAndCleared() {
  const client = await connect(url, { ...login, clientId: "retained" });
  await publish(client, topic("kept"), "on", { qos: 1, retain: true });
  const later = await connect(url, { ...login, clientId: "retained-later" });
  await subscribe(later, topic("kept"), { qos: 1 });
  const kept = await later.inbox.next("the retained message");
  assert.deepEqual([kept.payload, kept.retain], ["on", true]);
  await publish(client, topic("kept"), "", { qos: 1, retain: true });
  assert.equal((await later.inbox.next("the empty message")).payload, "");
  await subscribe(later, topic("kept"), { qos: 1 });
  await publish(client, topic("kept"), "now", { qos: 1 });
  const now = await later.inbox.next("the message of now");
  assert.deepEqual([now.payload, now.retain], ["now", false]);
  await Promise.all([end(client), end(later)]);
}

async function aWillIsSentWhenTheConnectionIsLostAndOnlyThen() {
  const listener = await connect(url, { ...login, clientId: "will-listener" });
  await subscribe(listener, topic("will"), { qos: 1 });
  const will = (payload) => ({ will: { topic: topic("will"), payload, qos: 1, retain: false } });
  const polite = await connect(url, { ...login, clientId: "polite", ...will("polite is gone") });
  await end(polite);
  const lost = await connect(url, { ...login, clientId: "lost", ...will("lost is gone") });
  await lose(lost);
  assert.equal((await listener.inbox.next("the will")).payload, "lost is gone");
  await end(listener);
}

async function aSessionKeepsWhatCameWhileItsClientWasAway() {
  const sender = await connect(url, { ...login, clientId: "away-sender" });
  let away = await connect(url, persistent("away"));
  assert.equal(away.connack.sessionPresent, false);
  await subscribe(away, topic("away/#"), { qos: 2 });
  await lose(away);
  for (let n = 0; n < 20; n++) {
    await publish(sender, topic("away/x"), String(n), { qos: 2 });
  }
  away = await connect(url, persistent("away"));
  assert.equal(away.connack.sessionPresent, true);
  for (let n = 0; n < 20; n++) {
    const message = await away.inbox.next(`queued message ${n}`);
    assert.deepEqual([message.payload, message.qos], [String(n), 2]);
  }
  await end(away);
  // Whoever begins anew has nothing of it.
  const anew = await connect(url, { ...login, clientId: "away", clean: true });
  assert.equal(anew.connack.sessionPresent, false);
  await Promise.all([end(anew), end(sender)]);
}

async function theLibraryReconnectsByItselfAndGoesOn() {
  const client = await connect(url, { ...persistent("again"), reconnectPeriod: 50, resubscribe: false });
  await subscribe(client, topic("again"), { qos: 2 });
  for (let turn = 0; turn < 3; turn++) {
    const back = new Promise((resolve) => client.once("connect", resolve));
    client.stream.destroy();
    // Given to the library while there is no connection.
    await publish(client, topic("again"), String(turn), { qos: 2 });
    assert.equal((await back).sessionPresent, true);
    assert.equal((await client.inbox.next(`message ${turn}`)).payload, String(turn));
  }
  await end(client);
}

async function propertiesOfMqtt5Arrive() {
  const server = await connect(url, { ...login, clientId: "" });
  assert.equal(server.connack.properties.assignedClientIdentifier, device);
  const client = await connect(url, {
    ...login,
    clientId: "requester",
    properties: { topicAliasMaximum: 10, receiveMaximum: 5 },
  });
  await subscribe(server, topic("request"), { qos: 1, properties: { subscriptionIdentifier: 7 } });
  await subscribe(client, topic("response"), { qos: 1 });
  await publish(client, topic("request"), "what?", {
    qos: 1,
    properties: {
      responseTopic: topic("response"),
      correlationData: Buffer.from([1, 2, 3]),
      contentType: "text/plain",
      messageExpiryInterval: 60,
      payloadFormatIndicator: true,
      userProperties: { trace: ["a", "b"] },
    },
  });
  const { properties } = await server.inbox.next("the request");
  assert.equal(properties.subscriptionIdentifier, 7);
  assert.equal(properties.contentType, "text/plain");
  assert.equal(properties.payloadFormatIndicator, true);
  assert.ok(properties.messageExpiryInterval <= 60 && properties.messageExpiryInterval > 30);
  assert.deepEqual(properties.userProperties.trace, ["a", "b"]);
  await publish(server, properties.responseTopic, "that", {
    qos: 1,
    properties: { correlationData: properties.correlationData },
  });
  const response = await client.inbox.next("the response");
  assert.equal(response.payload, "that");
  assert.deepEqual([...response.properties.correlationData], [1, 2, 3]);

  // No Local, Retain As Published and Retain Handling.
  await subscribe(client, topic("own"), { qos: 1, nl: true });
  await publish(client, topic("own"), "mine", { qos: 1 });
  await publish(server, topic("own"), "theirs", { qos: 1, retain: true });
  assert.equal((await client.inbox.next("the other's message")).payload, "theirs");
  await subscribe(server, topic("own"), { qos: 1, rap: true, rh: 2 });
  await publish(client, topic("own"), "again", { qos: 1, retain: true });
  const published = await server.inbox.next("the message as published");
  assert.deepEqual([published.payload, published.retain], ["again", true]);
  await publish(client, topic("own"), "", { qos: 1, retain: true });
  await Promise.all([end(client), end(server)]);
}

async function membersOfAGroupShareMessages() {
  const members = await Promise.all(["a", "b"].map((id) => connect(url, { ...login, clientId: `member-${id}` })));
  const seen = [];
  const all = new Promise((resolve) => {
    for (const member of members) {
      member.on("message", (_, payload) => {
        seen.push([member, payload.toString()]);
        if (seen.length === 20) resolve();
      });
    }
  });
  for (const member of members) {
    await subscribe(member, `$share/group/${topic("shared/#")}`, { qos: 1 });
  }
  const sender = await connect(url, { ...login, clientId: "share-sender" });
  for (let n = 0; n < 20; n++) await publish(sender, topic("shared/x"), String(n), { qos: 1 });
  await within(all, "all shared messages");
  assert.deepEqual(seen.map(([, payload]) => Number(payload)).sort((a, b) => a - b), [...Array(20).keys()]);
  for (const member of members) assert.ok(seen.some(([by]) => by === member), "each has its part");
  await Promise.all([...members, sender].map(end));
}

/** What a browser sends beside, in the handshake of WebSocket. */
async function aPageConnectsFromItsOwnHostAndAStrangersDoesNot() {
  const page = (origin) => connect(url, { ...login, clientId: "page", wsOptions: { headers: { Origin: origin } } });
  const own = await page(new URL(url.replace(/^ws/, "http")).origin);
  await publish(own, topic("page"), "hello", { qos: 1 });
  await end(own);
  await assert.rejects(page("https://evil.example"), /403|closed/);
}

const scenarios = [
  eachQosArrivesInOrder,
  retainedMessagesAreKeptAndCleared,
  aWillIsSentWhenTheConnectionIsLostAndOnlyThen,
  aSessionKeepsWhatCameWhileItsClientWasAway,
  theLibraryReconnectsByItselfAndGoesOn,
  membersOfAGroupShareMessages,
  ...(isV5 ? [propertiesOfMqtt5Arrive] : []),
  ...(url.startsWith("ws:") ? [aPageConnectsFromItsOwnHostAndAStrangersDoesNot] : []),
];
for (const scenario of scenarios) {
  await scenario();
  console.log(`ok: ${scenario.name}`);
}
process.exit(0);
