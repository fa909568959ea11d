"""Turns a SURFRAD daily file into the CSV beside this script: the same numbers, named columns, no gaps.

    python3 derive.py surfrad-slv16001.dat > surfrad-slv16001.csv
"""

import sys

# Column of the value in the daily file, counted from 0 (its quality flag follows it), and its name here.
COLUMNS = [
    (7, "solar_zenith_deg"),
    (8, "solar_down_wm2"),
    (10, "solar_up_wm2"),
    (12, "solar_direct_wm2"),
    (14, "solar_diffuse_wm2"),
    (16, "infrared_down_wm2"),
    (18, "infrared_down_case_c"),
    (20, "infrared_down_dome_c"),
    (22, "infrared_up_wm2"),
    (24, "infrared_up_case_c"),
    (26, "infrared_up_dome_c"),
    (28, "uvb_mwm2"),
    (30, "par_wm2"),
    (32, "net_solar_wm2"),
    (34, "net_infrared_wm2"),
    (36, "net_total_wm2"),
    (38, "temperature_c"),
    (40, "humidity_percent"),
    (42, "wind_speed_ms"),
    (44, "wind_direction_deg"),
    (46, "pressure_mb"),
]
MISSING = -9999.9
ZENITH = 7


def good(row, column):
    """Whether a value was measured and passed every quality check. The zenith angle is computed and has no flag."""
    return float(row[column]) != MISSING and (column == ZENITH or row[column + 1] == "0")


def main(path):
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[2:]]
    columns = [(column, name) for column, name in COLUMNS if any(good(row, column) for row in rows)]
    print("time", *(name for _, name in columns), sep=",")
    for row in rows:
        year, _, month, day, hour, minute = (int(field) for field in row[:6])
        time = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"
        print(time, *(row[column] if good(row, column) else "" for column, _ in columns), sep=",")


main(sys.argv[1])
