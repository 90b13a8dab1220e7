"""The report and where its numbers come from."""
