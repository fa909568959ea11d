"""An integrator in Python: makes a device, publishes an hour of measurements for it, and reads them in three ways.

    pip install grpcio grpcio-tools
    mkdir -p stubs
    python -m grpc_tools.protoc -I proto --python_out=stubs --grpc_python_out=stubs $(find proto -name '*.proto')
    DROVER_TOKEN=$(cat drover-data/admin.token) PYTHONPATH=stubs python examples/python/integrator.py

The token is the administrator's, or the secret of an API key with the scopes api:read and api:write.
"""

import argparse
import json
import os
import time

import grpc

from drover.devices.v1 import devices_pb2, devices_pb2_grpc
from drover.stream.v1 import publish_pb2, publish_pb2_grpc, telemetry_pb2, telemetry_pb2_grpc

# 2024-06-01T00:00:00Z.
START_MS = 1_717_200_000_000
MINUTE_MS = 60_000
MINUTES = 60
DEVICE = "roof-2"
# Seconds that a call may take.
DEADLINE_S = 10


class Drover:
    """The services, with the token and a deadline in every call."""

    def __init__(self, address, token):
        self.channel = grpc.insecure_channel(address)
        self.options = {"metadata": [("authorization", f"Bearer {token}")], "timeout": DEADLINE_S}
        self.devices = devices_pb2_grpc.DevicesStub(self.channel)
        self.publisher = publish_pb2_grpc.PublisherStub(self.channel)
        self.telemetry = telemetry_pb2_grpc.TelemetryStub(self.channel)

    def make_device(self, device):
        try:
            self.devices.CreateDevice(devices_pb2.CreateDeviceRequest(id=device), **self.options)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise

    def publish(self, publications):
        """At most 1000 in one call. What is refused is told by its position; the others are on the disk."""
        answer = self.publisher.Publish(publish_pb2.PublishRequest(publications=publications), **self.options)
        for refusal in answer.refusals:
            reason = publish_pb2.RefusalReason.Name(refusal.reason)
            print(f"refused {refusal.index} {reason} {refusal.detail}")
        return answer.accepted

    def latest(self, device):
        request = telemetry_pb2.LatestRequest(device=device)
        values = self.telemetry.Latest(request, **self.options).values
        return {value.key: (value.sample.ts_us, value_of(value.sample.value)) for value in values}

    def hourly(self, device, key):
        request = telemetry_pb2.RangeRequest(
            device=device,
            keys=[key],
            from_us=START_MS * 1000,
            to_us=(START_MS + MINUTES * MINUTE_MS) * 1000,
            interval_us=3_600_000_000,
            aggregation=telemetry_pb2.AGGREGATION_AVG,
        )
        series = self.telemetry.Range(request, **self.options).series
        return [value_of(sample.value) for sample in series[0].samples]

    def rows(self, sql):
        """The answer comes in pieces as the server makes it."""
        pieces = self.telemetry.Query(telemetry_pb2.QueryRequest(sql=sql), **self.options)
        return json.loads(b"".join(piece.piece for piece in pieces))["rows"]


def value_of(value):
    return getattr(value, value.WhichOneof("kind"))


def publication(device, minute):
    measured = {"ts": START_MS + minute * MINUTE_MS, "values": {"temp": minute}}
    return publish_pb2.Publication(device=device, payload=json.dumps(measured).encode())


def wait_for_last(drover):
    """What was acknowledged is readable a moment later."""
    last_us = (START_MS + (MINUTES - 1) * MINUTE_MS) * 1000
    for _ in range(100):
        latest = drover.latest(DEVICE)
        if latest.get("temp", (0, 0))[0] == last_us:
            return latest["temp"][1]
        time.sleep(0.05)
    raise SystemExit("what was published does not become readable")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="localhost:8081")
    args = parser.parse_args()
    drover = Drover(args.address, os.environ["DROVER_TOKEN"])

    drover.make_device(DEVICE)
    sent = [publication(DEVICE, minute) for minute in range(MINUTES)]
    print("published", drover.publish(sent + [publication("nobody", 0)]))
    print("latest", wait_for_last(drover))
    print("hourly", drover.hourly(DEVICE, "temp"))
    print("rows", drover.rows(f"SELECT count(*) AS n FROM points WHERE device = '{DEVICE}'"))


main()
