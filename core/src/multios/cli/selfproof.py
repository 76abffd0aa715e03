"""``validate --isolation``: show what a container of a driver is able to do, as the kernel answers it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context

DEFAULT = "default"
_COLUMNS = (
    ("TRIED", "Tried", lambda row: row["tried"]),
    ("THE KERNEL ANSWERED", "Answer", lambda row: row["answer"]),
    (
        "WHICH MEANS",
        "Meaning",
        lambda row: row["meaning"] if row["expected"] else f"NOT EXPECTED: {row['meaning']}",
    ),
)


def show(context: Context, isolation: str, format: str | None) -> int:
    """Run the battery and print it; 1 if an answer was not as it should be."""
    from multios.cli.output import print_rows
    from multios.selfproof.judgement import judge
    from multios.selfproof.room import answers

    name = "" if isolation == DEFAULT else isolation
    rows = judge(answers(context.client, name))
    print_rows(rows, _COLUMNS, format)
    wrong = sum(not row["expected"] for row in rows)
    sys.stdout.flush()
    if format in (None, "", "table"):
        sys.stdout.write(f"\n{len(rows) - wrong} of {len(rows)} as expected\n")
    return int(wrong > 0)
