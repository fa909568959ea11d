"""A device written with paho-mqtt: publishes numbered measurements at QoS 1, hears its own note, and gets the server's time.

The token comes in DEVICE_TOKEN, as a device would get it from its environment.
"""

import argparse
import json
import os
import queue

import paho.mqtt.client as mqtt

TIMEOUT_S = 30


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", choices=["3.1.1", "5"], required=True)
    parser.add_argument("--listener", choices=["mqtt", "mqtts", "ws"], required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--username", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--ca", required=True)
    return parser.parse_args()


def connect(args, heard):
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=args.username,
        protocol=mqtt.MQTTv5 if args.version == "5" else mqtt.MQTTv311,
        transport="websockets" if args.listener == "ws" else "tcp",
    )
    if args.listener == "ws":
        client.ws_set_options(path="/mqtt")
    if args.listener == "mqtts":
        client.tls_set(ca_certs=args.ca)
    client.username_pw_set(args.username, os.environ["DEVICE_TOKEN"])
    client.on_connect = lambda client, data, flags, reason, properties: heard.put(("connected", str(reason)))
    client.on_subscribe = lambda client, data, mid, reasons, properties: heard.put(("subscribed", [str(r) for r in reasons]))
    client.on_message = lambda client, data, message: heard.put((message.topic, message.payload))
    client.connect("localhost", args.port)
    client.loop_start()
    return client


def expect(heard, what):
    name, value = heard.get(timeout=TIMEOUT_S)
    assert name == what, f"expected {what}, got {name}: {value}"
    return value


def main():
    args = arguments()
    heard = queue.Queue()
    client = connect(args, heard)
    reason = expect(heard, "connected")
    assert reason == "Success", reason

    client.subscribe([(f"dev/{args.username}/#", 1), ("v1/time", 1)])
    reasons = expect(heard, "subscribed")
    assert reasons == ["Granted QoS 1", "Granted QoS 1"], reasons

    sent = [client.publish("v1/telemetry", json.dumps({"n": n}), qos=1) for n in range(args.messages)]
    for message in sent:
        message.wait_for_publish(TIMEOUT_S)
        assert message.is_published(), "not acknowledged in time"

    client.publish(f"dev/{args.username}/note", "hello", qos=1).wait_for_publish(TIMEOUT_S)
    assert expect(heard, f"dev/{args.username}/note") == b"hello"

    client.publish("v1/time", b"", qos=1).wait_for_publish(TIMEOUT_S)
    assert json.loads(expect(heard, "v1/time"))["ms"] > 0

    client.disconnect()
    client.loop_stop()
    print(f"{args.messages} acknowledged")


main()
