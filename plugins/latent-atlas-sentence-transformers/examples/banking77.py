"""Write messages to a bank as texts with labels: what an index holds, and queries.

    python examples/banking77.py FOLDER

FOLDER holds train.csv and test.csv of the data set banking77. The 3,080 messages of the test become index.csv, every
tenth of the others queries.csv.
"""

import csv
import sys
from pathlib import Path


def write(name: str, source: Path, step: int = 1) -> None:
    """Write every so-manieth row of a file under the names of columns that Atlas looks for."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::step]
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], row["category"]] for row in rows)


folder = Path(sys.argv[1])
write("index.csv", folder / "test.csv")
write("queries.csv", folder / "train.csv", 10)
