"""The audit on a terminal."""

from rich.console import Console
from rich.table import Table

from trainer.audit.findings import Problem
from trainer.audit.run import Audit


def print_audit(audit: Audit) -> None:
    """Print how many findings of each kind there are, and where they are written."""
    console = Console()
    table = Table("what", "photos", "in exclude.csv", title=f"{audit.photos} photos")
    for problem in Problem:
        own = [finding for finding in audit.findings if finding.problem is problem]
        advised = sum(finding.exclude for finding in own)
        table.add_row(problem.value, str(len(own)), str(advised))
    console.print(table)
    if audit.imbalance:
        console.print(audit.imbalance)
    # A folder's name may hold what rich takes for markup.
    written = f"written to {audit.folder}: audit.html, audit.csv, exclude.csv"
    console.print(written, soft_wrap=True, markup=False, highlight=False)
