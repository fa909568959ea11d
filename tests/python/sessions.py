"""A device written with paho-mqtt: QoS 2, retained messages, a will, a session that waits for its client, and a shared subscription.

The token comes in DEVICE_TOKEN, as a device would get it from its environment.
"""

import argparse
import os
import queue

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TIMEOUT_S = 30
MESSAGES = 50


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", choices=["3.1.1", "5"], required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--username", required=True)
    return parser.parse_args()


class Client:
    """A paho client whose callbacks are heard one after the other."""

    def __init__(self, args, client_id, persistent=False, will=None):
        self.heard = queue.Queue()
        is_v5 = args.version == "5"
        clean = {} if is_v5 else {"clean_session": not persistent}
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            **clean,
        )
        client.username_pw_set(args.username, os.environ["DEVICE_TOKEN"])
        if will:
            client.will_set(will, "gone", qos=1)
        client.on_connect = lambda client, data, flags, reason, properties: self.heard.put((flags.session_present, str(reason)))
        client.on_subscribe = lambda client, data, mid, reasons, properties: self.heard.put([reason.value for reason in reasons])
        client.on_message = lambda client, data, message: self.heard.put((message.payload.decode(), message.qos, message.retain))
        options = {}
        if is_v5:
            options["clean_start"] = not persistent
            if persistent:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 600
        client.connect("127.0.0.1", args.port, **options)
        client.loop_start()
        self.session_present, reason = self.next()
        assert reason == "Success", reason

    def next(self):
        return self.heard.get(timeout=TIMEOUT_S)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        assert self.next() == [qos]

    def publish(self, topic, payload, qos, retain=False):
        message = self.client.publish(topic, payload, qos=qos, retain=retain)
        message.wait_for_publish(TIMEOUT_S)
        assert message.is_published(), f"{topic} was not acknowledged in time"

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()

    def lose(self):
        """Loses the connection without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def main():
    args = arguments()
    own = f"dev/{args.username}"
    sender = Client(args, "sender")

    receiver = Client(args, "receiver", persistent=True, will=f"{own}/will")
    assert not receiver.session_present
    receiver.subscribe(f"{own}/x/#", 2)
    for qos in (0, 1, 2):
        for n in range(MESSAGES):
            sender.publish(f"{own}/x", str(n), qos)
        for n in range(MESSAGES):
            assert receiver.next() == (str(n), qos, False)

    sender.subscribe(f"{own}/will", 1)
    receiver.lose()
    assert sender.next() == ("gone", 1, False)
    for n in range(MESSAGES):
        sender.publish(f"{own}/x/y", str(n), 2)
    receiver = Client(args, "receiver", persistent=True)
    assert receiver.session_present
    for n in range(MESSAGES):
        assert receiver.next() == (str(n), 2, False)
    receiver.end()

    sender.publish(f"{own}/kept", "state", 1, retain=True)
    later = Client(args, "later")
    later.client.subscribe(f"{own}/kept", 1)
    assert sorted([str(later.next()), str(later.next())]) == ["('state', 1, True)", "[1]"]
    sender.publish(f"{own}/kept", b"", 1, retain=True)
    assert later.next() == ("", 1, False)
    later.end()

    members = [Client(args, f"member-{n}") for n in range(2)]
    for member in members:
        member.subscribe(f"$share/group/{own}/shared", 1)
    arrived = queue.Queue()
    for index, member in enumerate(members):
        member.client.on_message = lambda client, data, message, index=index: arrived.put((index, int(message.payload)))
    for n in range(MESSAGES):
        sender.publish(f"{own}/shared", str(n), 1)
    seen = [arrived.get(timeout=TIMEOUT_S) for _ in range(MESSAGES)]
    assert sorted(n for _, n in seen) == list(range(MESSAGES)), seen
    assert {index for index, _ in seen} == {0, 1}, seen
    for member in members:
        member.end()
    sender.end()
    print("sessions kept")


main()
