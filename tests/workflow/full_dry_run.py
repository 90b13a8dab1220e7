"""Snakemake, whose dry run tells rule, wildcards and files of every job, as if rules had no message."""

from __future__ import annotations

import sys

from snakemake.cli import main
from snakemake.logging import DefaultFormatter

told = DefaultFormatter.format_job_info
DefaultFormatter.format_job_info = lambda self, job: told(self, {**job, "rule_msg": None})

if __name__ == "__main__":
    sys.exit(main())
