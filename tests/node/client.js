// What the scenarios share: a client by promises, and messages in the order in which they came.

import assert from "node:assert/strict";
import mqtt from "mqtt";

const TIMEOUT_MS = 30_000;

/** A promise that fails after a while, and says what it waited for. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Messages of a client, one after the other. */
class Inbox {
  #messages = [];
  #waiting = [];

  constructor(client) {
    client.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), ...packet };
      message.payload = payload.toString();
      const waiting = this.#waiting.shift();
      if (waiting) waiting(message);
      else this.#messages.push(message);
    });
  }

  next(what) {
    const message = this.#messages.shift();
    if (message) return message;
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }
}

/** Connects; `client.inbox` has what it receives, `client.connack` the server's answer. */
export async function connect(url, options) {
  const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: TIMEOUT_MS, ...options });
  client.inbox = new Inbox(client);
  client.connack = await within(
    new Promise((resolve, reject) => {
      client.once("connect", resolve);
      client.once("error", reject);
      client.once("close", () => reject(new Error("closed before CONNACK")));
    }),
    "CONNACK",
  );
  client.removeAllListeners("error");
  client.on("error", () => {});
  return client;
}

/** Subscribes to one filter; the QoS that was granted. */
export async function subscribe(client, filter, options) {
  const granted = await within(client.subscribeAsync(filter, options), `SUBACK for ${filter}`);
  return granted[0].qos;
}

export function publish(client, topic, payload, options) {
  return within(client.publishAsync(topic, payload, options), `acknowledgement of ${topic}`);
}

export function end(client) {
  return within(client.endAsync(), "end");
}

/** Loses the connection without DISCONNECT. */
export function lose(client) {
  const closed = new Promise((resolve) => client.once("close", resolve));
  client.stream.destroy();
  return within(closed, "close");
}

export { assert };
