"""Report: the self-contained HTML report and the provenance record."""
