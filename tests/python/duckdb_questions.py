"""Asks DuckDB what the bench asks Drover, of the same files; prints the median of each question in milliseconds as JSON."""

import json
import statistics
import sys
import time

import duckdb

folder, key = sys.argv[1], sys.argv[2]
points = f"read_parquet('{folder}/**/*.parquet')"
one = f"FROM {points} WHERE device = 'station-017' AND key = '{key}'"
questions = {
    "day": f"SELECT epoch_us(ts), value {one} AND ts < TIMESTAMP '2026-01-02' ORDER BY ts",
    "month": f"SELECT epoch_us(time_bucket(INTERVAL '1 hour', ts)) AS hour, avg(value) {one} GROUP BY hour ORDER BY hour",
    "means": f"SELECT device, avg(value) FROM {points} GROUP BY device",
}


def milliseconds(connection, question):
    began = time.perf_counter()
    connection.execute(question).fetchall()
    return (time.perf_counter() - began) * 1000


with duckdb.connect() as connection:
    took = {
        name: statistics.median(milliseconds(connection, question) for _ in range(7))
        for name, question in questions.items()
    }
print(json.dumps(took))
