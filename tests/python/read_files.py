"""Reads the point files of a data directory with pyarrow and with DuckDB, as an analyst would, and prints what each sees as JSON."""

import json
import pathlib
import sys

import duckdb
import pyarrow.compute as compute
import pyarrow.parquet as parquet

folder = pathlib.Path(sys.argv[1]) / "points"
files = sorted(str(file) for file in folder.rglob("*.parquet"))

table = parquet.ParquetDataset(files).read()
numbers = table.filter(compute.equal(table["key"], "temp"))["value"]
texts = table.filter(compute.equal(table["key"], "mode"))["text"]
with_pyarrow = {
    "points": table.num_rows,
    "mean": compute.mean(numbers).as_py(),
    "texts": sorted(set(texts.to_pylist())),
    "latest": compute.max(table["ts"]).as_py().timestamp(),
}

with duckdb.connect() as connection:
    connection.execute("SET TimeZone = 'UTC'")
    points, mean, texts, latest = connection.execute(
        """
        SELECT count(*), avg(value) FILTER (key = 'temp'),
               list_sort(list(DISTINCT text) FILTER (key = 'mode')), epoch(max(ts))
        FROM read_parquet($files)
        """,
        {"files": files},
    ).fetchone()
with_duckdb = {"points": points, "mean": mean, "texts": texts, "latest": latest}

print(json.dumps({"pyarrow": with_pyarrow, "duckdb": with_duckdb}))
